"""The alphabet of a pattern, and the encoding of events as symbols.

A symbol is a minterm: it fixes the truth of every sentence, where the sentences are the pattern's steps and the extras, and for a
complement the minterms of what it negates. Knows no automaton and no event file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    atoms,
    children,
    without_skips,
)
from spst.minterms import declared, realisable
from spst.pattern import Pattern
from spst.predicates import Columns, Kind, Truth, bind, bind_scalar, checked_columns, checked_event, needed_columns

Mode: TypeAlias = Literal["declared", "satisfiable"]

MAX_SYMBOLS = 1024  # a tree over more symbols than this would need millions of events
_BLOCK = 1 << 16  # events evaluated at a time: their truth values stay in the processor's cache
_CHUNK = 8  # sentences looked up at a time: one byte of truth


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
        The declared sets; for the message when an event fits no symbol.
    possible : ndarray of bool, shape (n_symbols,)
        False for a symbol that contradicts itself or the declarations. Such a symbol never occurs; it takes its share of the
        smoothing, and the automaton lets it through every edge (ex falso quodlibet), as the reference results have it.

    Raises
    ------
    AlphabetError
        The shapes do not fit, the sentences are not sorted, or two symbols are equal.
    """

    sentences: tuple[Sentence, ...]
    truth: NDArray[np.bool_]
    exclusives: tuple[frozenset[Predicate], ...]
    possible: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.truth.shape != (len(self.possible), len(self.sentences)) or not len(self.possible):
            raise AlphabetError(
                f"{len(self.possible)} symbols over {len(self.sentences)} sentences need a truth table of that shape, "
                f"not {self.truth.shape}"
            )
        if sorted(map(str, set(self.sentences))) != list(map(str, self.sentences)):
            raise AlphabetError("the sentences of an alphabet must be different and sorted by their text")
        if len(np.unique(self.truth, axis=0)) != len(self.truth):
            raise AlphabetError("two symbols of the alphabet are equal")
        for array in (self.truth, self.possible):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def columns(self) -> dict[str, Kind]:
        """The columns that `encode` needs, and their kinds."""
        return needed_columns(self._atoms)

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

    def encode(self, columns: Mapping[str, Any], first_row: int = 0) -> NDArray[Any]:
        """Map events to symbols.

        Parameters
        ----------
        columns : mapping
            Column name to array, shape (n_events,). Numbers as any real dtype; texts as anything that slices and compares with a
            text to give a bool array.
        first_row : int
            Row of the first event, for messages.

        Returns
        -------
        ndarray of `dtype`, shape (n_events,)

        Raises
        ------
        AlphabetError
            An event fits no symbol; names its row and the two exclusive predicates that are both true.
        EventsError
            A needed column is absent or of the wrong kind, or a number is NaN.
        """
        checked = checked_columns(columns, self.columns, first_row)
        n_events = len(next(iter(columns.values()), ()))
        symbols = np.empty(n_events, self.dtype)
        for start in range(0, n_events, _BLOCK):
            block = Columns({name: checked[name][start : start + _BLOCK] for name in self.columns})
            part = symbols[start : start + _BLOCK]
            codes = self._codes(block, len(part))
            if (unknown := codes == len(self)).any():
                row = int(np.argmax(unknown))
                raise self._misfit(
                    Columns({name: block[name][row : row + 1] for name in self.columns}), first_row + start + row
                )
            part[:] = codes
        return symbols

    def encode_one(self, event: Mapping[str, Any]) -> int:
        """Map one event of plain values to its symbol; raises as `encode`."""
        columns = checked_event(event, self.columns)
        truth: dict[Predicate, Any] = {p: holds(columns) for p, holds in self._scalar_atoms}
        symbol = self._symbol_of.get(tuple(_value(s, truth) for s in self.sentences))
        if symbol is None:
            raise self._misfit(Columns({name: np.array([columns[name]]) for name in self.columns}), 0)
        return symbol

    @cached_property
    def _atoms(self) -> tuple[Predicate, ...]:
        return tuple(dict.fromkeys(p for s in self.sentences for p in atoms(s)))

    @cached_property
    def _column_atoms(self) -> list[tuple[Predicate, Any]]:
        return [(p, bind(p)) for p in self._atoms]

    @cached_property
    def _scalar_atoms(self) -> list[tuple[Predicate, Any]]:
        return [(p, bind_scalar(p)) for p in self._atoms]

    @cached_property
    def _symbol_of(self) -> dict[tuple[bool, ...], int]:
        return {tuple(row): symbol for symbol, row in enumerate(self.truth.tolist())}

    @cached_property
    def _tables(self) -> list[NDArray[np.intp]]:
        """A trie of the truth rows: table i leads from a node and the truth of the i-th eight sentences to the next node.

        Every table has one node more, where truths end that no symbol has; in the last one nodes are symbols.
        """
        tables, nodes, n_nodes = [], np.zeros(len(self), np.intp), 1
        for first in range(0, len(self.sentences), _CHUNK):
            prefixes, following = np.unique(self.truth[:, : first + _CHUNK], axis=0, return_inverse=True)
            if len(prefixes) == len(self):
                following = np.arange(len(self))
            table = np.full((n_nodes + 1, 1 << _CHUNK), len(prefixes), np.intp)
            table[nodes, _bytes(self.truth[:, first : first + _CHUNK].T, len(self))] = following
            tables.append(table.ravel())
            nodes, n_nodes = following.ravel(), len(prefixes)
        return tables

    def _codes(self, block: Columns, n_events: int) -> NDArray[np.intp]:
        truth = {p: holds(block) for p, holds in self._column_atoms}
        codes = np.zeros(n_events, np.intp)
        for i, table in enumerate(self._tables):
            chunk = [_value(s, truth) for s in self.sentences[i * _CHUNK : (i + 1) * _CHUNK]]
            codes <<= _CHUNK
            codes += _bytes(chunk, n_events)
            codes = table[codes]
        return codes

    def _misfit(self, event: Columns, row: int) -> AlphabetError:
        true = {p for p, holds in self._column_atoms if np.all(holds(event))}
        for group in self.exclusives:
            if len(both := sorted(map(str, group & true))) > 1:
                return AlphabetError(
                    f"row {row}: {both[0]} and {both[1]} are declared exclusive and are both true for this event; "
                    "correct the declarations"
                )
        values = {p: np.array(p in true) for p in self._atoms}
        literals = ", ".join(str(s if _value(s, values) else Not(s)) for s in self.sentences)
        return AlphabetError(f"row {row}: the event fits no symbol; for it hold {literals}; use the declared alphabet")


def _value(sentence: Sentence, truth: Mapping[Predicate, Truth]) -> Truth:
    """Truth of a sentence, for arrays and plain bools alike."""
    match sentence:
        case Predicate():
            return truth[sentence]
        case Not(operand):
            return _value(operand, truth) ^ True
        case And(operands) | Or(operands):
            value = _value(operands[0], truth)
            for operand in operands[1:]:
                other = _value(operand, truth)
                value = value & other if isinstance(sentence, And) else value | other
            return value


def _bytes(truths: Iterable[Truth], n_events: int) -> NDArray[np.uint8]:
    """Pack up to eight truth arrays of shape (n_events,) into one byte an event, the first in the lowest bit."""
    packed = np.zeros(n_events, np.uint8)
    for bit, truth in enumerate(truths):
        packed |= truth.astype(np.uint8) << np.uint8(bit)
    return packed


def build_alphabet(pattern: Pattern, mode: Mode = "declared", *, max_symbols: int = MAX_SYMBOLS) -> Alphabet:
    """Build the alphabet of a pattern and its declarations.

    Parameters
    ----------
    pattern : Pattern
    mode : {"declared", "satisfiable"}
        ``"declared"`` removes what the declarations exclude outside negations; what is impossible but undeclared stays and gets
        its share of the smoothing. ``"satisfiable"`` keeps only what an event can be, by reasoning over intervals, texts and
        distances; predicates it does not know are unconstrained.
    max_symbols : int
        Limit on the symbols.

    Raises
    ------
    AlphabetError
        There are more symbols than `max_symbols`.
    """
    sentences = [*step_sentences(without_skips(pattern.expression), max_symbols), *pattern.extras]
    return alphabet_of(sentences, pattern.exclusives, mode, max_symbols)


def alphabet_of(
    sentences: Iterable[Sentence],
    exclusives: tuple[frozenset[Predicate], ...] = (),
    mode: Mode = "declared",
    max_symbols: int = MAX_SYMBOLS,
) -> Alphabet:
    """Build the alphabet of sentences in any order, repeated or not; otherwise as `build_alphabet`."""
    distinct = tuple(sorted({s for s in sentences if s != TRUE}, key=str))
    cells = [[{p: False}, {p: True}] for p in dict.fromkeys(p for s in distinct for p in atoms(s))]
    rows = declared(distinct, exclusives, max_symbols)
    possible = realisable(distinct, cells, exclusives, max_symbols)
    return Alphabet(
        distinct,
        np.array(rows, bool).reshape(len(rows), len(distinct)),
        exclusives,
        np.array([row in possible for row in rows]),
    )


def step_sentences(expression: Expression, max_symbols: int = MAX_SYMBOLS) -> Iterator[Sentence]:
    """Yield the sentences that the edges of an expression's automaton carry; the expression is free of ``#`` and ``@``."""
    match expression:
        case Predicate() | Not() | And() | Or():
            yield expression
        case Complement(part):
            inner = alphabet_of(step_sentences(part, max_symbols), max_symbols=max_symbols)
            yield from map(inner.minterm_sentence, range(len(inner)))
        case _:
            for part in children(expression):
                yield from step_sentences(part, max_symbols)
