"""Predicates on columns: units, boundaries, what is missing, and predicates of one's own."""

from __future__ import annotations

import importlib.metadata
import math
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spst
from spst import predicates as registry
from spst.columns import Columns, checked_columns, checked_event
from spst.errors import EventsError, PatternError
from spst.geometry import bearing_degrees, distance_km
from spst.pattern import Predicate, parse_pattern
from spst.predicates import DistanceTo, Numbers, Texts, Truth, bind, bind_scalar, needed_columns
from tests import naive_language

INF = math.inf
KM = 180 / (math.pi * 6371)  # degrees of latitude in a kilometre


def sentence(text: str) -> Predicate:
    parsed = parse_pattern(text).expression
    assert isinstance(parsed, Predicate)
    return parsed


def north_of_origin(*km: float) -> dict[str, list[float]]:
    return {"lon": [0.0] * len(km), "lat": [d * KM for d in km]}


BOUNDARIES: list[tuple[str, dict[str, list[Any]], list[bool]]] = [
    ("TruePredicate", {"type": ["A"]}, [True]),
    ("IsEventTypePredicate(A)", {"type": ["A", "a", "AA", ""]}, [True, False, False, False]),
    ("EQStr(EventType,A)", {"type": ["A", "B"]}, [True, False]),
    ("EQStr(name,'St. George')", {"name": ["St. George", "st. george"]}, [True, False]),
    ("EQ(x,2)", {"x": [1.0, 2.0, math.nextafter(2, 3), INF]}, [False, True, False, False]),
    ("GT(x,2)", {"x": [1.0, 2.0, math.nextafter(2, 3), INF, -INF]}, [False, False, True, True, False]),
    ("GTE(x,2)", {"x": [1.0, 2.0, 3.0, INF, -INF]}, [False, True, True, True, False]),
    ("LT(x,2)", {"x": [math.nextafter(2, 1), 2.0, 3.0, INF, -INF]}, [True, False, False, False, True]),
    ("LTE(x,2)", {"x": [1.0, 2.0, 3.0, INF, -INF]}, [True, True, False, False, True]),
    ("BT(x,1,2)", {"x": [0.5, 1.0, 1.5, 2.0, INF]}, [False, True, True, False, False]),
    ("BT(x,2,1)", {"x": [0.5, 1.5, 2.5]}, [False, False, False]),
    ("GT(Timestamp,100)", {"timestamp": [100.0, 101.0]}, [False, True]),
    ("EQAttr(x,y)", {"x": [1.0, 1.0], "y": [1.0, 2.0]}, [True, False]),
    ("GTAttr(x,y)", {"x": [1.0, 1.0, 2.0], "y": [1.0, 2.0, 1.0]}, [False, False, True]),
    ("LTAttr(x,y)", {"x": [1.0, 1.0, 2.0], "y": [1.0, 2.0, 1.0]}, [False, True, False]),
    ("EQAttrStr(a,b)", {"a": ["p", "p"], "b": ["p", "q"]}, [True, False]),
    ("WithinCirclePredicate(0,0,0)", north_of_origin(0.0, 0.1), [False, False]),
    ("WithinCirclePredicate(0,0,2)", north_of_origin(1.0, 1.999, 2.001), [True, True, False]),
    ("OutsideCirclePredicate(0,0,0)", north_of_origin(0.0, 0.1), [True, True]),
    ("OutsideCirclePredicate(0,0,2)", north_of_origin(1.0, 1.999, 2.001), [False, False, True]),
    ("DistanceBetweenPredicate(0,0,0,2)", north_of_origin(0.0, 0.1, 1.999, 2.001), [False, True, True, False]),
    (
        "HeadingTowardsPredicate(0,1,10)",
        {"lon": [0.0] * 5, "lat": [0.0] * 5, "heading": [0.0, 9.9, 10.0, 350.1, 350.0]},
        [True, True, False, True, False],
    ),
    ("HeadingTowardsPredicate(1,0,1)", {"lon": [0.0, 0.0], "lat": [0.0, 0.0], "heading": [90.0, 270.0]}, [True, False]),
]


def test_boundaries_cover_every_builtin_predicate() -> None:
    builtin = {name for name, d in registry._definitions.items() if d.function.__module__ == "spst.builtin_predicates"}
    assert {sentence(text).name for text, _, _ in BOUNDARIES} == builtin


@pytest.mark.parametrize(("text", "data", "truth"), BOUNDARIES)
def test_predicate_obeys_its_boundary_rule(text: str, data: dict[str, list[Any]], truth: list[bool]) -> None:
    p = sentence(text)
    columns = {name: np.array(values) for name, values in data.items()}
    evaluated = bind(p)(checked_columns(columns, needed_columns([p])))
    assert np.broadcast_to(evaluated, len(truth)).tolist() == truth
    events = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    assert [bind_scalar(p)(checked_event(event, needed_columns([p]))) for event in events] == truth


def test_event_without_heading_is_judged_by_its_course() -> None:
    p = sentence("HeadingTowardsPredicate(0,1,10)")
    needed = needed_columns([p])
    assert needed == {"lon": "number", "lat": "number", "heading|cog": "number"}
    assert bind_scalar(p)(checked_event({"lon": 0.0, "lat": 0.0, "cog": 5.0}, needed))
    assert not bind_scalar(p)(checked_event({"lon": 0.0, "lat": 0.0, "cog": 5.0, "heading": 50.0}, needed))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, r"needs the column x \(number\); the events have none"),
        ({"y": np.ones(2)}, r"needs the column x \(number\); the events have y"),
        ({"x": np.array(["1", "2"])}, "column x holds no numbers; the pattern needs a number"),
        ({"x": np.array([True])}, "column x holds no numbers"),
        ({"x": np.zeros((0,), "O")}, "column x holds no numbers"),
        ({"x": np.array([1.0, np.nan])}, r"event 11 \(the first is 0\): x is nan"),
    ],
)
def test_unusable_number_column_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(EventsError, match=message):
        checked_columns(columns, {"x": "number"}, first_event=10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
def test_every_real_dtype_is_a_number(dtype: Any) -> None:
    assert checked_columns({"x": np.array([1], dtype)}, {"x": "number"})["x"][0] == 1


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(EventsError, match=r"columns x, y must have one length, not \[1, 2\]"):
        checked_columns({"x": np.ones(2), "y": np.ones(1)}, {"x": "number", "y": "number"})


def test_numbers_are_no_texts() -> None:
    with pytest.raises(EventsError, match="column x holds numbers; the pattern needs a text"):
        checked_columns({"x": np.ones(2)}, {"x": "text"})


def test_infinite_position_is_refused_and_other_infinities_are_numbers() -> None:
    checked_columns({"x": np.array([INF])}, {"x": "number"})
    with pytest.raises(EventsError, match="lon is inf, no usable number"):
        checked_columns({"lon": np.array([INF])}, {"lon": "number"})


@pytest.mark.parametrize("value", [None, math.nan, "1", "", [1.0]])
def test_one_event_without_a_usable_number_is_refused(value: Any) -> None:
    with pytest.raises(EventsError, match="the pattern needs a number as x; the event has"):
        checked_event({"x": value}, {"x": "number"})
    with pytest.raises(EventsError, match="the pattern needs a number as x; the event has None"):
        checked_event({}, {"x": "number"})


def test_one_event_with_an_infinite_position_or_a_number_for_a_text_is_refused() -> None:
    with pytest.raises(EventsError, match="needs a number as lat"):
        checked_event({"lat": INF}, {"lat": "number"})
    with pytest.raises(EventsError, match="needs a text as x; the event has 1"):
        checked_event({"x": 1}, {"x": "text"})


positions = st.tuples(st.floats(-180, 180), st.floats(-90, 90))


@given(positions, positions)
def test_distance_agrees_with_its_twin_for_columns_and_for_one_event(
    place: tuple[float, float], centre: tuple[float, float]
) -> None:
    expected = naive_language.distance_km(*place, *centre)
    lon, lat = np.array([place]).T
    assert distance_km(*place, *centre) == pytest.approx(expected, abs=1e-6)
    assert distance_km(lon, lat, *centre)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("target", "bearing"), [((0, 1), 0.0), ((1, 0), 90.0), ((0, -1), 180.0), ((-1, 0), 270.0), ((0, 90), 0.0)]
)
def test_bearing_is_clockwise_from_north(target: tuple[float, float], bearing: float) -> None:
    assert bearing_degrees(0.0, 0.0, *target) == pytest.approx(bearing)
    assert bearing_degrees(np.zeros(1), np.zeros(1), *target)[0] == pytest.approx(bearing)


def test_distance_to_a_centre_is_computed_once() -> None:
    columns = Columns({"lon": np.zeros(3), "lat": np.zeros(3)})
    assert columns.distance_to(1.0, 2.0) is columns.distance_to(1.0, 2.0)


@pytest.fixture
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test registers."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    registry.load_entry_points.cache_clear()
    yield
    registry.load_entry_points.cache_clear()


@pytest.mark.usefixtures("clean_registry")
def test_user_predicate_is_used_like_a_builtin_one() -> None:
    @spst.predicate("Near")
    def near(attribute: Numbers, target: float, *, lon: Numbers, harbour: Texts, distance_to: DistanceTo) -> Truth:
        assert isinstance(attribute, np.ndarray)
        is_near = np.abs(attribute - target) < 1
        return is_near & (lon > 0) & np.equal(harbour, "X") & (distance_to(1.0, 1.0) < 500)

    p = sentence("Near(speed,5)")
    needed = needed_columns([p])
    assert needed == {"speed": "number", "lon": "number", "harbour": "text", "lat": "number"}
    columns: dict[str, Any] = {
        "speed": np.array([5.5, 7.0]),
        "lon": np.array([1.0, 1.0]),
        "lat": np.array([1.0, 1.0]),
        "harbour": np.array(["X", "X"]),
    }
    assert bind(p)(checked_columns(columns, needed)).tolist() == [True, False]
    event = {name: values[0].item() for name, values in columns.items()}
    assert bind_scalar(p)(checked_event(event, needed))


def unmarked(attribute, number: float) -> Truth:  # type: ignore[no-untyped-def]  # that is the point
    return np.array(attribute > number)


def unresolved(attribute: Nowhere) -> Truth:  # type: ignore[name-defined]  # noqa: F821  # that is the point
    return np.array(attribute > 0)


def fine(attribute: Numbers) -> Truth:
    return attribute > 0


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("Fine", unmarked, "parameter attribute of .*unmarked must be annotated"),
        ("Fine", unresolved, "cannot resolve the annotations"),
        ("fine", fine, "starts with a capital"),
        ("Not so fine", fine, "starts with a capital"),
        ("GT", fine, "GT is defined twice: by spst.builtin_predicates.gt and .*fine"),
    ],
)
def test_predicate_that_cannot_be_registered_is_refused(name: str, function: Any, message: str) -> None:
    with pytest.raises(PatternError, match=message):
        spst.predicate(name)(function)


@pytest.mark.usefixtures("clean_registry")
def test_module_named_in_a_configuration_registers_its_predicates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "my_ships.py").write_text(
        "import spst\nfrom spst.predicates import Numbers, Truth\n"
        "@spst.predicate('Moored')\ndef moored(*, speed: Numbers) -> Truth:\n    return speed < 0.1\n"
    )
    (tmp_path / "broken_ships.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_ships", raising=False)
    spst.load_predicates("my_ships")
    assert parse_pattern("Moored").columns == {"speed": "number"}
    with pytest.raises(PatternError, match="module 'no_such_module': ModuleNotFoundError"):
        spst.load_predicates("no_such_module")
    with pytest.raises(PatternError, match="module 'broken_ships': ZeroDivisionError"):
        spst.load_predicates("broken_ships")


@pytest.mark.usefixtures("clean_registry")
def test_entry_points_are_loaded_when_a_predicate_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("installed_ships")

    def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
        assert group == "spst.predicates"

        def anchored(*, speed: Numbers) -> Truth:
            return speed < 0.2

        spst.predicate("Anchored")(anchored)
        return [importlib.metadata.EntryPoint("ships", "installed_ships", group)]

    monkeypatch.setitem(sys.modules, "installed_ships", module)
    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert parse_pattern("Anchored").columns == {"speed": "number"}
