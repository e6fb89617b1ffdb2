"""Words of symbols and how often they occur: the sufficient statistics that a tree is learnt from.

Owns the trie of contexts that occur in a stream and, for each, the counts of what followed, per bucket. Works level by
level on whole arrays; no step looks at one event. Must not know: files, patterns, hyperparameters.

Definitions (Begleiter, El-Yaniv, Yona 2004): c(w) is the number of positions at which the word w ends, within a segment
(a partition's events between two resets); P(w) = c(w) / (N - |w| + 1); P(s|w) = c(w s) / c(w).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, vstack

from spst.arrangement import Arrangement
from spst.arrays import FloatArray, IndexArray, IntArray, Mask, frozen
from spst.keys import Keys


@dataclass(frozen=True, eq=False)
class Contexts:
    """The trie of all contexts up to some order that occur in a stream; row 0 is the empty context.

    Attributes
    ----------
    level_start : intp, shape (order + 2,)
        Contexts of length L are the rows ``level_start[L]:level_start[L + 1]``, sorted by (parent, oldest).
    parent : int32, shape (n_contexts,)
        Row of the context without its oldest symbol; the root is its own parent.
    oldest : int32, shape (n_contexts,)
        The oldest symbol of each context; -1 for the root.
    n_symbols : int
    """

    level_start: IntArray
    parent: IntArray
    oldest: IntArray
    n_symbols: int

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def order(self) -> int:
        """Length of the longest contexts."""
        return len(self.level_start) - 2

    def level(self, length: int) -> slice:
        """The rows of all contexts of one length."""
        return slice(int(self.level_start[length]), int(self.level_start[length + 1]))

    @cached_property
    def length(self) -> IntArray:
        """Number of symbols of each context; intp, shape (n_contexts,)."""
        return frozen(np.repeat(np.arange(self.order + 1), np.diff(self.level_start)))

    def word(self, row: int) -> tuple[int, ...]:
        """The symbols of one context, most recent first."""
        symbols: list[int] = []
        while row:
            symbols.append(int(self.oldest[row]))
            row = int(self.parent[row])
        return tuple(reversed(symbols))


def find_contexts(stream: Arrangement, order: int) -> tuple[Contexts, IntArray]:
    """Find all contexts of a stream, and the longest one of every event.

    Level by level, the context of length L of an event is the pair (its context of length L - 1, the symbol L - 1
    events ago); pairs are ranked, so that codes stay small for any order and alphabet. Before a segment's start stands
    padding; contexts that contain it are dropped at the end, and their events fall back to what is left of them.

    Parameters
    ----------
    stream : Arrangement
    order : int
        Length of the longest contexts.

    Returns
    -------
    contexts : Contexts
    longest : int32, shape (n_events,)
        Row of each event's context, the event itself included, of length min(order, events of the segment so far).
    """
    n_events, padding = len(stream), stream.n_symbols
    levels: list[_Level] = []
    places, n_places = np.zeros(n_events, dtype=np.int32), 1
    for lag in range(order):
        older = np.full(n_events, padding, dtype=stream.symbols.dtype)
        older[lag:] = stream.symbols[: max(n_events - lag, 0)]
        for step in range(lag):
            first = stream.starts + step
            older[first[first < n_events]] = padding
        parent, oldest = Keys((places, n_places), (older, padding + 1)).rank(places)
        levels.append(_Level(parent, oldest, oldest == padding))
        n_places = len(parent)
    contexts, rows = _without_padding(levels, stream.n_symbols)
    return contexts, np.take(rows, places, out=places, mode="clip")  # clip: in place, without a buffer


class _Level(NamedTuple):
    """Contexts of one length: place of the parent one level up, oldest symbol, whether that is padding."""

    parent: IndexArray
    oldest: IndexArray
    padded: Mask


def _without_padding(levels: Sequence[_Level], n_symbols: int) -> tuple[Contexts, IntArray]:
    """Number the real contexts of all levels through; gives the row of each place of the last level.

    A padded context stands for its longest suffix without padding.
    """
    rows: IntArray = np.zeros(1, dtype=np.int32)
    level_start, parents, oldest = [0, 1], [rows], [rows - 1]
    for level in levels:
        real = ~level.padded
        parent = rows[level.parent]
        rows = np.where(real, level_start[-1] + np.cumsum(real, dtype=np.int32) - 1, parent)
        level_start.append(level_start[-1] + int(np.count_nonzero(real)))
        parents.append(parent[real])
        oldest.append(level.oldest[real])
    contexts = Contexts(
        level_start=frozen(np.array(level_start)),
        parent=frozen(np.concatenate(parents)),
        oldest=frozen(np.concatenate(oldest).astype(np.int32)),
        n_symbols=n_symbols,
    )
    return contexts, rows


@dataclass(frozen=True, eq=False)
class WordCounts:
    """How often every context occurred and what followed it, per bucket; cut out for some buckets by `of`.

    Attributes
    ----------
    contexts : Contexts
    table : csr_array, shape (n_contexts, (n_symbols + 1) * n_buckets), int32
        Column ``s * n_buckets + b``: times that symbol s followed the context in bucket b. Column
        ``n_symbols * n_buckets + b``: times that the context ended in bucket b.
    n_buckets : int
    """

    contexts: Contexts
    table: csr_array
    n_buckets: int

    def of(self, buckets: Mask) -> Successors:
        """The counts of some buckets together; buckets : bool, shape (n_buckets,)."""
        n_columns = self.contexts.n_symbols + 1
        column, bucket = np.divmod(np.arange(n_columns * self.n_buckets), self.n_buckets)
        chosen = np.flatnonzero(buckets[bucket])
        ones = np.ones(len(chosen), dtype=np.intp)
        pick = csr_array((ones, (chosen, column[chosen])), shape=(len(column), n_columns))
        folded = csr_array(self.table @ pick)
        folded.sort_indices()
        return Successors.from_table(self.contexts, folded)


def count_words(stream: Arrangement, contexts: Contexts, longest: IntArray) -> WordCounts:
    """Count the words of a stream, in the bucket where they end, from the longest context of every event.

    Every event is counted once, at its longest context; shorter contexts are sums over the trie, one sparse product
    per level.

    Parameters
    ----------
    contexts, longest
        From `find_contexts`.
    """
    n, n_rows, n_buckets = stream.n_symbols, len(contexts), stream.n_buckets
    before = np.zeros_like(longest)
    before[1:] = longest[:-1]
    before[stream.starts] = 0
    by_bucket = (stream.buckets, n_buckets)
    (row, symbol, bucket), follows = Keys((before, n_rows), (stream.symbols, n), by_bucket).tally()
    (own_row, own_bucket), occurs = Keys((longest, n_rows), by_bucket).tally()
    rows, columns = np.append(row, own_row), np.append(symbol * n_buckets + bucket, n * n_buckets + own_bucket)
    own = csr_array((np.append(follows, occurs), (rows, columns)), shape=(n_rows, (n + 1) * n_buckets))
    return WordCounts(contexts, _rolled_up(contexts, own), n_buckets)


def _rolled_up(contexts: Contexts, own: csr_array) -> csr_array:
    """Add to each context's counts those of all longer ones that end with it."""
    levels = [own[contexts.level(contexts.order)]]
    for length in range(contexts.order, 0, -1):
        rows, above = contexts.level(length), contexts.level(length - 1)
        parent = contexts.parent[rows] - above.start
        ones, shape = np.ones(len(parent), dtype=np.intp), (above.stop - above.start, len(parent))
        levels.append(own[above] + csr_array((ones, (parent, np.arange(len(parent)))), shape=shape) @ levels[-1])
    return csr_array(vstack(levels[::-1], format="csr"), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Successors:
    """The counts that a tree is learnt from, and what does not depend on hyperparameters in the learner's test.

    Attributes
    ----------
    contexts : Contexts
    total : int
        N, the number of events.
    indptr : intp, shape (n_contexts + 1,)
    symbol, count : int32, shape (n_entries,)
        Entries of one context are ``indptr[row]:indptr[row + 1]``, sorted by symbol: c(context symbol), all positive.
    row : int32, shape (n_entries,)
        The context of each entry.
    probability : float64, shape (n_contexts,)
        P(context).
    conditional, ratio : float64, shape (n_entries,)
        P(symbol | context), and that divided by P(symbol | context without its oldest symbol).
    """

    contexts: Contexts
    total: int
    indptr: IntArray
    symbol: IntArray
    count: IntArray
    row: IntArray
    probability: FloatArray
    conditional: FloatArray
    ratio: FloatArray

    @classmethod
    def from_table(cls, contexts: Contexts, table: csr_array) -> Successors:
        """Take apart a table, shape (n_contexts, n_symbols + 1), whose last column counts the context itself."""
        n = contexts.n_symbols
        occurrences = table[:, [n]].toarray()[:, 0]
        follows = csr_array(table[:, :n])
        row = np.repeat(np.arange(len(contexts)), np.diff(follows.indptr))
        symbol, count = follows.indices.astype(np.intp), follows.data
        total = int(occurrences[0])
        parent_entry = np.searchsorted(row * n + symbol, contexts.parent[row] * np.intp(n) + symbol)
        conditional = count / np.maximum(occurrences[row], 1)
        possible = np.maximum(total - contexts.length + 1, 1)
        return cls(
            contexts=contexts,
            total=total,
            indptr=frozen(follows.indptr.astype(np.intp)),
            symbol=frozen(symbol.astype(np.int32)),
            count=frozen(count.astype(np.int32)),
            row=frozen(row.astype(np.int32)),
            probability=frozen(occurrences / possible),
            conditional=frozen(conditional),
            ratio=frozen(conditional / conditional[parent_entry]),
        )
