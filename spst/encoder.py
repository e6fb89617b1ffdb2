"""From the columns of events to codes of truth assignments, quickly.

Owns the two ways of evaluating sentences: on blocks of columns, every predicate once, and on one event of plain values.
Knows truth tables, but neither declarations nor what a symbol is good for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spst.columns import Columns
from spst.expressions import And, Not, Or, Predicate, Sentence, atoms
from spst.predicates import Truth, bind, bind_scalar

_BLOCK = 1 << 16  # events evaluated at a time: their truth values stay in the processor's cache
_CHUNK = 8  # sentences looked up at a time: one byte of truth


class Encoder:
    """Finds the row of a truth table that events have.

    Parameters
    ----------
    sentences : sequence of Sentence
    rows : ndarray of bool, shape (n_rows, n_sentences)
        All different.
    """

    def __init__(self, sentences: Sequence[Sentence], rows: NDArray[np.bool_]) -> None:
        self._sentences = sentences
        self._rows = rows
        self._predicates = [(p, bind(p)) for p in dict.fromkeys(p for s in sentences for p in atoms(s))]
        self._tables = list(_trie(rows))

    def codes(self, columns: Columns, names: Iterable[str], n_events: int) -> Iterator[tuple[slice, NDArray[np.intp]]]:
        """Yield, block by block, the row of every event; ``n_rows`` stands for events that have none.

        Parameters
        ----------
        columns : Columns
            Checked.
        names : iterable of str
            The columns that the sentences need.
        n_events : int
        """
        for start in range(0, n_events, _BLOCK):
            part = slice(start, min(start + _BLOCK, n_events))
            truth = self.truth(Columns({name: columns[name][part] for name in names}))
            codes = np.zeros(part.stop - start, np.intp)
            for i, table in enumerate(self._tables):
                chunk = [_value(s, truth) for s in self._sentences[i * _CHUNK : (i + 1) * _CHUNK]]
                codes = table[codes << _CHUNK | _bytes(chunk, len(codes))]
            yield part, codes

    def truth(self, columns: Columns) -> dict[Predicate, Truth]:
        """Evaluate every predicate, shape (n_events,) each, or () if it does not depend on the event."""
        return {p: np.asarray(holds(columns), bool) for p, holds in self._predicates}

    def row_of(self, event: Columns) -> tuple[bool, ...]:
        """Evaluate the sentences for one event of plain values."""
        return tuple([holds(event) for holds in self._scalar])

    def find(self, row: tuple[bool, ...]) -> int | None:
        """Number of a row of the truth table."""
        return self._places.get(row)

    @cached_property
    def _scalar(self) -> list[Callable[[Columns], bool]]:
        return list(map(_scalar, self._sentences))

    @cached_property
    def _places(self) -> dict[tuple[bool, ...], int]:
        return {tuple(row): i for i, row in enumerate(self._rows.tolist())}


def _trie(rows: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Yield tables that lead, eight sentences a time, from the node reached so far and their truth to the next node.

    Flat, indexed by node * 256 + byte. Every table has one node more, for truths that no row begins with; the last
    table's nodes are rows.
    """
    nodes, n_nodes = np.zeros(len(rows), np.intp), 1
    for first in range(0, rows.shape[1], _CHUNK):
        prefixes, following = np.unique(rows[:, : first + _CHUNK], axis=0, return_inverse=True)
        following = np.arange(len(rows)) if len(prefixes) == len(rows) else following.ravel()
        table = np.full((n_nodes + 1, 1 << _CHUNK), len(prefixes), np.intp)
        table[nodes, _bytes(rows[:, first : first + _CHUNK].T, len(rows))] = following
        yield table.ravel()
        nodes, n_nodes = following, len(prefixes)


def _bytes(truths: Iterable[Truth], n_events: int) -> NDArray[np.uint8]:
    """Pack up to eight truth arrays of shape (n_events,) into one byte an event, the first in the lowest bit."""
    packed = np.zeros(n_events, np.uint8)
    for bit, truth in enumerate(truths):
        packed |= truth.astype(np.uint8) << np.uint8(bit)
    return packed


def _value(sentence: Sentence, truth: Mapping[Predicate, Truth]) -> Any:
    """Truth of a sentence for every event, shape (n_events,)."""
    match sentence:
        case Predicate():
            return truth[sentence]
        case Not(operand):
            return ~_value(operand, truth)
        case And(operands) | Or(operands):
            join = np.logical_and if isinstance(sentence, And) else np.logical_or
            return reduce(join, [_value(operand, truth) for operand in operands])


def _scalar(sentence: Sentence) -> Callable[[Columns], bool]:
    """Make the function that gives a sentence's truth for one event of plain values."""
    match sentence:
        case Predicate():
            return bind_scalar(sentence)
        case Not(operand):
            holds = _scalar(operand)
            return lambda event: not holds(event)
        case And(operands) | Or(operands):
            join, parts = all if isinstance(sentence, And) else any, list(map(_scalar, operands))
            return lambda event: join(part(event) for part in parts)
