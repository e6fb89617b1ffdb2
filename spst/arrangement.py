"""A stream of symbols put in the order that counting works on: partition after partition, cut into segments.

Owns the sorting by partition, the cuts at resets, and the bucket of every event. Must not know: files, contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array

from spst.arrays import IndexArray, IntArray
from spst.symbols import Symbols


@dataclass(frozen=True)
class Arrangement:
    """Events only, partition after partition, each in the order of the stream.

    Attributes
    ----------
    symbols : unsigned integers, shape (n_events,)
    buckets : unsigned integers, shape (n_events,)
        Bucket of each event, in 0..n_buckets-1.
    starts : intp, shape (n_segments,)
        Positions of the first event of every segment: of a partition's events up to its next reset.
    ends : intp, shape (n_partitions,)
        Positions of the last event of every partition.
    n_symbols, n_buckets : int
    """

    symbols: IntArray
    buckets: IntArray
    starts: IndexArray
    ends: IndexArray
    n_symbols: int
    n_buckets: int

    def __len__(self) -> int:
        return len(self.symbols)


def arrange(stream: Symbols, bucket_sizes: Sequence[int]) -> Arrangement:
    """Sort a stream by partition, which keeps the order within each, and cut it at resets.

    Parameters
    ----------
    bucket_sizes : int, shape (n_buckets,)
        Events and reset rows in each bucket; the buckets follow one another in the stream.
    """
    n_rows, n_buckets = len(stream.symbols), len(bucket_sizes)
    symbols, order, bounds = stream.symbols, np.arange(n_rows, dtype=np.int32), np.array([0, n_rows])
    if stream.partitions is not None and len(stream.values) > 1:  # a sparse matrix is sorted by row through counting
        by_partition = coo_array(
            (symbols, (stream.partitions.astype(np.int32), order)), shape=(len(stream.values), n_rows)
        ).tocsr()
        symbols, order, bounds = by_partition.data, by_partition.indices, by_partition.indptr
    after_reset = np.zeros(0, dtype=np.intp)
    if stream.n_events < n_rows:
        events = np.flatnonzero(symbols != stream.n_symbols)
        after_reset = np.flatnonzero(np.diff(events, prepend=-1) > 1)
        symbols, order, bounds = symbols[events], order[events], np.searchsorted(events, bounds)
    bounds = np.unique(bounds)
    buckets = np.repeat(np.arange(n_buckets, dtype=np.min_scalar_type(n_buckets)), bucket_sizes)[order]
    starts = np.union1d(bounds[:-1], after_reset)
    return Arrangement(symbols, buckets, starts, bounds[1:] - 1, stream.n_symbols, n_buckets)
