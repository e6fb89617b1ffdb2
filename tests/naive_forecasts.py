"""Slow, obvious twins of `spst.forecasts`: one state at a time, every interval tried by a plain sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    start: int
    end: int
    probability: float
    positive: bool


def mass(w: Sequence[float], start: int, end: int) -> float:
    return round(sum(w[start - 1 : end]), 12)


def next_k(w: Sequence[float], k: int, threshold: float) -> Interval:
    p = mass(w, 1, k)
    return Interval(1, k, p, p >= threshold)


def window(w: Sequence[float], centre: int, width: int, threshold: float) -> Interval:
    start, end = max(1, centre - width // 2), centre + width // 2
    p = mass(w, start, end)
    return Interval(start, end, p, p >= threshold)


def smallest(w: Sequence[float], max_spread: int, threshold: float) -> Interval:
    """Full scan: every interval there is, best first."""
    steps = range(1, len(w) + 1)
    fitting = [(e - s, -mass(w, s, e), s, e) for s in steps for e in steps if s <= e and mass(w, s, e) >= threshold]
    if not fitting:
        return Interval(0, 0, mass(w, 1, len(w)), False)
    spread, negative_mass, start, end = min(fitting)
    return Interval(start, end, -negative_mass, spread <= max_spread)


def argmax(w: Sequence[float], max_spread: int, threshold: float) -> Interval:
    rounded = [round(value, 12) for value in w]
    start = end = rounded.index(max(rounded)) + 1
    while mass(w, start, end) < threshold:
        if (start, end) == (1, len(w)):
            return Interval(0, 0, mass(w, 1, len(w)), False)
        start, end = max(1, start - 1), min(len(w), end + 1)
    return Interval(start, end, mass(w, start, end), end - start <= max_spread)


def fixed_spread(w: Sequence[float], spread: int, threshold: float) -> Interval:
    candidates = [(-mass(w, s, s + spread), s) for s in range(1, len(w) - spread + 1)]
    negative_mass, start = min(candidates)
    return Interval(start, start + spread, -negative_mass, -negative_mass > threshold)
