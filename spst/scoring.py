"""Scores: what came true after every state of a stream, and how forecasts compare with it.

Owns the outcome table (one row per distinct context and automaton state, so that a forecast is decided once per row),
the confusion counts, MCC and its companions, and the threshold curve. Must not know: how a tree is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spst.arrangement import Arrangement
from spst.arrays import FloatArray, IndexArray, IntArray, Mask, frozen
from spst.keys import Keys

LEAST_PROBABILITY = 1e-12  # in the log-loss: forecasts are rounded to 12 decimals, so 0 means "less than this"


@dataclass(frozen=True)
class OutcomeTable:
    """How far the next detection was, for every distinct (longest context, automaton state) of a stream.

    Attributes
    ----------
    context : int32, shape (n_rows,)
        Row of the longest context (see `spst.counts.Contexts`).
    state : int32, shape (n_rows,)
        Automaton state.
    row, distance, bucket : integers, shape (n_entries,)
        Entries sorted by distance. ``distance`` d < k_max: the next detection of the partition came d + 1 events later;
        k_max: later than that, or never.
    count : int64, shape (n_entries,)
        Number of events.
    k_max : int
    """

    context: IntArray
    state: IntArray
    row: IntArray
    distance: IntArray
    bucket: IntArray
    count: IntArray
    k_max: int

    def of(self, buckets: Mask, finals: Mask, at_detection: bool) -> Outcomes:
        """The outcomes of forecasts made in some buckets; `at_detection` False: none made where a final state is."""
        chosen = buckets[self.bucket]
        if not at_detection:
            chosen &= ~finals[self.state[self.row]]
        row, distance, count = self.row[chosen], self.distance[chosen], self.count[chosen]
        detected = finals[self.state[self.row]] & buckets[self.bucket]
        total = np.bincount(row, weights=count, minlength=len(self.context))
        return Outcomes(
            self.context, self.state, row, distance, count, frozen(total), int(self.count[detected].sum()), self.k_max
        )


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
    context, state = Keys((longest, int(longest.max(initial=0)) + 1), (states, len(finals))).rank(rows)
    keys = Keys((distances, k_max + 1), (rows, max(len(context), 1)), (stream.buckets, stream.n_buckets))
    (distance, row, bucket), times = keys.tally()
    return OutcomeTable(*map(frozen, (context, state, row, distance, bucket, times)), k_max)


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


@dataclass(frozen=True)
class Outcomes:
    """The outcome table of some buckets, with what was counted once for all forecasts.

    Attributes
    ----------
    context, state, row, distance, count, k_max
        As in `OutcomeTable`.
    total : float64 (whole numbers), shape (n_rows,)
        Forecasts made in each row.
    detections : int
        Detections in these buckets.
    """

    context: IntArray
    state: IntArray
    row: IntArray
    distance: IntArray
    count: IntArray
    total: FloatArray
    detections: int
    k_max: int
    _hits: dict[int, FloatArray] = field(default_factory=dict, repr=False, compare=False)

    def hits(self, k: int) -> FloatArray:
        """float64 (whole numbers), shape (n_rows,): forecasts that a detection follows within k events; kept per k."""
        if k not in self._hits:
            near = int(np.searchsorted(self.distance, k))
            hits = np.bincount(self.row[:near], weights=self.count[:near], minlength=len(self.context))
            self._hits[k] = frozen(hits)
        return self._hits[k]


@dataclass(frozen=True)
class Score:
    """How forecasts compared with what happened; what is undefined is None.

    Attributes
    ----------
    detections : int
        Times that a final state was entered.
    tp, tn, fp, fn : int
        Forecasts: hit and positive, neither, positive without a hit, a hit without being positive.
    mcc : float, -1..1
        Matthews correlation coefficient; 0 where one of its four denominators is 0.
    best_threshold, best_mcc : float or None
        Smallest probability called positive at the highest MCC that any threshold reaches, and that MCC; ties go to the
        higher threshold.
    log_loss : float or None
        Mean negative log-likelihood of hit or no hit, in nats.
    """

    detections: int
    tp: int
    tn: int
    fp: int
    fn: int
    mcc: float
    best_threshold: float | None
    best_mcc: float | None
    log_loss: float | None

    @property
    def forecasts(self) -> int:
        """Forecasts made."""
        return self.tp + self.tn + self.fp + self.fn

    @property
    def f_val(self) -> float:
        """What an optimiser minimises: -mcc."""
        return 0.0 - self.mcc

    @property
    def precision(self) -> float | None:
        """Hits among positive forecasts."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Positive forecasts among hits."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; 0 if both are, None if one is."""
        undefined = self.precision is None or self.recall is None
        return None if undefined else _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def specificity(self) -> float | None:
        """Negative forecasts where no detection followed."""
        return _share(self.tn, self.tn + self.fp)

    @property
    def npv(self) -> float | None:
        """No detection following where the forecast was negative."""
        return _share(self.tn, self.tn + self.fn)

    @property
    def accuracy(self) -> float | None:
        """Right forecasts among all."""
        return _share(self.tp + self.tn, self.forecasts)

    def as_dict(self) -> dict[str, float | None]:
        """Plain data, ready for JSON: every attribute and property."""
        return {name: getattr(self, name) for name in _SCORE_NAMES}


_SCORE_NAMES = (
    *(
        "detections",
        "forecasts",
        "tp",
        "tn",
        "fp",
        "fn",
        "mcc",
        "f_val",
        "precision",
        "recall",
        "f1",
        "specificity",
        "npv",
    ),
    *("accuracy", "best_threshold", "best_mcc", "log_loss"),
)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class ThresholdCurve:
    """Confusion counts at every threshold that makes a difference, from high to low.

    Attributes
    ----------
    threshold : float64, shape (n_thresholds,)
        Smallest probability called positive; descending.
    tp, fp : float64 (whole numbers), shape (n_thresholds,)
    hits, misses : float
        Forecasts that came true, and that did not, in all: tp + fn, and fp + tn.
    mcc : float64, shape (n_thresholds,)
    log_loss : float or None
        Of the probabilities, whatever the threshold.
    """

    threshold: FloatArray
    tp: FloatArray
    fp: FloatArray
    hits: float
    misses: float
    mcc: FloatArray
    log_loss: float | None

    def best(self) -> tuple[float | None, float | None]:
        """The threshold of the highest MCC, and that MCC; ties go to the higher threshold; None without forecasts."""
        if not len(self.threshold):
            return None, None
        place = int(np.argmax(self.mcc))
        return float(self.threshold[place]), float(self.mcc[place])


def matthews(tp: FloatArray, tn: FloatArray, fp: FloatArray, fn: FloatArray) -> FloatArray:
    """Matthews correlation coefficient as sqrt(PPV TPR TNR NPV) - sqrt(FDR FNR FPR FOR); 0 if a denominator is 0."""
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    defined = np.where(margins > 0, margins, 1.0)
    return np.where(margins > 0, (tp * tn - fp * fn) / np.sqrt(defined), 0.0)


def threshold_curve(probability: FloatArray, hits: FloatArray, total: FloatArray) -> ThresholdCurve:
    """The confusion counts of all thresholds at once: sort by probability, sum up.

    Parameters
    ----------
    probability, hits, total : float64, shape (n,)
        Rows of equal forecasts: their probability (rounded), how many came true, how many there were.
    """
    made = total > 0
    probability, hits, total = probability[made], hits[made], total[made]
    loss = _log_loss(probability, hits, total)
    order = np.argsort(-probability)
    falling = probability[order]
    last = np.flatnonzero(np.diff(falling, append=-1.0))
    tp, called = np.cumsum(hits[order])[last], np.cumsum(total[order])[last]
    all_hits, all_made = float(hits.sum()), float(total.sum())
    fp = called - tp
    mcc = matthews(tp, all_made - all_hits - fp, fp, all_hits - tp)
    return ThresholdCurve(falling[last], tp, fp, all_hits, all_made - all_hits, mcc, loss)


def _log_loss(probability: FloatArray, hits: FloatArray, total: FloatArray) -> float | None:
    if not len(probability):
        return None
    clipped = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return float(-(hits @ np.log(clipped) + (total - hits) @ np.log1p(-clipped)) / total.sum())


def score_at(curve: ThresholdCurve, threshold: float, detections: int) -> Score:
    """The score of calling probabilities of `threshold` or more positive; `detections` is passed through."""
    place = int(np.searchsorted(-curve.threshold, -threshold, side="right")) - 1
    tp, fp, mcc = (float(column[place]) if place >= 0 else 0.0 for column in (curve.tp, curve.fp, curve.mcc))
    best_threshold, best_mcc = curve.best()
    counts = (int(count) for count in (tp, curve.misses - fp, fp, curve.hits - tp))
    return Score(detections, *counts, mcc, best_threshold, best_mcc, curve.log_loss)
