"""The five forecast rules, each against its naive twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spst.errors import HyperparameterError
from spst.forecasts import METHODS, argmax, fixed_spread, next_k, smallest, window
from tests import naive_forecasts as naive

Waiting = npt.NDArray[np.float64]


@st.composite
def distributions(draw: st.DrawFn) -> Waiting:
    """Draw a few rows that sum to at most 1, with many equal values so that ties are common."""
    horizon = draw(st.integers(1, 8))
    rows = draw(st.lists(st.lists(st.integers(0, 6), min_size=horizon, max_size=horizon), min_size=1, max_size=5))
    rest = draw(st.integers(1, 10))
    counts = np.array(rows, dtype=np.float64)
    return np.asarray(counts / (counts.sum(axis=1, keepdims=True) + rest))


thresholds = st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]) | st.floats(0, 1)


def parameters_of(method: str, horizon: int, draw: st.DataObject) -> dict[str, int]:
    if method == "next_k":
        return {"k": draw.draw(st.integers(1, horizon))}
    if method == "window":
        centre = draw.draw(st.integers(1, horizon))
        return {"centre": centre, "width": draw.draw(st.integers(0, 2 * (horizon - centre) + 1))}
    if method == "fixed_spread":
        return {"spread": draw.draw(st.integers(0, horizon - 1))}
    return {"max_spread": draw.draw(st.integers(0, horizon))}


@pytest.mark.parametrize("method", METHODS)
@given(waiting=distributions(), threshold=thresholds, data=st.data())
def test_method_agrees_with_naive_twin(method: str, waiting: Waiting, threshold: float, data: st.DataObject) -> None:
    parameters = parameters_of(method, waiting.shape[1], data)
    got = METHODS[method](waiting, **parameters, threshold=threshold)
    for state, row in enumerate(waiting.tolist()):
        want = getattr(naive, method)(row, **parameters, threshold=threshold)
        assert (got.start[state], got.end[state], got.positive[state]) == (want.start, want.end, want.positive)
        assert got.probability[state] == pytest.approx(want.probability, abs=2e-12)


W = np.array([[0.1, 0.2, 0.3, 0.3, 0.05], [0.0, 0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("intervals", "start", "end", "probability", "positive"),
    [
        (next_k(W, k=3, threshold=0.6), [1, 1], [3, 3], [0.6, 0], [True, False]),
        (next_k(W, k=3, threshold=0.0), [1, 1], [3, 3], [0.6, 0], [True, True]),
        (window(W, centre=2, width=5, threshold=0.9), [1, 1], [4, 4], [0.9, 0], [True, False]),
        (window(W, centre=4, width=1, threshold=0.3), [4, 4], [4, 4], [0.3, 0], [True, False]),
        (smallest(W, max_spread=1, threshold=0.5), [3, 0], [4, 0], [0.6, 0], [True, False]),
        (smallest(W, max_spread=1, threshold=0.7), [2, 0], [4, 0], [0.8, 0], [False, False]),
        (argmax(W, max_spread=2, threshold=0.7), [2, 0], [4, 0], [0.8, 0], [True, False]),
        (argmax(W, max_spread=2, threshold=0.9), [1, 0], [5, 0], [0.95, 0], [False, False]),
        (fixed_spread(W, spread=1, threshold=0.5), [3, 1], [4, 2], [0.6, 0], [True, False]),
        (fixed_spread(W, spread=1, threshold=0.6), [3, 1], [4, 2], [0.6, 0], [False, False]),
    ],
)
def test_method_gives_the_table(intervals: Any, start: Any, end: Any, probability: Any, positive: Any) -> None:
    assert intervals.start.tolist() == start
    assert intervals.end.tolist() == end
    assert intervals.probability.tolist() == pytest.approx(probability, abs=1e-12)
    assert intervals.positive.tolist() == positive


def test_threshold_is_met_after_rounding() -> None:
    just_below = np.array([[0.1, 0.1, 0.1]])  # sums to 0.30000000000000004, other orders of summing give 0.3
    assert next_k(just_below, k=3, threshold=0.3).positive.tolist() == [True]
    assert fixed_spread(just_below, spread=2, threshold=0.3).positive.tolist() == [False]


@pytest.mark.parametrize(
    ("method", "parameters", "named"),
    [
        ("next_k", {"k": 0}, "k must be at least 1 and at most 5"),
        ("next_k", {"k": 6}, "the horizon is 5"),
        ("next_k", {"k": 1, "threshold": 1.5}, "threshold must lie in 0..1"),
        ("next_k", {"k": 1, "threshold": float("nan")}, "threshold must lie in 0..1"),
        ("window", {"centre": 5, "width": 2}, "centre"),
        ("window", {"centre": 2, "width": -1}, "width must be at least 0"),
        ("smallest", {"max_spread": -1}, "max_spread must be at least 0"),
        ("argmax", {"max_spread": -1}, "max_spread must be at least 0"),
        ("fixed_spread", {"spread": 5}, "spread must be at least 0 and at most 4"),
    ],
)
def test_method_refuses_parameters_out_of_range(method: str, parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(HyperparameterError, match=named):
        METHODS[method](W, **{"threshold": 0.5, **parameters})


def test_intervals_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        next_k(W, k=1, threshold=0.5).start[0] = 3
