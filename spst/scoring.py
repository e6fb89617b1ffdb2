"""Scores: how forecasts compare with what came true.

Owns the confusion counts, MCC and its companions, and the threshold curve. Must not know: where probabilities and
outcomes come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spst.arrays import FloatArray
from spst.waiting import DECIMALS

LEAST_PROBABILITY = 10.0**-DECIMALS  # in the log-loss: forecasts are rounded, so 0 means "less than this"


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
        place = int(np.argmax(self.mcc.round(DECIMALS)))
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
    return Score(
        detections=detections,
        tp=int(tp),
        tn=int(curve.misses - fp),
        fp=int(fp),
        fn=int(curve.hits - tp),
        mcc=mcc,
        best_threshold=best_threshold,
        best_mcc=best_mcc,
        log_loss=curve.log_loss,
    )
