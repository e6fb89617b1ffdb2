"""Evaluation modes: which part of a stream is learnt from, and which part's forecasts are scored.

Owns the names of the modes and the cut. Must not know: what is counted in the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spst.arrays import Mask, frozen
from spst.errors import EventsError, HyperparameterError
from spst.table import as_number


@dataclass(frozen=True, eq=False)
class Split:
    """A stream cut into parts.

    Attributes
    ----------
    sizes : tuple of int, n_parts
        Events and reset rows in each part, in the order of the stream.
    learns, scores : bool, shape (n_parts,)
        Parts whose words are counted for the tree, and whose forecasts are scored.
    """

    sizes: tuple[int, ...]
    learns: Mask
    scores: Mask

    def __post_init__(self) -> None:
        frozen(self.learns)
        frozen(self.scores)

    def in_sample(self) -> Split:
        """The same parts; learns from all and scores all."""
        return Split(self.sizes, np.ones_like(self.learns), np.ones_like(self.scores))


def split(evaluation: str, bucket_sizes: Sequence[int]) -> Split:
    """Cut a stream for an evaluation.

    Parameters
    ----------
    evaluation : "in-sample", "holdout:SHARE" or "last-bucket"
        Learn from everything and score everything; or score the last share of the rows, 0 < SHARE < 1, or the last
        bucket, and learn from what is before it.
    bucket_sizes : int, shape (n_buckets,)

    Raises
    ------
    HyperparameterError
        There is no such mode.
    EventsError
        The last bucket is the only one.
    """
    everything = np.ones(len(bucket_sizes), dtype=bool)
    if evaluation == "in-sample":
        return Split(tuple(bucket_sizes), everything, everything)
    if evaluation == "last-bucket":
        if len(bucket_sizes) < 2:
            raise EventsError("evaluation 'last-bucket' needs two buckets or more, there is one; use 'holdout:0.3'")
        last = np.arange(len(bucket_sizes)) == len(bucket_sizes) - 1
        return Split(tuple(bucket_sizes), ~last, last)
    mode, _, text = evaluation.partition(":")
    share = as_number(text)
    if mode != "holdout" or share is None or not 0 < share < 1:
        known = "'in-sample', 'last-bucket' or 'holdout:SHARE' with a share between 0 and 1"
        raise HyperparameterError(f"evaluation must be {known}, not {evaluation!r}")
    ends = np.cumsum(bucket_sizes)
    cut = int(ends[-1]) - round(share * int(ends[-1]))
    bounds = np.union1d(ends, cut)
    return Split(tuple(np.diff(bounds, prepend=0).tolist()), bounds <= cut, bounds > cut)
