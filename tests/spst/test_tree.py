"""Trees against the naive learner, and what no tree can be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spst
from spst.arrangement import arrange
from spst.counts import Successors, count_words, find_contexts
from spst.symbols import join
from spst.tree import Tree, learn
from tests import naive
from tests.spst.streams import Stream, hyperparameters, stream_of, streams

FINE: dict[str, Any] = {"order": 2, "p_min": 0.01, "gamma": 0.001, "threshold": 0.5, "k": 3}


def counts_of(stream: Stream, order: int = 3) -> Successors:
    arranged = arrange(join(stream.buckets), [len(bucket.symbols) for bucket in stream.buckets])
    return count_words(arranged, *find_contexts(arranged, order)).of(np.ones(len(stream.buckets), dtype=bool))


def counts_of_text(text: str, order: int = 3) -> Successors:
    rows = [naive.Row("a", "abc".index(letter)) for letter in text]
    return counts_of(stream_of(rows, 3, 1), order)


@given(data=st.data(), stream=streams())
def test_tree_agrees_with_the_naive_twin(data: st.DataObject, stream: Stream) -> None:
    hyper = data.draw(hyperparameters(n_symbols=stream.n_symbols))
    counts = naive.count_words(stream.rows, 4, range(3))
    if not counts[()]:
        return
    tree = learn(counts_of(stream), hyper)
    expected = naive.learn(counts, stream.n_symbols, hyper)
    assert set(tree.labels) == set(expected)
    rows = [expected[label] for label in tree.labels]
    np.testing.assert_allclose(tree.distribution, rows, rtol=0, atol=1e-15)


@given(data=st.data(), stream=streams())
def test_tables_of_a_tree_agree_with_walks_along_labels(data: st.DataObject, stream: Stream) -> None:
    if not any(row.symbol is not None for row in stream.rows):
        return
    counts = counts_of(stream)
    tree = learn(counts, data.draw(hyperparameters(n_symbols=stream.n_symbols)))
    plain: dict[naive.Word, list[float]] = {label: [] for label in tree.labels}
    node = {label: place for place, label in enumerate(tree.labels)}
    assert list(map(len, tree.labels)) == tree.depth.tolist() == sorted(tree.depth.tolist())
    for label, place in node.items():
        assert tree.leaf[place] == naive.is_leaf(plain, label)
        for symbol in range(stream.n_symbols):
            assert tree.next_node[place, symbol] == node[naive.walk(plain, naive.then(label, symbol))]
            assert tree.children[place, symbol] == node.get((*label, symbol), -1)
    for row, found in enumerate(tree.nodes_of(counts.contexts)):
        assert found == node[naive.walk(plain, counts.contexts.word(row))]


def test_order_zero_is_the_root_alone() -> None:
    tree = learn(counts_of_text("abcab"), spst.Hyperparameters(**{**FINE, "order": 0, "gamma": 0}))
    assert tree.labels == ((),)
    np.testing.assert_allclose(tree.distribution, [[0.4, 0.4, 0.2]])
    assert tree.leaf.tolist() == [True]


def test_symbol_that_stops_occurring_tells_something_without_smoothing_only() -> None:
    """After b always comes c, so b makes a impossible; the ratio for c alone is below r."""
    counts = counts_of_text("abc" * 20, order=1)
    never = {**FINE, "order": 1, "r": 4.0}
    assert learn(counts, spst.Hyperparameters(**{**never, "gamma": 0})).order == 1
    assert learn(counts, spst.Hyperparameters(**never)).order == 0


def test_context_without_successor_is_no_candidate() -> None:
    tree = learn(counts_of_text("aab"), spst.Hyperparameters(**{**FINE, "order": 3, "p_min": 0, "gamma": 0}))
    assert all(label[0] != 1 for label in tree.labels if label)


def test_gamma_of_one_over_n_makes_every_symbol_equal() -> None:
    tree = learn(counts_of_text("aaaaab"), spst.Hyperparameters(**{**FINE, "gamma": 1 / 3}))
    np.testing.assert_allclose(tree.distribution, 1 / 3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("order", -1, "order must be a whole number from 0 to 12, not -1"),
        ("order", 13, "not 13"),
        ("order", 2.0, r"whole number from 0 to 12, not 2\.0"),
        ("order", True, "not True"),
        ("p_min", 1.01, r"p_min must be a number from 0 to 1, not 1\.01"),
        ("p_min", math.nan, "not nan"),
        ("p_min", "0.1", "not '0.1'"),
        ("gamma", 1.0, r"gamma must be a number from 0 to below 1, not 1\.0"),
        ("gamma", -1e-9, "gamma"),
        ("threshold", None, "threshold must be a number from 0 to 1, not None"),
        ("threshold", 1.5, "threshold"),
        ("k", 0, "k must be a whole number from 1 to 1000000, not 0"),
        ("alpha", -0.1, r"alpha must be a number of 0 or more, not -0\.1"),
        ("alpha", math.inf, "not inf"),
        ("r", 0.99, r"r must be a number of 1 or more, not 0\.99"),
    ],
)
def test_hyperparameter_out_of_range_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(spst.HyperparameterError, match=message):
        spst.Hyperparameters(**{**FINE, name: value})


def test_hyperparameters_stand_in_the_order_of_their_meaning() -> None:
    chosen = spst.Hyperparameters(2, 0.01, 0.5, 0.02, 1.5, 0.4, 3)
    assert chosen.as_dict() == {
        **FINE,
        "order": 2,
        "p_min": 0.01,
        "alpha": 0.5,
        "gamma": 0.02,
        "r": 1.5,
        "threshold": 0.4,
        "k": 3,
    }


def test_hyperparameters_become_plain_numbers() -> None:
    chosen = spst.Hyperparameters(**{**FINE, "order": np.int64(2), "threshold": np.float32(0.5), "p_min": 1})
    assert chosen.as_dict() == {**FINE, "p_min": 1.0, "alpha": 0.001, "r": 1.05}
    assert [type(value) for value in chosen.as_dict().values()] == [int, float, float, float, float, float, int]


NODES: dict[str, Any] = {
    "parent": np.array([0, 0, 0, 1], dtype=np.int32),
    "oldest": np.array([-1, 0, 1, 1], dtype=np.int32),
    "distribution": np.full((4, 2), 0.5),
}


def test_tree_of_arrays_knows_its_labels() -> None:
    tree = Tree(**NODES)
    assert tree.labels == ((), (0,), (1,), (0, 1))
    assert (tree.order, tree.n_symbols, len(tree)) == (2, 2, 4)
    assert tree.leaf.tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("distribution", np.full((4, 2), 0.4), "sum to 1"),
        ("distribution", np.array([[1.5, -0.5]] * 4), "lie in 0..1"),
        ("distribution", np.full((4, 2), np.nan), "lie in 0..1"),
        ("distribution", np.full((3, 2), 0.5), "as many parents"),
        ("distribution", np.zeros((0, 2)), "at least one"),
        ("parent", np.array([0, 0, 0, 3], dtype=np.int32), "follow their parents"),
        ("parent", np.array([0, -1, 0, 1], dtype=np.int32), "follow their parents"),
        ("parent", np.array([0, 0, 1, 0], dtype=np.int32), "sorted by depth"),
        ("oldest", np.array([-1, 0, 2, 1], dtype=np.int32), "lie in the alphabet"),
        ("oldest", np.array([-1, 1, 1, 1], dtype=np.int32), "same label"),
    ],
)
def test_arrays_that_are_no_tree_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(spst.SpstError, match=message):
        Tree(**{**NODES, name: value})
