"""Outcomes: how far the next detection was from every event of a stream, tabulated.

Owns one row per distinct longest context and automaton state, so that a forecast is decided once per row. Must not
know: probabilities, thresholds, how a tree is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spst.arrangement import Arrangement
from spst.arrays import FloatArray, IndexArray, IntArray, Mask, frozen
from spst.keys import Keys


def summed(places: IntArray, values: FloatArray | IntArray, n_places: int) -> FloatArray:
    """Sum the values that have the same place; float64, shape (n_places,)."""
    return np.bincount(places, weights=values, minlength=n_places).astype(np.float64, copy=False)


@dataclass(frozen=True, eq=False)
class OutcomeTable:
    """How far the next detection was, for every distinct (longest context, automaton state) of a stream.

    Attributes
    ----------
    k_max : int
    context, state : int32, shape (n_rows,)
        Row of the longest context (see `spst.counts.Contexts`), and automaton state.
    row, distance, bucket : int32, shape (n_entries,)
        Entries sorted by distance. Distance d < k_max: the next detection of the partition came d + 1 events later;
        k_max: later than that, or never.
    count : int32, shape (n_entries,)
        Number of events.
    """

    k_max: int
    context: IntArray
    state: IntArray
    row: IntArray
    distance: IntArray
    bucket: IntArray
    count: IntArray

    def of(self, buckets: Mask, finals: Mask, forecast_at_detection: bool) -> Outcomes:
        """The outcomes of the forecasts made in some buckets.

        Parameters
        ----------
        buckets : bool, shape (n_buckets,)
        finals : bool, shape (n_states,)
        forecast_at_detection : bool
            False: no forecast is made where the automaton's state is final.
        """
        chosen, detected = buckets[self.bucket], finals[self.state[self.row]]
        detections = int(self.count[chosen & detected].sum())
        if not forecast_at_detection:
            chosen &= ~detected
        row, distance, count = (frozen(column[chosen]) for column in (self.row, self.distance, self.count))
        return Outcomes(row, distance, count, frozen(summed(row, count, len(self.context))), detections)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The outcomes of some buckets, with what was counted once for all forecasts.

    Attributes
    ----------
    row, distance, count
        As in `OutcomeTable`.
    total : float64 (whole numbers), shape (n_rows,)
        Forecasts made in each row.
    detections : int
        Detections in these buckets.
    """

    row: IntArray
    distance: IntArray
    count: IntArray
    total: FloatArray
    detections: int
    _hits: dict[int, FloatArray] = field(default_factory=dict, repr=False)

    def hits(self, k: int) -> FloatArray:
        """Forecasts that a detection follows within k events; float64 (whole numbers), shape (n_rows,); kept per k."""
        if k not in self._hits:
            near = int(np.searchsorted(self.distance, k))
            self._hits[k] = frozen(summed(self.row[:near], self.count[:near], len(self.total)))
        return self._hits[k]


def tabulate_outcomes(
    stream: Arrangement, longest: IntArray, states: IntArray, finals: Mask, k_max: int
) -> OutcomeTable:
    """Tabulate the distances to the next detection of the partition; resets do not matter to them.

    Parameters
    ----------
    longest, states : int32, shape (n_events,)
        Longest context and automaton state after each event.
    finals : bool, shape (n_states,)
    k_max : int
        Distances beyond it are not told apart.
    """
    distances = _distances(np.flatnonzero(finals[states]), stream.ends, len(stream), k_max)
    rows = np.empty(len(stream), dtype=np.int32)
    pairs = Keys((longest, int(longest.max(initial=0)) + 1), (states, len(finals))).rank(rows)
    keys = Keys((distances, k_max + 1), (rows, max(len(pairs[0]), 1)), (stream.buckets, stream.n_buckets))
    (distance, row, bucket), count = keys.tally()
    columns = (*pairs, row, distance, bucket, count)
    return OutcomeTable(k_max, *(frozen(column.astype(np.int32)) for column in columns))


def _distances(detections: IndexArray, ends: IndexArray, n_events: int, k_max: int) -> IntArray:
    """Count the events from each event to the next detection of its partition, less 1; k_max if none is so near.

    All events between two stops (detections and ends of partitions) have the same next stop.
    """
    distance = np.full(n_events, k_max, dtype=np.int32)
    if not n_events:
        return distance
    stops = np.union1d(detections, ends)
    target = np.where(np.isin(stops, detections, assume_unique=True), stops, n_events + k_max).astype(np.int32)
    before_last = distance[:-1]
    before_last[:] = np.repeat(target, np.diff(stops, prepend=0))  # a stop itself looks at the one after it
    before_last -= np.arange(1, n_events, dtype=np.int32)
    np.minimum(distance, k_max, out=distance)
    distance[ends] = k_max
    return distance
