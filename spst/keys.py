"""Ranking and tallying of composite keys of many events, in memory that fits the processor's cache.

Owns the choice between a lookup table and sorting. Must not know: what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from spst.arrays import IndexArray, IntArray

BLOCK = 1 << 16  # events whose keys exist at a time
DENSE_FACTOR = 16  # a lookup table may have this many entries per event before sorting the keys is cheaper


class Keys:
    """One key per event, of several columns; the first is the most significant.

    Parameters
    ----------
    columns : (array of integers of shape (n_events,), size), ...
        The column's values lie in 0..size-1. All arrays have the same length.
    """

    def __init__(self, *columns: tuple[IntArray, int]) -> None:
        self._columns = columns
        self.sizes = tuple(size for _, size in columns)
        self._n_events = len(columns[0][0])
        self._is_dense = prod(self.sizes) <= DENSE_FACTOR * max(self._n_events, BLOCK)

    def rank(self, places: IntArray) -> tuple[IndexArray, ...]:
        """Find the distinct keys, ascending, and write the place of every event's key among them into `places`.

        Parameters
        ----------
        places : integers, shape (n_events,)
            May be one of the columns.

        Returns
        -------
        intp, shape (n_distinct,), one for each column
        """
        if not self._is_dense:
            distinct, places[:] = np.unique(self._all(), return_inverse=True)
            return np.unravel_index(distinct, self.sizes)
        seen = np.zeros(prod(self.sizes), dtype=bool)
        for _, keys in self._blocks():
            seen[keys] = True
        number = np.cumsum(seen, dtype=places.dtype) - 1
        for block, keys in self._blocks():
            places[block] = number[keys]
        return np.unravel_index(np.flatnonzero(seen), self.sizes)

    def tally(self) -> tuple[tuple[IndexArray, ...], IndexArray]:
        """Find the distinct keys, ascending, as one array for each column, and how often each occurs."""
        if not self._is_dense:
            distinct, times = np.unique(self._all(), return_counts=True)
            return np.unravel_index(distinct, self.sizes), times
        table = np.zeros(prod(self.sizes), dtype=np.intp)
        for _, keys in self._blocks():
            np.add.at(table, keys, 1)
        distinct = np.flatnonzero(table)
        return np.unravel_index(distinct, self.sizes), table[distinct]

    def _blocks(self) -> Iterator[tuple[slice, IndexArray]]:
        (first, _), *others = self._columns
        for start in range(0, self._n_events, BLOCK):
            block = slice(start, start + BLOCK)
            keys = first[block].astype(np.intp)
            for column, size in others:
                keys *= size
                keys += column[block]
            yield block, keys

    def _all(self) -> IndexArray:
        return np.concatenate([np.zeros(0, dtype=np.intp), *(keys for _, keys in self._blocks())])
