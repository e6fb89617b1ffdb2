"""Forecast intervals from waiting-time distributions, for all states at once.

Owns the five rules that turn a distribution W(1..h) over the next h events into an interval and a decision (Alevizos,
Artikis, Paliouras 2022). Knows nothing of trees, automata or events: rows are states, columns are steps.
Masses are rounded to 12 decimals before they meet a threshold, here as everywhere else, so that no two paths part by
one ulp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spst.arrays import FloatArray
from spst.errors import HyperparameterError
from spst.waiting import DECIMALS


@dataclass(frozen=True)
class Intervals:
    """One forecast per state; steps are counted from the next event, which is 1.

    Attributes
    ----------
    start, end : ndarray, shape (n_states,), int64
        First and last step of the interval; both 0 where no interval reaches the threshold.
    probability : ndarray, shape (n_states,), float64
        Mass of the interval; without an interval the mass of the whole horizon (which is then below the threshold).
    positive : ndarray, shape (n_states,), bool
        Whether the forecast says that a detection comes within the interval.
    """

    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    probability: FloatArray
    positive: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        for array in (self.start, self.end, self.probability, self.positive):
            array.setflags(write=False)


def next_k(waiting: FloatArray, *, k: int, threshold: float) -> Intervals:
    """Say yes iff W(1) + .. + W(k) >= threshold (classify-next-k).

    Parameters
    ----------
    waiting : ndarray, shape (n_states, horizon), float64
        Waiting-time distributions; column t-1 holds W(t).
    k : int
        Number of events the forecast speaks about, 1 to the horizon.
    threshold : float
        Probability from which on the answer is yes, 0 to 1.

    Raises
    ------
    HyperparameterError
        A parameter is outside its range.
    """
    _check(waiting, threshold, k=(k, 1, waiting.shape[1]))
    return _fixed(waiting, 1, k, threshold)


def window(waiting: FloatArray, *, centre: int, width: int, threshold: float) -> Intervals:
    """Say yes iff the mass of [max(1, centre - width//2), centre + width//2] >= threshold.

    Parameters and errors as for `next_k`; the window must end within the horizon.
    """
    half = width // 2
    _check(waiting, threshold, centre=(centre, 1, waiting.shape[1]), width=(width, 0, 2 * waiting.shape[1]))
    _check(waiting, threshold, **{"centre + width//2": (centre + half, 1, waiting.shape[1])})
    return _fixed(waiting, max(1, centre - half), centre + half, threshold)


def smallest(waiting: FloatArray, *, max_spread: int, threshold: float) -> Intervals:
    """Find the shortest interval with mass >= threshold; ties go to the larger mass, then to the earlier one.

    Valid, that is positive, iff end - start <= max_spread. Parameters and errors as for `next_k`.
    """
    _check(waiting, threshold, max_spread=(max_spread, 0, None))
    cumulative = _cumulative(waiting)
    found = _Found(cumulative, threshold)
    for spread in range(waiting.shape[1]):
        masses = np.round(cumulative[:, spread + 1 :] - cumulative[:, : -spread - 1], DECIMALS)
        first = masses.argmax(axis=1)
        found.offer(first + 1, first + 1 + spread)
        if found.everywhere():
            break
    return found.intervals(max_spread)


def argmax(waiting: FloatArray, *, max_spread: int, threshold: float) -> Intervals:
    """Grow the interval around the largest W(t) by one step to both sides until its mass >= threshold.

    Of several largest the earliest counts; a side that meets the horizon's edge stays there. Valid, that is positive,
    iff end - start <= max_spread. Parameters and errors as for `next_k`.
    """
    _check(waiting, threshold, max_spread=(max_spread, 0, None))
    horizon = waiting.shape[1]
    peak = np.round(waiting, DECIMALS).argmax(axis=1) + 1
    found = _Found(_cumulative(waiting), threshold)
    for reach in range(horizon):
        found.offer(np.maximum(peak - reach, 1), np.minimum(peak + reach, horizon))
        if found.everywhere():
            break
    return found.intervals(max_spread)


def fixed_spread(waiting: FloatArray, *, spread: int, threshold: float) -> Intervals:
    """Find the interval with end - start = spread and the largest mass; positive iff that mass > threshold.

    Of several largest the earliest counts. The comparison is strict here, as in the literature's definition. Parameters
    and errors as for `next_k`; the spread must fit into the horizon.
    """
    _check(waiting, threshold, spread=(spread, 0, waiting.shape[1] - 1))
    cumulative = _cumulative(waiting)
    masses = np.round(cumulative[:, spread + 1 :] - cumulative[:, : -spread - 1], DECIMALS)
    first = masses.argmax(axis=1)
    probability = masses[np.arange(len(masses)), first]
    return Intervals(first + 1, first + 1 + spread, probability, probability > threshold)


METHODS: dict[str, Callable[..., Intervals]] = {
    "next_k": next_k,
    "window": window,
    "smallest": smallest,
    "argmax": argmax,
    "fixed_spread": fixed_spread,
}


class _Found:
    """The first interval offered to each state whose mass reaches the threshold."""

    def __init__(self, cumulative: FloatArray, threshold: float) -> None:
        self._cumulative = cumulative
        self._threshold = threshold
        self._start = np.zeros(len(cumulative), dtype=np.int64)
        self._end = np.zeros(len(cumulative), dtype=np.int64)
        self._probability = np.round(cumulative[:, -1], DECIMALS)

    def offer(self, start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> None:
        rows = np.arange(len(start))
        mass = np.round(self._cumulative[rows, end] - self._cumulative[rows, start - 1], DECIMALS)
        taken = (self._start == 0) & (mass >= self._threshold)
        for mine, theirs in ((self._start, start), (self._end, end), (self._probability, mass)):
            mine[taken] = theirs[taken]

    def everywhere(self) -> bool:
        return bool((self._start > 0).all())

    def intervals(self, max_spread: int) -> Intervals:
        positive = (self._start > 0) & (self._end - self._start <= max_spread)
        return Intervals(self._start, self._end, self._probability, positive)


def _cumulative(waiting: FloatArray) -> FloatArray:
    """Prepend 0 to the cumulative sums, so that the mass of [a, b] is c[b] - c[a-1]; shape (n_states, horizon + 1)."""
    return np.pad(np.cumsum(waiting, axis=1), ((0, 0), (1, 0)))


def _fixed(waiting: FloatArray, start: int, end: int, threshold: float) -> Intervals:
    probability = np.round(waiting[:, start - 1 : end].sum(axis=1), DECIMALS)
    starts, ends = (np.full(len(waiting), step, dtype=np.int64) for step in (start, end))
    return Intervals(starts, ends, probability, probability >= threshold)


def _check(waiting: FloatArray, threshold: float, **ranges: tuple[int, int, int | None]) -> None:
    """Refuse parameters outside their ranges; `ranges` maps a name to (value, lowest, highest or None)."""
    if waiting.ndim != 2 or waiting.shape[1] < 1:
        raise HyperparameterError(f"waiting times must have shape (n_states, horizon >= 1), not {waiting.shape}")
    if not 0 <= threshold <= 1:
        raise HyperparameterError(f"threshold must lie in 0..1, not {threshold!r}")
    for name, (value, lowest, highest) in ranges.items():
        if not isinstance(value, int | np.integer):
            raise HyperparameterError(f"{name} must be a whole number, not {value!r}")
        if value < lowest or (highest is not None and value > highest):
            top = "" if highest is None else f" and at most {highest} (the horizon is {waiting.shape[1]})"
            raise HyperparameterError(f"{name} must be at least {lowest}{top}, not {value!r}")
