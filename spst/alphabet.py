"""The alphabet of a pattern, and events as its symbols.

A symbol is a minterm: it fixes the truth of every sentence, where the sentences are the pattern's steps and the extras,
and for a complement the minterms of what it negates. Knows no automaton and no event file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spst.columns import checked_columns, checked_event
from spst.encoder import Encoder
from spst.errors import AlphabetError
from spst.expressions import (
    TRUE,
    And,
    Complement,
    Expression,
    Not,
    Or,
    Predicate,
    Sentence,
    SkipAny,
    SkipNext,
    atoms,
    children,
    without_skips,
)
from spst.minterms import SLACK, declared, possible, realisable
from spst.pattern import Pattern
from spst.predicates import needed_columns
from spst.regions import dimensions
from spst.table import Kind

Mode: TypeAlias = Literal["declared", "satisfiable"]

MAX_SYMBOLS = 1024  # a tree over more symbols than this would need millions of events


@dataclass(frozen=True, eq=False)
class Alphabet:
    """The minterms of some sentences.

    Parameters
    ----------
    sentences : tuple of Sentence
        Sorted by their text, each once.
    truth : ndarray of bool, shape (n_symbols, n_sentences)
        What is true under each symbol; all rows differ.
    exclusives : tuple of frozenset of Predicate
        The declared sets, of which at most one predicate is true for an event.

    Raises
    ------
    AlphabetError
        The shapes do not fit, the sentences are not sorted, or two symbols are equal.
    """

    sentences: tuple[Sentence, ...]
    truth: NDArray[np.bool_]
    exclusives: tuple[frozenset[Predicate], ...] = ()

    def __post_init__(self) -> None:
        if self.truth.ndim != 2 or self.truth.shape[1] != len(self.sentences) or not len(self.truth):
            raise AlphabetError(
                f"expected at least one symbol that tells the truth of {len(self.sentences)} sentences, "
                f"found a truth table of shape {self.truth.shape}"
            )
        if sorted(map(str, set(self.sentences))) != list(self.texts):
            raise AlphabetError("the sentences of an alphabet must be different and sorted by their text")
        if len(np.unique(self.truth, axis=0)) != len(self.truth):
            raise AlphabetError("two symbols of the alphabet are equal")
        self.truth.setflags(write=False)

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The sentences as text."""
        return tuple(map(str, self.sentences))

    @cached_property
    def columns(self) -> dict[str, Kind]:
        """The columns that `encode` needs, and their kinds; at least one, which tells how many events there are."""
        return needed_columns(p for s in self.sentences for p in atoms(s)) or {"type": "text"}

    @cached_property
    def possible(self) -> NDArray[np.bool_]:
        """False for a symbol that contradicts itself or the declarations, shape (n_symbols,); it never occurs."""
        return np.array(possible(self.sentences, map(tuple, self.truth.tolist()), self.exclusives))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every symbol."""
        return np.min_scalar_type(len(self) - 1)

    def minterm(self, symbol: int) -> str:
        """Text of a symbol as a sentence of the pattern language."""
        return str(self.minterm_sentence(symbol))

    def minterm_sentence(self, symbol: int) -> Sentence:
        """Return a symbol as a sentence: the conjunction of all sentences or their negations."""
        literals = [s if true else Not(s) for s, true in zip(self.sentences, self.truth[symbol], strict=True)]
        return And(tuple(literals)) if len(literals) > 1 else literals[0] if literals else TRUE

    def encode(self, columns: Mapping[str, Any], first_event: int = 0) -> NDArray[Any]:
        """Map events to symbols.

        Parameters
        ----------
        columns : mapping
            Column name to array, shape (n_events,). Numbers as any real dtype; texts as anything that slices and
            compares with a text to give a bool array.
        first_event : int
            Number of the first event, for messages.

        Returns
        -------
        ndarray of `dtype`, shape (n_events,)

        Raises
        ------
        AlphabetError
            An event fits no symbol; names its number and the two exclusive predicates that are both true.
        EventsError
            A needed column is absent or of the wrong kind, or a number is NaN.
        """
        checked = checked_columns(columns, self.columns, first_event)
        symbols = np.empty(len(checked[next(iter(self.columns))]), self.dtype)
        for part, codes in self._encoder.codes(checked, self.columns, len(symbols)):
            if (unknown := codes == len(self)).any():
                n = part.start + int(np.argmax(unknown))
                event = {name: checked[name][n : n + 1] for name in self.columns}
                raise self._misfit(event, f"event {first_event + n} (the first is 0)")
            symbols[part] = codes
        return symbols

    def encode_one(self, event: Mapping[str, Any]) -> int:
        """Map one event of plain values to its symbol; raises as `encode`."""
        columns = checked_event(event, self.columns)
        symbol = self._encoder.find(self._encoder.row_of(columns))
        if symbol is None:
            raise self._misfit({name: np.array([columns[name]]) for name in self.columns}, "the event")
        return symbol

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.sentences, self.truth)

    def _misfit(self, event: Mapping[str, Any], who: str) -> AlphabetError:
        truth = self._encoder.truth(checked_columns(event, self.columns))
        true = {p for p, holds in truth.items() if np.all(holds)}
        for group in self.exclusives:
            if len(both := sorted(map(str, group & true))) > 1:
                return AlphabetError(
                    f"{who}: {both[0]} and {both[1]} are declared exclusive, and both are true; undeclare it"
                )
        return AlphabetError(
            f"{who} fits no symbol; ruled out is an event with {', '.join(sorted(map(str, true))) or 'nothing'} true"
        )


def build_alphabet(pattern: Pattern, mode: Mode = "declared", *, max_symbols: int = MAX_SYMBOLS) -> Alphabet:
    """Build the alphabet of a pattern and its declarations.

    Parameters
    ----------
    pattern : Pattern
    mode : {"declared", "satisfiable"}
        ``"declared"`` removes what the declarations exclude outside negations; what is impossible but undeclared stays
        and gets its share of the smoothing. ``"satisfiable"`` keeps only what an event can be, by reasoning over
        intervals, texts and distances; predicates it does not know are unconstrained.
    max_symbols : int
        Limit on the symbols.

    Raises
    ------
    AlphabetError
        There are more symbols than `max_symbols`.
    """
    sentences = [*step_sentences(pattern.expression, max_symbols), *pattern.extras]
    return alphabet_of(sentences, pattern.exclusives, mode, max_symbols)


def alphabet_of(
    sentences: Iterable[Sentence],
    exclusives: tuple[frozenset[Predicate], ...] = (),
    mode: Mode = "declared",
    max_symbols: int = MAX_SYMBOLS,
) -> Alphabet:
    """Build the alphabet of sentences in any order, repeated or not; otherwise as `build_alphabet`."""
    if mode not in ("declared", "satisfiable"):
        raise AlphabetError(f'the alphabet is "declared" or "satisfiable", not {mode!r}')
    distinct = tuple(sorted({s for s in sentences if s != TRUE}, key=str))
    if mode == "declared":
        rows = declared(distinct, exclusives, max_symbols)
    else:
        cells = dimensions(dict.fromkeys(p for s in distinct for p in atoms(s)), SLACK * max_symbols)
        rows = realisable(distinct, cells, exclusives, max_symbols)
    return Alphabet(distinct, np.array(rows, bool).reshape(len(rows), len(distinct)), exclusives)


def step_sentences(expression: Expression, max_symbols: int = MAX_SYMBOLS) -> Iterator[Sentence]:
    """Yield the sentences on the edges of an expression's automaton, `TRUE` and repeated ones included."""
    match expression:
        case Predicate() | Not() | And() | Or():
            yield expression
        case Complement(part):
            inner = alphabet_of(step_sentences(part, max_symbols), max_symbols=max_symbols)
            yield from map(inner.minterm_sentence, range(len(inner)))
        case SkipAny() | SkipNext():
            yield from step_sentences(without_skips(expression), max_symbols)
        case _:
            for part in children(expression):
                yield from step_sentences(part, max_symbols)
