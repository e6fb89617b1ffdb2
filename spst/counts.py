"""Words of symbols and how often they occur: the sufficient statistics that a tree is learnt from.

Owns the trie of contexts that occur in a stream and, for each, the counts of what followed, per bucket. Works level by
level on whole arrays; no step looks at one event. Must not know: files, patterns, hyperparameters.

Definitions (Begleiter, El-Yaniv, Yona 2004): c(w) is the number of positions at which the word w ends, within a segment
(a partition's events between two resets); P(w) = c(w) / (N - |w| + 1); P(s|w) = c(w s) / c(w).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float64]

DENSE_FACTOR = 16  # a lookup table may have this many entries per key before sorting the keys is cheaper


def frozen(array: npt.NDArray[np.generic]) -> npt.NDArray:
    """The same array, read-only."""
    array.setflags(write=False)
    return array


def rank(keys: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """Distinct keys in ascending order, and the place of every key among them (`np.unique` without sorting if it pays).

    Parameters
    ----------
    keys : integers, shape (n,), in 0..size-1
    size : int

    Returns
    -------
    distinct : int64, shape (n_distinct,)
    places : int32, shape (n,)
        ``distinct[places] == keys``.
    """
    if size > DENSE_FACTOR * len(keys) + 1024:
        distinct, places = np.unique(keys, return_inverse=True)
        return distinct.astype(np.int64, copy=False), places.astype(np.int32)
    seen = np.zeros(size, dtype=bool)
    seen[keys] = True
    return np.flatnonzero(seen), (np.cumsum(seen, dtype=np.int32) - 1)[keys]


def tally(keys: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """Distinct keys in ascending order and how often each occurs, both int64, shape (n_distinct,)."""
    if size > DENSE_FACTOR * len(keys) + 1024:
        return np.unique(keys, return_counts=True)
    times = np.bincount(keys, minlength=size)
    distinct = np.flatnonzero(times)
    return distinct, times[distinct]


def key_type(size: int) -> type[np.signedinteger]:
    """The smaller integer type that holds 0..size."""
    return np.int32 if size <= np.iinfo(np.int32).max else np.int64


@dataclass(frozen=True)
class Contexts:
    """The trie of all contexts up to some order that occur in a stream; row 0 is the empty context.

    Attributes
    ----------
    level_start : int64, shape (order + 2,)
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

    def __post_init__(self) -> None:
        for array in (self.level_start, self.parent, self.oldest):
            frozen(array)

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
        """int32, shape (n_contexts,): number of symbols of each context."""
        return frozen(np.repeat(np.arange(self.order + 1, dtype=np.int32), np.diff(self.level_start)))

    def word(self, row: int) -> tuple[int, ...]:
        """The symbols of one context, most recent first."""
        symbols: list[int] = []
        while row:
            symbols.append(int(self.oldest[row]))
            row = int(self.parent[row])
        return tuple(reversed(symbols))


def find_contexts(symbols: IntArray, starts: IntArray, order: int, n_symbols: int) -> tuple[Contexts, IntArray]:
    """All contexts of a stream, and the longest one of every event.

    Level by level, the context of length L of an event is the pair (its context of length L - 1, the symbol L - 1 events
    ago); pairs are ranked, so that codes stay small for any order and alphabet. Before a segment's start stands a padding
    symbol; contexts that contain it are dropped at the end, and their events fall back to what is left.

    Parameters
    ----------
    symbols : unsigned integers, shape (n_events,)
        Segments one after the other, each in order of time.
    starts : int64, shape (n_segments,)
        Positions of the first event of each segment.
    order : int
        Length of the longest contexts.
    n_symbols : int

    Returns
    -------
    contexts : Contexts
    longest : int32, shape (n_events,)
        Row of each event's context, the event itself included, of length min(order, events of the segment so far).
    """
    n_events, padding = len(symbols), n_symbols
    parents, oldest, padded = [np.zeros(1, np.int32)], [np.full(1, -1, np.int32)], [np.zeros(1, bool)]
    places = np.zeros(n_events, dtype=np.int32)
    for length in range(1, order + 1):
        lag, width = length - 1, len(parents[-1])
        older = np.full(n_events, padding, dtype=np.uint16 if padding > 255 else np.uint8)
        older[lag:] = symbols[: n_events - lag]
        for step in range(lag):
            first = starts + step
            older[first[first < n_events]] = padding
        size = width * (n_symbols + 1)
        keys = np.multiply(places, n_symbols + 1, dtype=key_type(size))
        keys += older
        distinct, places = rank(keys, size)
        parents.append((distinct // (n_symbols + 1)).astype(np.int32))
        oldest.append((distinct % (n_symbols + 1)).astype(np.int32))
        padded.append(oldest[-1] == padding)
    return _without_padding(parents, oldest, padded, places, n_symbols)


def _without_padding(
    parents: list[IntArray],
    oldest: list[IntArray],
    padded: list[npt.NDArray[np.bool_]],
    places: IntArray,
    n_symbols: int,
) -> tuple[Contexts, IntArray]:
    """Number the real contexts of all levels through; a padded one stands for its longest real suffix."""
    rows, level_start = [np.zeros(1, np.int32)], [0, 1]
    for up, pad in zip(parents[1:], padded[1:], strict=True):
        own = np.cumsum(~pad, dtype=np.int32) - 1 + level_start[-1]
        rows.append(np.where(pad, rows[-1][up], own).astype(np.int32))
        level_start.append(level_start[-1] + int(np.count_nonzero(~pad)))
    contexts = Contexts(
        level_start=np.array(level_start),
        parent=np.concatenate(
            [parents[0], *(r[u][~p] for r, u, p in zip(rows, parents[1:], padded[1:], strict=False))]
        ),
        oldest=np.concatenate([old[~pad] for old, pad in zip(oldest, padded, strict=True)]),
        n_symbols=n_symbols,
    )
    return contexts, rows[-1][places]


@dataclass(frozen=True)
class WordCounts:
    """How often every context occurred and what followed it, per bucket; cut out for some buckets by `of`.

    Attributes
    ----------
    contexts : Contexts
    table : csr_array, shape (n_contexts, (n_symbols + 1) * n_buckets), int64
        Column ``s * n_buckets + b``: times that symbol s followed the context in bucket b. Column
        ``n_symbols * n_buckets + b``: times that the context ended in bucket b.
    n_buckets : int
    """

    contexts: Contexts
    table: csr_array
    n_buckets: int

    def of(self, buckets: npt.NDArray[np.bool_]) -> Successors:
        """The counts of some buckets together; buckets : bool, shape (n_buckets,)."""
        n_columns = self.contexts.n_symbols + 1
        column, bucket = np.divmod(np.arange(n_columns * self.n_buckets), self.n_buckets)
        chosen = np.flatnonzero(buckets[bucket])
        pick = csr_array(
            (np.ones(len(chosen), np.int64), (chosen, column[chosen])), shape=(n_columns * self.n_buckets, n_columns)
        )
        folded = csr_array(self.table @ pick)
        folded.sort_indices()
        return Successors.from_table(self.contexts, folded)


def count_words(
    contexts: Contexts,
    longest: IntArray,
    symbols: IntArray,
    starts: IntArray,
    buckets: IntArray | None,
    n_buckets: int,
) -> WordCounts:
    """Count the words of a stream from the longest context of every event (see `find_contexts`).

    Every event is counted once, at its longest context; shorter contexts are sums over the trie, one sparse product
    per level.

    Parameters
    ----------
    buckets : unsigned integers, shape (n_events,), or None
        Bucket of each event, in which every word that it ends is counted; None: all in bucket 0.
    """
    n, n_columns = contexts.n_symbols, (contexts.n_symbols + 1) * n_buckets
    size = len(contexts) * n_columns
    before = np.zeros_like(longest)
    before[1:] = longest[:-1]
    before[starts] = 0
    tallies = []
    for row, column in ((before, symbols), (longest, n)):
        keys = np.multiply(row, n + 1, dtype=np.int64)
        keys += column
        if buckets is not None:
            keys *= n_buckets
            keys += buckets
        tallies.append(tally(keys, size))
    keys, times = (np.concatenate(parts) for parts in zip(*tallies, strict=True))
    own = csr_array((times, np.divmod(keys, n_columns)), shape=(len(contexts), n_columns))
    levels = [own[contexts.level(contexts.order)]]
    for length in range(contexts.order, 0, -1):
        rows, above = contexts.level(length), contexts.level(length - 1)
        parent = contexts.parent[rows] - above.start
        gather = csr_array(
            (np.ones(len(parent), np.int64), (parent, np.arange(len(parent)))),
            shape=(above.stop - above.start, len(parent)),
        )
        levels.append(own[above] + gather @ levels[-1])
    return WordCounts(contexts, csr_array(vstack(levels[::-1], format="csr")), n_buckets)


@dataclass(frozen=True)
class Successors:
    """The counts that a tree is learnt from, and what does not depend on hyperparameters in the learner's test.

    Attributes
    ----------
    contexts : Contexts
    total : int
        N, the number of events.
    occurrences : int64, shape (n_contexts,)
        c(context).
    indptr : int64, shape (n_contexts + 1,)
    symbol, count : int64, shape (n_entries,)
        Entries of one context are ``indptr[row]:indptr[row + 1]``, sorted by symbol: c(context symbol), all positive.
    row : int64, shape (n_entries,)
        The context of each entry.
    probability : float64, shape (n_contexts,)
        P(context).
    conditional, ratio : float64, shape (n_entries,)
        P(symbol | context), and that divided by P(symbol | context without its oldest symbol).
    """

    contexts: Contexts
    total: int
    occurrences: IntArray
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
        symbol, count = follows.indices.astype(np.int64), follows.data
        total = int(occurrences[0])
        keys = row * n + symbol
        parent_entry = np.minimum(np.searchsorted(keys, contexts.parent[row] * np.int64(n) + symbol), len(keys) - 1)
        conditional = count / np.maximum(occurrences[row], 1)
        room = np.maximum(total - contexts.length + 1, 1)
        arrays = (occurrences, follows.indptr.astype(np.int64), symbol, count, row)
        chances = (occurrences / room, conditional, conditional / conditional[parent_entry])
        return cls(contexts, total, *map(frozen, arrays), *map(frozen, chances))
