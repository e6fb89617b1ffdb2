"""Prepared once, then fitted and scored: evaluations, sweeps, and the naive twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spst
from spst.scoring import Score
from spst.training import TrainingSet
from tests import naive
from tests.spst.streams import PARTITIONS, Stream, automata, hyperparameters, prepared, stream_of, streams

LETTERS = "ABC"
DECLARATIONS = "~(IsEventTypePredicate(A),IsEventTypePredicate(B))"


def letters(text: str) -> spst.Events:
    """One event per letter; a dot is a reset row."""
    types = ["RESET" if letter == "." else letter for letter in text]
    stamps = [-1.0 if letter == "." else float(place) for place, letter in enumerate(text)]
    return spst.Events.from_columns({"timestamp": stamps, "type": np.array(types, dtype=object)})


def pattern() -> spst.Pattern:
    return spst.parse_pattern(";(IsEventTypePredicate(A),IsEventTypePredicate(B)){order:2}", DECLARATIONS)


def chosen(**changes: float) -> spst.Hyperparameters:
    values = {"order": 2, "p_min": 0.0, "gamma": 0.001, "threshold": 0.5, "k": 2}
    return spst.Hyperparameters(**{**values, **changes})  # type: ignore[arg-type]  # whole numbers where needed


def ready(text: str = "ABCABBCAABCACBABCBA" * 4, **options: object) -> TrainingSet:
    return TrainingSet.prepare(letters(text), pattern(), order=3, k_max=4, **options)  # type: ignore[arg-type]


def agree(score: Score, made: list[naive.Forecast], threshold: float) -> None:
    """The score of the fast path is that of these forecasts."""
    counts = naive.confusion(made, threshold)
    assert (score.tp, score.tn, score.fp, score.fn) == counts
    assert score.forecasts == len(made)
    assert score.mcc == pytest.approx(naive.matthews(counts), abs=1e-9)
    if made:
        assert (score.best_threshold, score.best_mcc) == pytest.approx(naive.best_threshold(made), abs=1e-9)
        assert score.log_loss == pytest.approx(naive.log_loss(made), rel=1e-6)


@pytest.mark.parametrize("at_detection", [True, False])
@given(data=st.data(), stream=streams())
def test_fit_and_score_agree_with_the_event_by_event_run(
    data: st.DataObject, stream: Stream, at_detection: bool
) -> None:
    automaton = data.draw(automata(stream.n_symbols))
    hyper = data.draw(hyperparameters(n_symbols=stream.n_symbols))
    counts = naive.count_words(stream.rows, 4, range(3))
    if not counts[()]:
        return
    training = prepared(stream, automaton, order=3, k_max=4, at_detection=at_detection)
    model = training.fit(hyper)
    tree = naive.learn(counts, stream.n_symbols, hyper)
    assert set(model.tree.labels) == set(tree)
    expected = [tree[label] for label in model.tree.labels]
    np.testing.assert_allclose(model.tree.distribution, expected, rtol=0, atol=1e-12)
    processed = naive.run(stream.rows, tree, automaton, hyper.order)
    score = training.score(model)
    agree(score, naive.forecasts(processed, tree, automaton, hyper.k, range(3), at_detection), hyper.threshold)
    assert score.detections == sum(automaton.finals[each.state] for events in processed.values() for each in events)


@given(data=st.data(), stream=streams(), share=st.sampled_from([0.2, 0.5, 0.75]))
def test_holdout_learns_before_the_cut_and_scores_after_it(data: st.DataObject, stream: Stream, share: float) -> None:
    cut = len(stream.rows) - round(share * len(stream.rows))
    rows = [row._replace(bucket=int(place >= cut)) for place, row in enumerate(stream.rows)]
    _check_evaluation(data, stream, rows, f"holdout:{share}", learns=[0], scores=[1])


@given(data=st.data(), stream=streams())
def test_last_bucket_learns_from_those_before_and_scores_the_last(data: st.DataObject, stream: Stream) -> None:
    last = len(stream.buckets) - 1
    if last:
        _check_evaluation(data, stream, list(stream.rows), "last-bucket", learns=range(last), scores=[last])


def _check_evaluation(
    data: st.DataObject, stream: Stream, rows: list[naive.Row], evaluation: str, learns: object, scores: object
) -> None:
    automaton = data.draw(automata(stream.n_symbols))
    hyper = data.draw(hyperparameters(n_symbols=stream.n_symbols))
    counts = naive.count_words(rows, 4, learns)  # type: ignore[arg-type]  # a range or a list
    training = prepared(stream, automaton, order=3, k_max=4, evaluation=evaluation)
    if not counts[()]:
        with pytest.raises(spst.EventsError, match="no event to learn from"):
            training.fit(hyper)
        return
    tree = naive.learn(counts, stream.n_symbols, hyper)
    model = training.fit(hyper)
    assert set(model.tree.labels) == set(tree)
    processed = naive.run(rows, tree, automaton, hyper.order)  # warm across the cut
    made = naive.forecasts(processed, tree, automaton, hyper.k, scores)  # type: ignore[arg-type]
    agree(training.score(model), made, hyper.threshold)
    assert training.in_sample().score(model).forecasts == sum(map(len, processed.values()))


@given(data=st.data(), stream=streams(max_buckets=1))
def test_any_bucketing_gives_the_same_in_sample_results(data: st.DataObject, stream: Stream) -> None:
    automaton = data.draw(automata(stream.n_symbols))
    hyper = data.draw(hyperparameters(n_symbols=stream.n_symbols))
    n_buckets = data.draw(st.integers(1, 4))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream.rows)), min_size=n_buckets - 1, max_size=n_buckets - 1)))
    rows = [row._replace(bucket=sum(cut <= place for cut in cuts)) for place, row in enumerate(stream.rows)]
    if not any(row.symbol is not None for row in rows):
        return
    whole = prepared(stream, automaton, order=3, k_max=4)
    parts = prepared(stream_of(rows, stream.n_symbols, n_buckets), automaton, order=3, k_max=4)
    np.testing.assert_array_equal(whole.fit(hyper).tree.distribution, parts.fit(hyper).tree.distribution)
    assert whole.score(whole.fit(hyper)) == parts.score(parts.fit(hyper))


@given(data=st.data(), stream=streams())
def test_sweep_gives_what_fitting_and_scoring_one_by_one_gives(data: st.DataObject, stream: Stream) -> None:
    if not any(row.symbol is not None for row in stream.rows):
        return
    training = prepared(stream, data.draw(automata(stream.n_symbols)), order=3, k_max=4)
    tried = data.draw(st.lists(hyperparameters(n_symbols=stream.n_symbols), max_size=8))
    table = training.sweep(tried)
    assert table.hyperparameters == tuple(tried)
    assert table.scores == tuple(training.score(training.fit(each)) for each in tried)


def test_sweep_of_a_grid_tries_every_combination() -> None:
    values: dict[str, Any] = {
        "order": [1, 2],
        "p_min": 0.01,
        "gamma": [0.001],
        "threshold": [0.2, 0.4, 0.6],
        "k": [1, 3],
    }
    table = ready().sweep(values)
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    assert [tried.as_dict() for tried in table.hyperparameters] == [
        {**combination, "alpha": 0.001, "r": 1.05} for combination in naive.grid(lists)
    ]
    assert table.scores[table.best].mcc == max(score.mcc for score in table.scores)
    assert table.rows()[5]["threshold"] == 0.6
    assert table.rows()[5]["tp"] == table.scores[5].tp


def test_sweep_of_a_grid_takes_arrays_and_ranges() -> None:
    plain: dict[str, Any] = {"order": [1, 2], "p_min": [0.0, 0.5], "gamma": 0.001, "threshold": 0.2, "k": 1}
    arrays = {**plain, "order": range(1, 3), "p_min": np.linspace(0, 0.5, 2), "k": np.int64(1)}
    assert ready().sweep(arrays) == ready().sweep(plain)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gamma": [0.1], "k": 1}, "a grid needs"),
        ({"order": [1], "p_min": 0, "gamma": 0, "threshold": 0, "k": 1, "depth": [2]}, "depth"),
        ({"order": [1], "p_min": 0, "gamma": 0, "threshold": [0.2, 2], "k": 1}, "threshold must be"),
        ({"order": [1], "p_min": 0, "gamma": 0, "threshold": 0.2, "k": 5}, "k must be a whole number from 1 to 4"),
    ],
)
def test_sweep_refuses_a_grid_that_is_not_one(values: dict[str, object], message: str) -> None:
    with pytest.raises(spst.HyperparameterError, match=message):
        ready().sweep(values)  # type: ignore[arg-type]


def test_empty_sweep_has_no_best() -> None:
    table = ready().sweep([])
    assert len(table) == 0
    with pytest.raises(spst.HyperparameterError, match="no best"):
        _ = table.best


def test_score_of_a_model_from_other_events_walks_their_contexts() -> None:
    """A context that the tree has never seen falls back to the deepest node there is."""
    model = ready("ABCABCABC" * 3).fit(chosen())
    other = "CCABBACBAC" * 5
    rows = [naive.Row("", LETTERS.index(letter)) for letter in other]
    order = [model.alphabet.truth.tolist().index(truth) for truth in ([True, False], [False, True], [False, False])]
    tree = dict(zip(model.tree.labels, model.tree.distribution.tolist(), strict=True))
    rows = [row._replace(symbol=order[row.symbol or 0]) for row in rows]
    automaton = naive.Automaton(model.automaton.transitions.tolist(), model.automaton.finals.tolist())
    made = naive.forecasts(naive.run(rows, tree, automaton, 2), tree, automaton, 2)
    agree(ready(other).score(model), made, 0.5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"order": 4}, spst.HyperparameterError, "order 4 is more than the 3"),
        ({"gamma": 0.4}, spst.HyperparameterError, r"gamma must be at most 1/3 = 0.333333"),
    ],
)
def test_fit_refuses_what_was_not_prepared(changes: dict[str, float], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ready().fit(chosen(**changes))


def test_score_refuses_a_model_that_looks_too_far() -> None:
    training = ready()
    with pytest.raises(spst.HyperparameterError, match="k must be a whole number from 1 to 4 here, not 5"):
        training.score(training.fit(chosen(k=5)))
    deeper = TrainingSet.prepare(letters("ABCABBCAABC" * 9), pattern(), order=5, k_max=2).fit(chosen(order=5))
    with pytest.raises(spst.HyperparameterError, match="looks back"):
        training.score(deeper)


def test_score_refuses_a_model_of_another_pattern() -> None:
    other = spst.parse_pattern("IsEventTypePredicate(A){order:2}", "")
    model = TrainingSet.prepare(letters("ABAB"), other, order=2, k_max=2).fit(chosen())
    with pytest.raises(spst.SpstError, match="another alphabet or automaton"):
        ready().score(model)


def test_score_accepts_an_equal_model_read_from_a_file(tmp_path: object) -> None:
    training = ready()
    model = training.fit(chosen())
    model.save(f"{tmp_path}/model.spst")
    assert training.score(spst.load_model(f"{tmp_path}/model.spst")) == training.score(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 13}, "order must be a whole number from 0 to 12"),
        ({"order": True}, "order must be a whole number"),
        ({"k_max": 0}, "k_max must be a whole number from 1"),
        ({"evaluation": "holdout"}, "evaluation must be"),
        ({"evaluation": "holdout:1.5"}, "evaluation must be"),
        ({"evaluation": "next"}, "evaluation must be"),
    ],
)
def test_prepare_refuses_arguments_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(spst.HyperparameterError, match=message):
        TrainingSet.prepare(letters("AB"), pattern(), **{"order": 1, "k_max": 1, **options})  # type: ignore[arg-type]


def test_last_bucket_of_one_is_refused() -> None:
    with pytest.raises(spst.EventsError, match="needs two buckets"):
        ready(evaluation="last-bucket")


def test_prepare_reports_what_it_read() -> None:
    seen: list[int] = []
    buckets = [letters("ABC.A"), letters("BCA")]
    training = TrainingSet.prepare(buckets, pattern(), order=1, k_max=1, progress=seen.append)
    assert (training.n_events, training.rows, training.rows_skipped) == (7, 8, 0)
    assert repr((training.first_timestamp, training.last_timestamp)) == "(0, 4)"
    assert seen == [5, 8]
    assert training.nbytes > 0


def test_missing_column_shows_before_any_bucket_is_read() -> None:
    read: list[int] = []
    value = spst.parse_pattern("GT(value,1){order:1}")
    buckets = [spst.Events.from_columns({"value": [1.0, 2.0]}), letters("AB")]
    with pytest.raises(spst.EventsError, match="column 'value' is needed"):
        TrainingSet.prepare(buckets, value, order=1, k_max=1, progress=read.append)
    assert read == []


def test_cache_spares_the_buckets_it_holds_and_changes_nothing() -> None:
    cache = spst.SymbolCache(1 << 20)
    texts = ["ABCABBCA", "CABA.BAB", "BBCAABCA"]

    def window(first: int, **options: object) -> TrainingSet:
        buckets = [letters(text) for text in texts[first : first + 2]]
        return TrainingSet.prepare(buckets, pattern(), order=2, k_max=2, **options)  # type: ignore[arg-type]

    read: list[int] = []
    window(0, cache=cache, keys=["0", "1"])
    slid = window(1, cache=cache, keys=["1", "2"], progress=read.append)
    plain = window(1)
    assert read == [16]  # the last bucket only, after the eight rows of the one that was held
    assert slid.score(slid.fit(chosen())) == plain.score(plain.fit(chosen()))
    assert len(cache) == 3


def test_cache_of_one_alphabet_is_not_used_for_another() -> None:
    cache = spst.SymbolCache(1 << 20)
    events = letters("ABAB")
    other = spst.parse_pattern("IsEventTypePredicate(B){order:1}", "")
    first = TrainingSet.prepare([events], pattern(), order=1, k_max=1, cache=cache, keys=["x"])
    second = TrainingSet.prepare([events], other, order=1, k_max=1, cache=cache, keys=["x"])
    assert len(cache) == 2
    assert first.words.contexts.n_symbols != second.words.contexts.n_symbols


def test_nothing_to_learn_from_is_an_error() -> None:
    with pytest.raises(spst.EventsError, match="no event to learn from"):
        TrainingSet.prepare(letters("..."), pattern(), order=2, k_max=2).fit(chosen())


def test_large_alphabets_and_long_orders_need_no_wide_codes() -> None:
    """200 symbols at order 12: codes of whole words would need 100 bits."""
    rng = np.random.default_rng(5)
    cycle = rng.integers(0, 200, 15)
    symbols = np.tile(cycle, 20)
    symbols[rng.integers(0, len(symbols), 20)] = rng.integers(0, 200, 20)
    rows = [naive.Row(PARTITIONS[0], int(symbol)) for symbol in symbols]
    automaton = naive.Automaton([[int(s == cycle[3]) for s in range(200)]] * 2, [False, True])
    stream = stream_of(rows, 200, 1)
    hyper = spst.Hyperparameters(order=12, p_min=0.02, gamma=0.0001, threshold=0.3, k=2)
    training = prepared(stream, automaton, order=12, k_max=2)
    tree = naive.learn(naive.count_words(rows, 13, [0]), 200, hyper)
    model = training.fit(hyper)
    assert set(model.tree.labels) == set(tree)
    assert model.tree.order > 3
    made = naive.forecasts(naive.run(rows, tree, automaton, 12), tree, automaton, 2)
    agree(training.score(model), made, 0.3)
