"""Waiting times: when the automaton will next enter a final state, for every state of tree x automaton at once.

Owns the backward recursion. A state is (tree node, automaton state), numbered ``node * n_automaton_states + state``.
Must not know: events, hyperparameters, thresholds.

W_t(state) is the probability that a final state is entered for the first time after exactly t further events (Alevizos,
Artikis, Paliouras 2022). With T split by where a step leads, T = T_final + T_nonfinal:

    w_1 = T_final 1,    w_t = T_nonfinal w_(t-1)
"""

from __future__ import annotations

from math import prod

import numpy as np
from scipy.sparse import csr_array

from spst.arrays import FloatArray
from spst.automaton import Automaton
from spst.errors import HyperparameterError
from spst.tree import Tree

DECIMALS = 12  # probabilities are rounded to this before they meet a threshold, so that no two paths part by one ulp
MAX_ENTRIES = 1 << 28  # of one matrix: some 3 GB


def transition_matrix(tree: Tree, automaton: Automaton) -> csr_array:
    """One step of tree and automaton together.

    Returns
    -------
    csr_array, shape (n_nodes * n_states, n_nodes * n_states), float64
        Every row holds one entry per symbol, in the order of the alphabet (equal columns are not merged).

    Raises
    ------
    HyperparameterError
        It would have more than `MAX_ENTRIES`.
    """
    n_nodes, n_symbols = tree.distribution.shape
    n_states = len(automaton.finals)
    shape = (n_nodes, n_states, n_symbols)
    if prod(shape) > MAX_ENTRIES:
        raise HyperparameterError(
            f"{n_nodes} contexts in the tree times {n_states} states of the automaton times {n_symbols} symbols are "
            f"more than {MAX_ENTRIES}; a larger p_min or r, or a lower order, makes the tree smaller"
        )
    targets = tree.next_node[:, None, :] * np.int32(n_states) + automaton.transitions[None, :, :]
    chances = np.broadcast_to(tree.distribution[:, None, :], shape)
    rows = np.arange(0, n_nodes * n_states * n_symbols + 1, n_symbols, dtype=np.int32)
    return csr_array((chances.ravel(), targets.ravel(), rows), shape=(n_nodes * n_states, n_nodes * n_states))


def waiting_times(tree: Tree, automaton: Automaton, horizon: int) -> FloatArray:
    """Waiting-time distributions of all states.

    Parameters
    ----------
    horizon : int, 1 or more
        Number of future events looked at.

    Returns
    -------
    float64, shape (n_nodes * n_states, horizon)
        Column t - 1 holds W_t; a row sums to at most 1.

    Raises
    ------
    HyperparameterError
        That, or one step, has more than `MAX_ENTRIES`.
    """
    step = transition_matrix(tree, automaton)
    final = np.tile(automaton.finals, len(tree))
    if len(final) * horizon > MAX_ENTRIES:
        raise HyperparameterError(
            f"{len(final)} states of tree and automaton times a horizon of {horizon} events are more than "
            f"{MAX_ENTRIES} waiting times; look at most {MAX_ENTRIES // len(final)} events ahead"
        )
    waiting = np.empty((len(final), horizon), order="F")
    waiting[:, 0] = step @ final.astype(np.float64)
    for t in range(1, horizon):
        waiting[:, t] = step @ np.where(final, 0.0, waiting[:, t - 1])
    return waiting


def within(waiting: FloatArray, k: int) -> FloatArray:
    """W_1 + .. + W_k, rounded, shape (n_states,): what the forecast *classify next k* compares with its threshold."""
    mass: FloatArray = waiting[:, :k].sum(axis=1).round(DECIMALS)
    return mass


def detection_within(tree: Tree, automaton: Automaton, k: int) -> FloatArray:
    """The probability, rounded, shape (n_states,), that each state's next detection comes within k events."""
    return within(waiting_times(tree, automaton, k), k)
