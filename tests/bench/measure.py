"""Timing and the rows that a benchmark reports: medians, spreads, and ratios of things that ran in turn."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import msgspec

Sense: TypeAlias = Literal["max", "min"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measured figure beside the bound that it is held against."""

    target: str
    case: str
    value: float
    unit: str
    spread: float
    bound: float | None = None
    sense: Sense = "max"
    peak_rss_mb: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the figure keeps its bound."""
        return self.bound is None or (self.value <= self.bound if self.sense == "max" else self.value >= self.bound)


class Figure(NamedTuple):
    """A measured value and its spread; 0 where it was measured once."""

    value: float
    spread: float = 0.0


def seconds(work: Callable[[], object], repeat: int) -> list[float]:
    """Wall seconds of each of ``repeat`` runs, after one run that warms caches and is not counted."""
    work()
    return [once(work) for _ in range(repeat)]


def in_turn(ours: Callable[[], object], other: Callable[[], object], repeat: int) -> tuple[list[float], list[float]]:
    """Wall seconds of two works run alternately, so that noise of the machine meets both."""
    ours()
    other()
    pairs = [(once(ours), once(other)) for _ in range(repeat)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def median(values: list[float], scale: float = 1.0) -> Figure:
    """Median and spread (interquartile range) of scaled values."""
    scaled = [value * scale for value in values]
    low, _, high = statistics.quantiles(scaled, n=4) if len(scaled) > 1 else (scaled[0],) * 3
    return Figure(statistics.median(scaled), high - low)


def ratio(ours: list[float], other: list[float]) -> Figure:
    """Median of the ratios of runs made in turn."""
    return median([a / b for a, b in zip(ours, other, strict=True)])


def peak_rss_mb() -> float:
    """Largest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(name: str, unit: str, figure: Figure, bound: float | None = None, sense: Sense = "max") -> Row:
    """Make one row; its target is the name's first word."""
    target, text = name.split(" ", 1)
    return Row(
        target=target,
        case=text,
        value=figure.value,
        unit=unit,
        spread=figure.spread,
        bound=bound,
        sense=sense,
        peak_rss_mb=peak_rss_mb(),
    )


def once(work: Callable[[], object]) -> float:
    """Wall seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
