"""The model: what was learnt, as one frozen value, and its file.

Owns the `Model`, the schema of `.spst` files and their validation. A model file is data: reading one executes nothing,
unpickles nothing, and trusts nothing before it is checked (`spst.container` has the bytes). No clock is inside, so
the same model always has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from spst import container
from spst.alphabet import Alphabet
from spst.automaton import Automaton
from spst.errors import ModelFormatError, SpstError
from spst.expressions import Sentence
from spst.hyperparameters import Hyperparameters
from spst.pattern import Pattern, parse_pattern
from spst.tree import Tree

if TYPE_CHECKING:
    from spst.forecaster import Forecaster

FORMAT = "spst-model"
SCHEMA = 1
MAX_HEADER_BYTES = 1 << 22  # texts and provenance; a pattern of 200 symbols needs some 50 kB
MAX_MODEL_BYTES = 1 << 31  # a tree of 1,000,000 nodes over 200 symbols has 1.6 GB


@dataclass(frozen=True, eq=False)
class Model:
    """A prediction suffix tree for a pattern, ready to forecast.

    Attributes
    ----------
    pattern : Pattern
        What is detected and forecast.
    alphabet : Alphabet
        How events become symbols.
    automaton : Automaton
        The pattern over symbols.
    tree : Tree
        Probabilities of the next symbol, by context.
    hyperparameters : Hyperparameters
        What the tree was learnt with, and the forecast's threshold and k.
    provenance : dict
        Plain data from whoever trained it: versions, hashes, time span. Part of the bytes; held as JSON gives it back.

    Raises
    ------
    SpstError
        The parts have different alphabets, the tree is deeper than its order, or JSON cannot hold the provenance.
    """

    pattern: Pattern
    alphabet: Alphabet
    automaton: Automaton
    tree: Tree
    hyperparameters: Hyperparameters
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = len(self.alphabet), self.automaton.transitions.shape[1], self.tree.n_symbols
        if len(set(sizes)) > 1:
            raise SpstError(f"alphabet, automaton and tree must have the same symbols; they have {sizes}")
        if self.tree.order > self.hyperparameters.order:
            raise SpstError(
                f"the tree has contexts of {self.tree.order} symbols, its order is {self.hyperparameters.order}"
            )
        object.__setattr__(self, "provenance", _plain(self.provenance))

    def forecaster(self, method: str = "next_k", **parameters: Any) -> Forecaster:
        """Make a forecaster that takes events one at a time; see `spst.forecaster.Forecaster`."""
        from spst.forecaster import Forecaster  # the forecaster knows models, not the other way round

        return Forecaster(self, method, **parameters)

    def to_bytes(self) -> bytes:
        """Give the content of the model's file; the same model gives the same bytes.

        Raises
        ------
        SpstError
            Texts and provenance together are longer than a header that is read again.
        """
        header = _Header(
            pattern=str(self.pattern),
            declarations=self.pattern.declarations_text,
            sentences=self.alphabet.texts,
            n_symbols=len(self.alphabet),
            n_states=len(self.automaton.finals),
            n_nodes=len(self.tree),
            hyperparameters=self.hyperparameters.as_dict(),
            provenance=self.provenance,
        )
        arrays = {
            "alphabet_truth": self.alphabet.truth,
            "automaton_transitions": self.automaton.transitions,
            "automaton_finals": self.automaton.finals,
            "tree_parent": self.tree.parent,
            "tree_oldest": self.tree.oldest,
            "tree_distribution": self.tree.distribution,
        }
        shapes = _arrays(header)
        typed = {name: np.ascontiguousarray(array, dtype=shapes[name][0]) for name, array in arrays.items()}
        text = msgspec.json.format(msgspec.json.encode(header), indent=1)
        if len(text) > MAX_HEADER_BYTES:
            raise SpstError(f"pattern, alphabet and provenance have {len(text)} bytes, at most {MAX_HEADER_BYTES} fit")
        return container.pack(text, typed)

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the model's file, whole or not at all.

        Returns
        -------
        str
            SHA-256 of the file, in hexadecimal.
        """
        data = self.to_bytes()
        target = Path(path)
        scratch = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            scratch.write_bytes(data)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
        return hashlib.sha256(data).hexdigest()


def _plain(provenance: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = msgspec.json.decode(json.dumps(dict(provenance), allow_nan=False))
        msgspec.json.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise SpstError(f"provenance must be plain data that JSON can hold: {error}") from error
    return plain


class _Tag(msgspec.Struct, frozen=True):
    """What every version of the header begins with."""

    format: str
    schema: int


_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON header of schema 1; the arrays' shapes follow from it."""

    format: str = FORMAT
    schema: int = SCHEMA
    pattern: str
    declarations: str
    sentences: tuple[str, ...]
    n_symbols: _Count
    n_states: _Count
    n_nodes: _Count
    hyperparameters: dict[str, int | float]
    provenance: Mapping[str, Any]


def _arrays(header: _Header) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every array, in the order of the file."""
    n_symbols, n_states, n_nodes = header.n_symbols, header.n_states, header.n_nodes
    return {
        "alphabet_truth": ("|b1", (n_symbols, len(header.sentences))),
        "automaton_transitions": ("<i4", (n_states, n_symbols)),
        "automaton_finals": ("|b1", (n_states,)),
        "tree_parent": ("<i4", (n_nodes,)),
        "tree_oldest": ("<i4", (n_nodes,)),
        "tree_distribution": ("<f8", (n_nodes, n_symbols)),
    }


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model file.

    Raises
    ------
    ModelFormatError
        The file is truncated, altered, foreign, of a newer schema, or holds what cannot be a model.
    OSError
        The file cannot be opened.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, MAX_MODEL_BYTES + 1))
    try:
        return model_from_bytes(data)
    except ModelFormatError as error:
        raise ModelFormatError(f"{os.fspath(path)}: {error}") from error


def model_from_bytes(data: bytes) -> Model:
    """Read a model from its file's content; raises as `load_model`."""
    if len(data) > MAX_MODEL_BYTES:
        raise ModelFormatError(f"more than {MAX_MODEL_BYTES} bytes; no model is that large")
    text, members = container.unpack(data, MAX_HEADER_BYTES)
    try:
        tag = msgspec.json.decode(text, type=_Tag)
        if tag.format != FORMAT:
            raise ModelFormatError(f"the format is {tag.format!r}, expected {FORMAT!r}")
        if tag.schema not in _READERS:
            raise ModelFormatError(f"schema {tag.schema} is not known here (known: 1 to {SCHEMA}); update this library")
        return _READERS[tag.schema](text, members)
    except ModelFormatError:
        raise
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFormatError(f"the header cannot be read: {error}") from error
    except (SpstError, TypeError) as error:
        raise ModelFormatError(f"the content is no model: {error}") from error


def _read_schema_1(text: bytes, members: Mapping[str, bytes]) -> Model:
    header = msgspec.json.decode(text, type=_Header)
    shapes = _arrays(header)
    if list(members) != list(shapes):
        raise ModelFormatError(f"expected the arrays {', '.join(shapes)}, found {', '.join(members)[:200]}")
    arrays = {name: container.read_array(name, members[name], *shapes[name]) for name in shapes}
    pattern = parse_pattern(header.pattern, header.declarations)
    if set(header.hyperparameters) != {each.name for each in fields(Hyperparameters)}:
        raise ModelFormatError(
            f"expected all hyperparameters and no other, found {sorted(header.hyperparameters)}"[:300]
        )
    return Model(
        pattern=pattern,
        alphabet=Alphabet(_read_sentences(header.sentences), arrays["alphabet_truth"], pattern.exclusives),
        automaton=Automaton(arrays["automaton_transitions"], arrays["automaton_finals"]),
        tree=Tree(arrays["tree_parent"], arrays["tree_oldest"], arrays["tree_distribution"]),
        hyperparameters=Hyperparameters(**header.hyperparameters),  # type: ignore[arg-type]  # checked there
        provenance=header.provenance,
    )


def _read_sentences(texts: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Parse the sentences of an alphabet, all in one go, as the declaration of extras that they could be."""
    sentences = parse_pattern("TruePredicate", f"+({','.join(texts)})").extras if texts else ()
    if tuple(map(str, sentences)) != texts:
        raise ModelFormatError("the sentences of the alphabet are not in the form in which they are written")
    return sentences


_READERS = {1: _read_schema_1}
