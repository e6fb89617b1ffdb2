"""Hyperparameters: what a search may choose, and the range of each.

Must not know: alphabets, counts, trees.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from spst.errors import HyperparameterError

MAX_ORDER = 12
MAX_HORIZON = 1_000_000  # events that a forecast may look ahead


@dataclass(frozen=True)
class Hyperparameters:
    """What a search may choose; checked on construction. What is left out has the default that the fields show.

    Attributes
    ----------
    order : int, 0..12
        Length of the longest context, m.
    p_min : float, 0..1
        Contexts less probable than this are not looked at.
    alpha : float, 0 or more
        A context needs a symbol of probability (1 + alpha) * gamma at least.
    gamma : float, 0 <= gamma < 1
        Least probability of every symbol after smoothing; n_symbols * gamma must not exceed 1, which fitting checks.
    r : float, 1 or more
        That symbol's probability must be r times as large, or small, as without the context's oldest symbol.
    threshold : float, 0..1
        A forecast is positive iff its probability reaches this.
    k : int, 1 or more
        A forecast speaks about the next k events.

    Raises
    ------
    HyperparameterError
        Outside its range, not a number, or not whole where a whole number is needed.
    """

    order: int
    p_min: float = 0.001
    alpha: float = 0.001
    gamma: float = 0.0005
    r: float = 1.05
    threshold: float = 0.3
    k: int = 5

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))

    def as_dict(self) -> dict[str, float]:
        """Names and values, in the order of the fields."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        try:
            number = -1 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            number = -1
        if not low <= number <= high:
            raise HyperparameterError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
        return number

    return check


def _real(span: str, low: float, high: float) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, (bool, str)) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high:
            raise HyperparameterError(f"{name} must be a number {span}, not {value!r}")
        return number

    return check


_LARGEST = sys.float_info.max
_CHECKS: dict[str, Callable[[str, Any], float]] = {
    "order": _whole(0, MAX_ORDER),
    "p_min": _real("from 0 to 1", 0, 1),
    "gamma": _real("from 0 to below 1", 0, math.nextafter(1, 0)),
    "threshold": _real("from 0 to 1", 0, 1),
    "k": _whole(1, MAX_HORIZON),
    "alpha": _real("of 0 or more", 0, _LARGEST),
    "r": _real("of 1 or more", 1, _LARGEST),
}
