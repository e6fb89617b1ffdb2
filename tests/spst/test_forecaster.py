"""One event at a time gives what the batch gives, across snapshots too."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spst
from spst.alphabet import build_alphabet
from spst.errors import AlphabetError, EventsError, HyperparameterError, ModelFormatError
from spst.forecaster import Forecast, Forecaster
from spst.forecasts import METHODS
from spst.lookup import SymbolLookup
from spst.model import Model, model_from_bytes
from tests import golden_cases

Event = dict[str, Any]

LETTERS = "~(" + ",".join(f"IsEventTypePredicate({letter})" for letter in "ABCDE") + ")"
PATTERNS = {
    "letters": ";(EQStr(EventType,A),*(EQStr(EventType,B)),EQStr(EventType,C)){order:2}{partitionBy:entity}",
    "whole stream": ";(IsEventTypePredicate(A),IsEventTypePredicate(B)){order:1}",
    "values": ";(GT(value,50),|(LT(value,20),EQStr(entity,e1)),-IsEventTypePredicate(A)){order:3}{partitionBy:entity}",
}


@cache
def trained(name: str) -> Model:
    pattern = spst.parse_pattern(PATTERNS[name], LETTERS)
    prepared = spst.TrainingSet.prepare(
        spst.read_events(golden_cases.GOLDEN / "data" / "letters_three.csv"), pattern, order=pattern.order or 0, k_max=4
    )
    return prepared.fit(spst.Hyperparameters(order=pattern.order or 0, p_min=0.001, gamma=0.001, threshold=0.25, k=4))


events = st.fixed_dictionaries(
    {
        "timestamp": st.sampled_from([1.0, 2.0, 3.0]) | st.just(-1.0),
        "type": st.sampled_from("ABCDE") | st.just("RESET"),
        "entity": st.sampled_from(["e1", "e2", "e3"]) | st.just(""),
        "value": st.sampled_from([0.0, 19.5, 20.0, 50.0, 50.5]) | st.just(math.nan),
    }
)
streams = st.lists(events, max_size=30)


def columns(rows: list[Event]) -> Mapping[str, Any]:
    return {name: np.array([row[name] for row in rows]) for name in ("timestamp", "type", "entity", "value")}


def one_by_one(forecaster: Forecaster, rows: list[Event]) -> list[Forecast | None]:
    return [forecaster.update(row) for row in rows]


@pytest.mark.parametrize("name", PATTERNS)
@given(rows=streams, cut=st.integers(0, 30))
def test_update_many_is_update_for_each(name: str, rows: list[Event], cut: int) -> None:
    single, many = trained(name).forecaster(), trained(name).forecaster()
    expected = one_by_one(single, rows)
    got: list[Forecast | None] = []
    for part in (rows[:cut], rows[cut:]):
        if part:
            forecasts = many.update_many(columns(part))
            assert len(forecasts) == len(part)
            got += [forecasts[row] for row in range(len(part))]
    assert got == expected
    assert many.state() == single.state()
    assert many.rows_skipped == single.rows_skipped


@pytest.mark.parametrize("name", PATTERNS)
@given(rows=st.lists(events, min_size=1, max_size=30))
def test_attributes_may_be_called_as_in_patterns(name: str, rows: list[Event]) -> None:
    other_names = {"timestamp": "Timestamp", "type": "EventType"}
    renamed = [{other_names.get(key, key): value for key, value in row.items()} for row in rows]
    expected = one_by_one(trained(name).forecaster(), rows)
    assert one_by_one(trained(name).forecaster(), renamed) == expected
    arrays = {other_names.get(key, key): values for key, values in columns(rows).items()}
    many = trained(name).forecaster().update_many(arrays)
    assert [many[row] for row in range(len(rows))] == expected


@pytest.mark.parametrize("name", PATTERNS)
@given(rows=st.lists(events, min_size=1, max_size=40))
def test_forecasts_score_as_the_batch_does(name: str, rows: list[Event]) -> None:
    model = trained(name)
    prepared = spst.TrainingSet.prepare(
        spst.Events.from_columns(columns(rows)), model.pattern, order=3, k_max=4, max_bad_rows=1.0
    )
    by_partition: dict[str, list[Forecast]] = defaultdict(list)
    for row, forecast in zip(rows, one_by_one(model.forecaster(), rows), strict=True):
        if forecast is not None:
            by_partition[row["entity"] if model.pattern.partition_by else ""].append(forecast)
    counts = {(positive, hit): 0 for positive in (True, False) for hit in (True, False)}
    for run in by_partition.values():
        for place, forecast in enumerate(run):
            hit = any(later.detection for later in run[place + 1 : place + 1 + model.hyperparameters.k])
            counts[forecast.positive, hit] += 1
    score = prepared.score(model)
    assert counts == {
        (True, True): score.tp,
        (True, False): score.fp,
        (False, True): score.fn,
        (False, False): score.tn,
    }
    assert score.detections == sum(forecast.detection for run in by_partition.values() for forecast in run)


@pytest.mark.parametrize("method", METHODS)
@given(rows=streams, cut=st.integers(0, 30))
@settings(max_examples=25)
def test_restored_forecaster_continues_as_if_it_had_not_stopped(method: str, rows: list[Event], cut: int) -> None:
    parameters: dict[str, dict[str, Any]] = {
        "next_k": {},
        "window": {"centre": 3, "width": 2},
        "smallest": {"max_spread": 2, "horizon": 6},
        "argmax": {"max_spread": 2, "horizon": 6},
        "fixed_spread": {"spread": 2},
    }
    model = trained("letters")
    whole, first = (model.forecaster(method, **parameters[method]) for _ in range(2))
    expected = one_by_one(whole, rows)
    before = one_by_one(first, rows[:cut])
    second = model_from_bytes(model.to_bytes()).forecaster(method, **parameters[method])
    second.restore(json.loads(json.dumps(first.state())))
    assert before + one_by_one(second, rows[cut:]) == expected
    assert second.state() == whole.state()


def test_forecast_is_that_of_the_waiting_times() -> None:
    golden = golden_cases.case("seq3_order2")
    model = golden_cases.model("seq3_order2")
    probabilities = {round(state["p"], 9) for state in golden.waiting["states"]}
    forecaster = model.forecaster()
    for letter in "ABCABDDEABC":
        forecast = forecaster.update({"type": letter})
        assert forecast is not None
        assert (forecast.start, forecast.end) == (1, 5)
        assert round(forecast.probability, 9) in probabilities
        assert forecast.positive == (forecast.probability >= 0.2)


def test_texts_and_numbers_mean_the_same() -> None:
    model = trained("values")
    as_numbers, as_texts = model.forecaster(), model.forecaster()
    for value in (60, 10.0, 55.5, 0):
        row = {"timestamp": 5, "type": "B", "entity": 7, "value": value}
        assert as_numbers.update(row) == as_texts.update({name: str(entry) for name, entry in row.items()})
    assert as_numbers.state() == as_texts.state()
    assert list(as_numbers.state()["partitions"]) == ["7"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "A", "entity": "e1"},
        {"type": "A", "entity": "e1", "value": None},
        {"type": "A", "entity": "e1", "value": ""},
        {"type": "A", "entity": "e1", "value": "many"},
        {"type": "A", "entity": "e1", "value": math.nan},
        {"type": "A", "entity": "e1", "value": True},
        {"type": "A", "entity": "e1", "value": [1]},
        {"type": "", "entity": "e1", "value": 1.0},
        {"type": "A", "entity": "", "value": 1.0},
        {"type": "A", "value": 1.0},
        {"type": "RESET", "value": 1.0},
    ],
)
def test_event_without_a_needed_value_is_skipped_and_counted(event: Event) -> None:
    forecaster = trained("values").forecaster()
    forecaster.update({"type": "A", "entity": "e1", "value": 60.0})
    before = forecaster.state()
    assert forecaster.update(event) is None
    assert forecaster.rows_skipped == 1
    assert forecaster.state() == {**before, "rows_skipped": 1}


def test_reset_forgets_one_partition() -> None:
    forecaster = trained("letters").forecaster()
    for entity in ("e1", "e2"):
        forecaster.update({"type": "A", "entity": entity})
    assert forecaster.update({"timestamp": -1, "entity": "e1", "type": "B"}) is None
    assert list(forecaster.state()["partitions"]) == ["e2"]
    forecaster.reset("e2")
    assert forecaster.state()["partitions"] == {}
    assert forecaster.rows_skipped == 0


def test_missing_type_is_the_default_type() -> None:
    pattern = spst.parse_pattern(";(EQStr(EventType,SampledCritical),GT(x,1)){order:1}")
    prepared = spst.TrainingSet.prepare(
        spst.Events.from_columns({"x": [0.0, 2.0, 0.0, 2.0]}), pattern, order=1, k_max=1
    )
    model = prepared.fit(spst.Hyperparameters(order=1, p_min=0, gamma=0, threshold=0.5, k=1))
    forecaster = model.forecaster()
    detections = [forecaster.update({"x": value}) for value in (0.0, 2.0)]
    assert [forecast.detection for forecast in detections if forecast] == [False, True]


def test_state_does_not_grow_with_the_stream() -> None:
    forecaster = trained("values").forecaster()
    letters = "ABCDE" * 5
    for round_ in range(20):
        for place, letter in enumerate(letters):
            forecaster.update({"type": letter, "entity": f"e{place % 3}", "value": float(place + round_)})
        if round_ == 0:
            size = len(json.dumps(forecaster.state()))
    assert len(json.dumps(forecaster.state())) == size
    assert all(len(partition["recent"]) == 3 for partition in forecaster.state()["partitions"].values())


def test_newer_model_takes_over_the_state() -> None:
    old, rows = trained("letters"), [{"type": letter, "entity": "e1"} for letter in "ABCAB"]
    prepared = spst.TrainingSet.prepare(
        spst.read_events(golden_cases.GOLDEN / "data" / "letters_three.csv"), old.pattern, order=2, k_max=3
    )
    for order in (0, 1, 2):
        new = prepared.fit(spst.Hyperparameters(order=order, p_min=0.01, gamma=0.01, threshold=0.1, k=3))
        before, expected = old.forecaster(), new.forecaster()
        one_by_one(before, rows)
        one_by_one(expected, rows)
        taken_over = new.forecaster()
        taken_over.restore(before.state())
        assert taken_over.update({"type": "C", "entity": "e1"}) == expected.update({"type": "C", "entity": "e1"})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"fingerprint": "0" * 64}, "another alphabet or automaton"),
        ({"fingerprint": 3}, "not a forecaster's state"),
        ({"rows_skipped": -1}, "not a forecaster's state"),
        ({"partitions": {"e1": {"state": -1, "recent": []}}}, "not a forecaster's state"),
        ({"partitions": {"e1": {"state": 99, "recent": []}}}, "e1"),
        ({"partitions": {"e1": {"state": 0, "recent": [99]}}}, "e1"),
        ({"partitions": []}, "not a forecaster's state"),
    ],
)
def test_restoring_what_does_not_fit_is_refused(change: dict[str, Any], problem: str) -> None:
    forecaster = trained("letters").forecaster()
    forecaster.update({"type": "A", "entity": "e2"})
    before = forecaster.state()
    with pytest.raises(ModelFormatError, match=problem):
        forecaster.restore({**before, **change})
    assert forecaster.state() == before


@pytest.mark.parametrize(
    ("method", "parameters", "problem"),
    [
        ("soonest", {}, "method must be one of next_k, window"),
        ("next_k", {"spread": 2}, "unknown are .'spread'."),
        ("window", {"centre": 2}, "missing are .'width'."),
        ("next_k", {"k": 0}, "horizon must be a whole number from 1"),
        ("next_k", {"k": 2.5}, "whole number"),
        ("next_k", {"k": 5, "horizon": 4}, "k must be at least 1 and at most 4"),
        ("smallest", {"max_spread": 2, "horizon": 0}, "horizon must be a whole number from 1"),
        ("smallest", {"max_spread": 2, "threshold": 2}, "threshold must lie in 0..1"),
    ],
)
def test_forecaster_refuses_wrong_parameters(method: str, parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(HyperparameterError, match=problem):
        trained("letters").forecaster(method, **parameters)


def test_event_that_fits_no_symbol_is_an_error_and_changes_nothing() -> None:
    pattern = spst.parse_pattern(";(GT(x,1),GT(x,0)){order:1}", "~(GT(x,0),GT(x,1))")
    prepared = spst.TrainingSet.prepare(
        spst.Events.from_columns({"x": [-1.0, 0.5, 0.2, -1.0]}), pattern, order=1, k_max=1
    )
    forecaster = prepared.fit(spst.Hyperparameters(order=1, p_min=0, gamma=0, threshold=0.5, k=1)).forecaster()
    before = forecaster.state()
    with pytest.raises(AlphabetError, match="declared exclusive"):
        forecaster.update({"x": 2.0})
    with pytest.raises(AlphabetError, match="declared exclusive"):
        forecaster.update_many({"x": [0.5, 2.0]})
    assert forecaster.state() == before


def test_absent_column_in_a_batch_is_an_error() -> None:
    with pytest.raises(EventsError, match="value"):
        trained("values").forecaster().update_many({"type": ["A"], "entity": ["e1"]})


# The lookup

LOOKUPS = [
    ";(GT(a,1),LTE(a,1),EQ(a,3),BT(a,-1,2)){order:1}",
    ";(GTAttr(a,b),LTAttr(a,b),EQAttr(a,b),GT(b,0)){order:1}",
    ";(WithinCirclePredicate(10,50,30),OutsideCirclePredicate(10,50,60),DistanceBetweenPredicate(11,50,20,90)){order:1}",
    ";(EQStr(name,x),|(EQStr(name,y),EQAttrStr(name,other)),^(GT(a,0),TruePredicate)){order:1}",
    ";(HeadingTowardsPredicate(10,50,45),GT(heading,180)){order:1}",
]
numbers = st.sampled_from([-math.inf, -1.0, 0.0, -0.0, 1.0, 2.0, 3.0, math.inf]) | st.floats(-5, 5)


@pytest.mark.parametrize("text", LOOKUPS)
@given(data=st.data())
def test_lookup_agrees_with_the_alphabet(text: str, data: st.DataObject) -> None:
    alphabet = build_alphabet(spst.parse_pattern(text))
    lookup = SymbolLookup(alphabet)
    positions = {"lon": st.floats(9, 12), "lat": st.floats(49, 51), "heading|cog": st.floats(0, 360)}
    texts = st.sampled_from("xyz")
    for _ in range(5):
        event = {
            name: data.draw(texts if kind == "text" else positions.get(name, numbers))
            for name, kind in alphabet.columns.items()
        }
        assert lookup(event) == lookup(event) == alphabet.encode_one(event)
