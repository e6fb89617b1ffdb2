"""Confusion counts, measures and threshold curves against the naive twin."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spst.arrangement import arrange
from spst.counts import find_contexts
from spst.outcomes import tabulate_outcomes
from spst.scoring import Score, ThresholdCurve, score_at, threshold_curve
from spst.symbols import join
from tests import naive
from tests.spst.streams import Stream, automata, streams

PROBABILITIES = [0.0, 0.1, 0.25, 0.5, 0.999999999999, 1.0]
made_forecasts = st.lists(st.builds(naive.Forecast, st.sampled_from(PROBABILITIES), st.booleans()), max_size=40)
thresholds = st.sampled_from([*PROBABILITIES, 0.2, 0.7])


def curve_of(made: list[naive.Forecast]) -> ThresholdCurve:
    """Every forecast a row of its own."""
    columns = [(forecast.probability, float(forecast.hit), 1.0) for forecast in made]
    return threshold_curve(*np.array(columns).reshape(len(made), 3).T)


@given(made_forecasts, thresholds)
def test_score_agrees_with_the_naive_twin(made: list[naive.Forecast], threshold: float) -> None:
    score = score_at(curve_of(made), threshold, detections=7)
    expected = naive.confusion(made, threshold)
    assert (score.tp, score.tn, score.fp, score.fn) == tuple(expected)
    assert score.mcc == pytest.approx(naive.matthews(expected), abs=1e-12)
    assert score.f_val == -score.mcc
    assert (score.detections, score.forecasts) == (7, len(made))
    if not made:
        assert (score.best_threshold, score.best_mcc, score.log_loss) == (None, None, None)
        return
    assert score.log_loss == pytest.approx(naive.log_loss(made), rel=1e-9)
    best, mcc = naive.best_threshold(made)
    assert score.best_threshold == best
    assert score.best_mcc == pytest.approx(mcc, abs=1e-9)


@given(made_forecasts)
def test_curve_holds_every_threshold_that_makes_a_difference(made: list[naive.Forecast]) -> None:
    curve = curve_of(made)
    assert curve.threshold.tolist() == sorted({forecast.probability for forecast in made}, reverse=True)
    for threshold, tp, fp, mcc in zip(curve.threshold, curve.tp, curve.fp, curve.mcc, strict=True):
        expected = naive.confusion(made, threshold)
        assert (tp, curve.misses - fp, fp, curve.hits - tp) == tuple(expected)
        assert mcc == pytest.approx(naive.matthews(expected), abs=1e-12)


def test_equal_mcc_goes_to_the_higher_threshold() -> None:
    made = [naive.Forecast(p, hit) for p, hit in ((0.9, True), (0.6, True), (0.6, False), (0.3, False))]
    curve = curve_of(made)
    assert [round(mcc, 12) for mcc in curve.mcc] == [round(1 / math.sqrt(3), 12)] * 2 + [0]
    assert curve.best()[0] == 0.9


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_companions_of_mcc(tp: int, tn: int, fp: int, fn: int) -> None:
    score = Score(0, tp, tn, fp, fn, 0.0, None, None, None)

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    assert score.precision == share(tp, tp + fp)
    assert score.recall == share(tp, tp + fn)
    assert score.specificity == share(tn, tn + fp)
    assert score.npv == share(tn, tn + fn)
    assert score.accuracy == share(tp + tn, tp + tn + fp + fn)
    if score.precision is None or score.recall is None:
        assert score.f1 is None
    elif tp == 0:
        assert score.f1 == 0
    else:
        assert score.f1 == pytest.approx(2 / (1 / score.precision + 1 / score.recall))


def test_score_is_plain_data() -> None:
    data = score_at(curve_of([naive.Forecast(0.5, True)]), 0.7, 1).as_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert (data["forecasts"], data["fn"], data["precision"], data["mcc"]) == (1, 1, None, 0.0)
    assert set(data) >= {"detections", "tp", "tn", "fp", "recall", "f1", "npv", "f_val", "best_mcc", "log_loss"}


def test_certain_forecasts_that_fail_cost_much_but_not_everything() -> None:
    loss = curve_of([naive.Forecast(1.0, False), naive.Forecast(0.0, True)]).log_loss
    assert loss == pytest.approx(-math.log(1e-12), rel=1e-4)


@given(data=st.data(), stream=streams(), k_max=st.integers(1, 5), order=st.integers(0, 3))
def test_outcomes_agree_with_a_look_at_every_event(data: st.DataObject, stream: Stream, k_max: int, order: int) -> None:
    automaton = data.draw(automata(stream.n_symbols))
    chosen = data.draw(st.sets(st.integers(0, len(stream.buckets) - 1)))
    at_detection = data.draw(st.booleans())
    finals = np.array(automaton.finals)
    arranged = arrange(join(stream.buckets), [len(bucket.symbols) for bucket in stream.buckets])
    contexts, longest = find_contexts(arranged, order)
    states = states_of(arranged.symbols.tolist(), set(arranged.starts.tolist()), automaton)
    table = tabulate_outcomes(arranged, longest, np.array(states, dtype=np.int32), finals, k_max)
    outcomes = table.of(np.array([bucket in chosen for bucket in range(len(stream.buckets))]), finals, at_detection)
    whole: dict[naive.Word, list[float]] = {contexts.word(row): [] for row in range(len(contexts))}
    processed = naive.run(stream.rows, whole, automaton, order)
    rows = {
        (contexts.word(context), state): row
        for row, (context, state) in enumerate(zip(table.context.tolist(), table.state.tolist(), strict=True))
    }
    for k in range(1, k_max + 1):
        hits, total = np.zeros(len(rows)), np.zeros(len(rows))
        detections = 0
        for events in processed.values():
            detected = [automaton.finals[each.state] for each in events]
            for place, each in enumerate(events):
                if each.bucket not in chosen:
                    continue
                detections += detected[place]
                if at_detection or not detected[place]:
                    total[rows[each.label, each.state]] += 1
                    hits[rows[each.label, each.state]] += any(detected[place + 1 : place + 1 + k])
        np.testing.assert_array_equal(outcomes.hits(k), hits)
        np.testing.assert_array_equal(outcomes.total, total)
        assert outcomes.detections == detections


def states_of(symbols: list[int], starts: set[int], automaton: naive.Automaton) -> list[int]:
    states: list[int] = []
    for place, symbol in enumerate(symbols):
        states.append(automaton.transitions[0 if place in starts else states[-1]][symbol])
    return states
