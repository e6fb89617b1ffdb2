"""What params mean: by place, by name, nested or bare, completed from the baseline, and refused with a reason."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.errors import Code, RequestRejected
from dataflow.params import WIRE_NAMES, asked, field_of, resolve, resolve_grid, resolve_or_baseline, wire_params
from dataflow.settings import Limits, LineSettings
from spst.hyperparameters import Hyperparameters

BASELINE = Hyperparameters(order=1, p_min=0.001, gamma=0.0005, threshold=0.3, k=5, alpha=0.1, r=1.2)
SETTINGS = LineSettings(baseline=BASELINE, max_order=4, k_max=9, limits=Limits(params_chars=400, json_depth=3, sweep=4))
FOUR = LineSettings(baseline=BASELINE, search_space=("threshold", "order", "p_min", "gamma"))


def changed(**values: Any) -> Hyperparameters:
    return dataclasses.replace(BASELINE, **values)


def nested(given_params: Any) -> Any:
    return {"params": given_params}


def nested_text(given_params: Any) -> Any:
    return json.dumps({"params": given_params})


def bare(given_params: Any) -> Any:
    return given_params


@pytest.mark.parametrize("wrap", [nested_text, nested, bare, json.dumps])
@pytest.mark.parametrize(
    ("given_params", "expected"),
    [
        ([0.02, 0.001], changed(p_min=0.02, gamma=0.001)),
        ([0, 0], changed(p_min=0.0, gamma=0.0)),
        ({}, BASELINE),
        ({"pMin": 0.02}, changed(p_min=0.02)),
        ({"PMIN": 0.02, "Gamma": 0.001}, changed(p_min=0.02, gamma=0.001)),
        ({"p_min": 0.02, "ORDER": 3.0}, changed(p_min=0.02, order=3)),
        ({"confidence": 0.5, "k": 7}, changed(threshold=0.5, k=7)),
        ({"threshold": 0.5, "spread": 7.0}, changed(threshold=0.5, k=7)),
        ({"alpha": 0, "r": 2}, changed(alpha=0.0, r=2.0)),
    ],
)
def test_params_mean_the_same_however_they_are_wrapped(
    given_params: Any, expected: Hyperparameters, wrap: Callable[[Any], Any]
) -> None:
    assert resolve(wrap(given_params), SETTINGS) == expected
    assert resolve_or_baseline(wrap(given_params), SETTINGS) == expected


def test_list_is_in_the_order_of_the_search_space() -> None:
    assert resolve([0.5, 2, 0.02, 0.001], FOUR) == changed(threshold=0.5, order=2, p_min=0.02, gamma=0.001)


@pytest.mark.parametrize("nothing", [None, {"params": None}, '{"params": null}', "null"])
def test_no_params_are_the_baseline_for_train_and_an_error_for_a_step(nothing: Any) -> None:
    assert resolve_or_baseline(nothing, SETTINGS) == BASELINE
    with pytest.raises(RequestRejected, match="expected a list of 2 values or an object of names, came null"):
        resolve(nothing, SETTINGS)


@pytest.mark.parametrize(
    ("given_params", "expected"),
    [
        ([], r"expected 2 values \(pMin, gamma\), came 0"),
        ([0.1, 0.1, 0.1], r"expected 2 values \(pMin, gamma\), came 3: \[0.1,0.1,0.1\]"),
        (5, "expected a list of 2 values or an object of names, came 5"),
        (True, "came true"),
        ("", 'expected JSON text: .*, came ""'),
        ("{'params': [1]}", "expected JSON text"),
        ('{"params": [NaN, 0.1]}', "expected JSON text"),
        ('{"params": [1e400, 0.1]}', "expected JSON text: Number out of range"),
        ("[[[[1]]]]", "nested too deep"),
        (json.dumps([0.1, 0.1]) + " " * 400, "expected at most 400 characters, came 410"),
        ({"a" * 400: 1}, "expected at most 400 characters"),
        ({"speed": 1}, 'expected names out of pMin, gamma, alpha, r, order, confidence, k, came "speed"'),
        ({"pMin": 0.1, "p_min": 0.2}, "expected pMin once, came twice"),
        ({"confidence": 0.1, "threshold": 0.2}, "expected confidence once"),
        ({"pMin": "0.1"}, 'pMin: expected a number, came "0.1"'),
        ({"pMin": None}, "pMin: expected a number, came null"),
        ({"pMin": True}, "pMin: expected a number, came true"),
        ([0.1, [0.1]], r"gamma: expected a number, came \[0.1\]"),
        ({"pMin": -0.1}, "p_min must be a number from 0 to 1, not -0.1"),
        ({"pMin": 1.1}, "p_min must be"),
        ({"gamma": 1}, "gamma must be"),
        ({"r": 0.5}, "r must be"),
        ({"alpha": -1}, "alpha must be"),
        ({"confidence": 2}, "threshold must be"),
        ({"order": 1.5}, "order must be a whole number"),
        ({"order": -1}, "order must be"),
        ({"k": 0}, "k must be"),
        ({"order": 5}, "order: expected at most 4 on this line, came 5"),
        ({"k": 10}, "k: expected at most 9 on this line, came 10"),
    ],
)
def test_params_that_cannot_be_used_say_what_was_expected(given_params: Any, expected: str) -> None:
    for read in (resolve, resolve_or_baseline):
        with pytest.raises(RequestRejected, match=expected) as rejected:
            read(given_params, SETTINGS)
        assert rejected.value.code is Code.BAD_PARAMS
        assert rejected.value.text.startswith("params: ")
        assert len(rejected.value.text) < 250


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(WIRE_NAMES)) | st.text(), inner),
)


@given(json_values | json_values.map(json.dumps))
def test_params_of_any_shape_are_resolved_or_rejected(given_params: Any) -> None:
    for read in (resolve, resolve_or_baseline, resolve_grid):
        code, found = _read(read, given_params)
        assert code in {None, Code.BAD_PARAMS, Code.SWEEP_TOO_LARGE}
        assert code or all(isinstance(each, Hyperparameters) for each in found)


def _read(read: Callable[..., Any], given_params: Any) -> tuple[Code | None, tuple[Any, ...]]:
    try:
        found = read(given_params, SETTINGS)
    except RequestRejected as rejected:
        return rejected.code, ()
    return None, found if isinstance(found, tuple) else (found,)


@given(json_values | json_values.map(json.dumps))
def test_step_is_identified_by_what_it_asks_for(given_params: Any) -> None:
    identity = asked(given_params, SETTINGS)
    assert identity == asked(given_params, SETTINGS)
    try:
        assert identity == resolve(given_params, SETTINGS)
    except RequestRejected:
        assert isinstance(identity, str)
        assert len(identity) == 64


def test_equal_wishes_are_equal_however_written() -> None:
    written = [[0.02, 0.001], {"gamma": 0.001, "P_MIN": 0.02}, '{"params": [0.02, 1e-3]}']
    assert len({asked(params, SETTINGS) for params in written}) == 1
    unusable = [{"a": 1, "b": 2}, {"b": 2, "a": 1}]
    assert len({asked(params, SETTINGS) for params in unusable}) == 1
    assert asked([1], SETTINGS) != asked([2], SETTINGS)


def test_bounds_of_params_are_inclusive() -> None:
    assert resolve({"order": 4, "k": 9}, SETTINGS) == changed(order=4, k=9)
    text = json.dumps({"order": 4})
    assert resolve(text + " " * (400 - len(text)), SETTINGS) == changed(order=4)
    assert resolve('{"params": {"order": 4}}', SETTINGS) == changed(order=4)
    assert len(resolve_grid([{}] * 4, SETTINGS)) == 4


def test_grid_is_the_product_of_its_axes_in_order() -> None:
    grid = resolve_grid({"params": {"pMin": [0.1, 0.2], "gamma": [0.01, 0.02], "order": 3}}, SETTINGS)
    expected = [(0.1, 0.01), (0.1, 0.02), (0.2, 0.01), (0.2, 0.02)]
    assert grid == tuple(changed(p_min=p_min, gamma=gamma, order=3) for p_min, gamma in expected)


def test_sweep_takes_a_list_of_lists_and_objects() -> None:
    assert resolve_grid([[0.1, 0.01], {"order": 2}], SETTINGS) == (changed(p_min=0.1, gamma=0.01), changed(order=2))


@pytest.mark.parametrize(
    ("given_params", "code", "expected"),
    [
        (None, Code.BAD_PARAMS, "expected a grid .* or a list .*, came null"),
        ([], Code.BAD_PARAMS, "at least one"),
        ({"pMin": []}, Code.BAD_PARAMS, "at least one"),
        ({"speed": [1]}, Code.BAD_PARAMS, "expected names"),
        ({"pMin": [0.1], "p_min": [0.1]}, Code.BAD_PARAMS, "once"),
        ([[0.1]], Code.BAD_PARAMS, "expected 2 values"),
        ([{"order": 1}, {"order": 5}], Code.BAD_PARAMS, "at most 4"),
        ([{}] * 5, Code.SWEEP_TOO_LARGE, "expected at most 4 sets of hyperparameters, came 5"),
        ({"pMin": [0.1] * 3, "gamma": [0.1] * 3}, Code.SWEEP_TOO_LARGE, "came 9"),
    ],
)
def test_sweep_that_cannot_be_used_says_what_was_expected(given_params: Any, code: Code, expected: str) -> None:
    with pytest.raises(RequestRejected, match=expected) as rejected:
        resolve_grid(given_params, SETTINGS)
    assert rejected.value.code is code


def test_every_hyperparameter_has_a_wire_name_that_means_it() -> None:
    fields = {field.name for field in dataclasses.fields(Hyperparameters)}
    assert WIRE_NAMES.keys() == fields
    assert {field_of(wire) for wire in WIRE_NAMES.values()} == fields
    assert wire_params(BASELINE) == {
        "pMin": 0.001, "gamma": 0.0005, "alpha": 0.1, "r": 1.2, "order": 1, "confidence": 0.3, "k": 5,
    }  # fmt: skip
    assert resolve(wire_params(BASELINE), LineSettings()) == BASELINE
