"""Waiting times against path expansion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spst import waiting as module
from spst.automaton import Automaton
from spst.errors import HyperparameterError
from spst.tree import Tree
from spst.waiting import DECIMALS, detection_within, transition_matrix, waiting_times, within
from tests import naive
from tests.spst.streams import automata


@st.composite
def trees(draw: st.DrawFn, n_symbols: int) -> Tree:
    """Any tree whose nodes have some of the possible children."""
    labels: list[naive.Word] = [()]
    for label in labels:
        if len(label) < 3 and len(labels) < 12:
            labels += [(*label, older) for older in draw(st.sets(st.integers(0, n_symbols - 1)))]
    weights = st.lists(st.integers(0, 5), min_size=n_symbols, max_size=n_symbols).filter(any)
    times = np.array([draw(weights) for _ in labels], dtype=float)
    parents = [labels.index(label[:-1]) for label in labels]
    oldest = [label[-1] if label else -1 for label in labels]
    return Tree(np.array(parents, np.int32), np.array(oldest, np.int32), times / times.sum(axis=1, keepdims=True))


def built(automaton: naive.Automaton) -> Automaton:
    return Automaton(np.array(automaton.transitions, np.int32), np.array(automaton.finals, bool))


@given(data=st.data(), n_symbols=st.integers(2, 3), horizon=st.integers(1, 6))
def test_waiting_times_agree_with_the_forward_twin(data: st.DataObject, n_symbols: int, horizon: int) -> None:
    tree, automaton = data.draw(trees(n_symbols)), data.draw(automata(n_symbols))
    waiting = waiting_times(tree, built(automaton), horizon)
    plain = dict(zip(tree.labels, tree.distribution.tolist(), strict=True))
    expected = [
        naive.waiting_time(plain, automaton, label, state, horizon)
        for label in tree.labels
        for state in range(len(automaton.finals))
    ]
    np.testing.assert_allclose(waiting, expected, rtol=0, atol=1e-12)
    assert (waiting.sum(axis=1) <= 1 + 1e-12).all()


@given(data=st.data(), n_symbols=st.integers(2, 3))
def test_a_step_leads_somewhere(data: st.DataObject, n_symbols: int) -> None:
    matrix = transition_matrix(data.draw(trees(n_symbols)), built(data.draw(automata(n_symbols))))
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


def test_waiting_time_of_a_coin_is_geometric() -> None:
    coin = Tree(np.zeros(1, np.int32), np.full(1, -1, np.int32), np.array([[0.75, 0.25]]))
    heads = Automaton(np.array([[0, 1], [0, 1]], np.int32), np.array([False, True]))
    expected = 0.25 * 0.75 ** np.arange(50)
    np.testing.assert_allclose(waiting_times(coin, heads, 50), [expected, expected])


@pytest.mark.parametrize("k", [1, 3, 8])
def test_a_longer_horizon_changes_no_earlier_step(k: int) -> None:
    coin = Tree(np.zeros(1, np.int32), np.full(1, -1, np.int32), np.array([[0.7, 0.3]]))
    pair = Automaton(np.array([[0, 1], [0, 2], [0, 1]], np.int32), np.array([False, False, True]))
    long = waiting_times(coin, pair, 8)
    np.testing.assert_array_equal(long[:, :k], waiting_times(coin, pair, k))
    np.testing.assert_array_equal(within(long, k), detection_within(coin, pair, k))
    assert (detection_within(coin, pair, k) == detection_within(coin, pair, k).round(DECIMALS)).all()


def test_more_than_fits_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    coin = Tree(np.array([0], np.int32), np.array([-1], np.int32), np.array([[0.5, 0.5]]))
    two_states = built(naive.Automaton([[0, 1], [0, 1]], [False, True]))
    monkeypatch.setattr(module, "MAX_ENTRIES", 4)  # of which one step needs all
    assert waiting_times(coin, two_states, 2).shape == (2, 2)
    with pytest.raises(HyperparameterError, match="look at most 2 events ahead"):
        waiting_times(coin, two_states, 3)
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    with pytest.raises(HyperparameterError, match="1 contexts in the tree times 2 states"):
        transition_matrix(coin, two_states)
