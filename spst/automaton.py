"""The deterministic automaton that reads symbols and says where the pattern is detected.

Knows no event and no tree. The automaton is streaming: a match may start at any event (Alevizos, Artikis, Paliouras 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spst.alphabet import MAX_SYMBOLS, Alphabet
from spst.errors import AutomatonError
from spst.expressions import TRUE, without_skips
from spst.nfa import Nfa, Table
from spst.pattern import Pattern, Policy

MAX_STATES = 10_000
_SLAB = 1 << 19  # events composed at a time, which bounds the memory of a run


@dataclass(frozen=True, eq=False)
class Automaton:
    """A complete deterministic automaton; its start state is 0.

    Parameters
    ----------
    transitions : ndarray of int32, shape (n_states, n_symbols)
        The state after reading a symbol in a state.
    finals : ndarray of bool, shape (n_states,)
        Entering such a state is a detection.

    Raises
    ------
    AutomatonError
        The shapes do not fit, or a transition leads nowhere.
    """

    transitions: NDArray[np.int32]
    finals: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.transitions.ndim != 2 or len(self.transitions) != len(self.finals) or not self.transitions.size:
            raise AutomatonError(f"{len(self.finals)} states do not fit transitions of shape {self.transitions.shape}")
        if self.transitions.min() < 0 or self.transitions.max() >= len(self.finals):
            raise AutomatonError(f"transitions must lead to one of the {len(self.finals)} states")
        for array in (self.transitions, self.finals):
            array.setflags(write=False)

    @property
    def n_states(self) -> int:
        """Number of states."""
        return self.transitions.shape[0]

    @property
    def n_symbols(self) -> int:
        """Size of the alphabet."""
        return self.transitions.shape[1]

    def run(self, symbols: NDArray[np.integer], starts: ArrayLike = ()) -> NDArray[np.int32]:
        """Run over events.

        The events are cut into blocks that are walked side by side: first from every state, which gives each block's transition
        function, then, when the functions' composition has told where each block begins, from that one state.

        Parameters
        ----------
        symbols : ndarray of integers, shape (n_events,)
        starts : array_like
            Where runs begin in the start state, beside the first event: a bool for every event, or positions.

        Returns
        -------
        ndarray of int32, shape (n_events,)
            The state after each event.
        """
        starts = np.asarray(starts)
        begins = np.zeros(len(symbols), bool)
        begins[starts if starts.size else np.zeros(0, np.intp)] = True
        states = np.empty(len(symbols), np.int32)
        state = 0
        for first in range(0, len(symbols), _SLAB):
            slab = slice(first, first + _SLAB)
            states[slab] = self._run_slab(symbols[slab], begins[slab], state)
            state = int(states[slab][-1])
        return states

    @cached_property
    def _table(self) -> tuple[int, NDArray[np.intp]]:
        """Transitions as one flat array, indexed by state << shift | begins << (shift - 1) | symbol, of states << shift."""
        shift = (self.n_symbols - 1).bit_length() + 1
        table = np.zeros((self.n_states, 2, 1 << (shift - 1)), np.intp)
        table[:, 0, : self.n_symbols] = self.transitions
        table[:, 1, : self.n_symbols] = self.transitions[0]
        return shift, (table << shift).ravel()

    def _run_slab(self, symbols: NDArray[np.integer], begins: NDArray[np.bool_], state: int) -> NDArray[np.int32]:
        shift, table = self._table
        length = max(1, int(np.sqrt(len(symbols)) / 4))  # many short blocks: every step is one call on all of them
        n_blocks = -(-len(symbols) // length)
        padded = np.zeros(n_blocks * length, np.intp)
        padded[: len(symbols)] = symbols
        padded[: len(symbols)] |= begins.astype(np.intp) << (shift - 1)
        steps = np.ascontiguousarray(padded.reshape(n_blocks, length).T)

        ends = np.repeat((np.arange(self.n_states) << shift)[:, None], n_blocks, axis=1)
        for step in steps:
            ends = table[ends | step]
        current = np.empty(n_blocks, np.intp)
        for block, function in enumerate((ends.T >> shift).tolist()):
            current[block] = state
            state = function[state]

        current <<= shift
        for step in steps:
            step |= current
            current = table[step]
        states: NDArray[np.int32] = (table[steps.T.ravel()] >> shift).astype(np.int32)
        return states[: len(symbols)]


def build_automaton(
    pattern: Pattern,
    alphabet: Alphabet,
    policy: Policy = "overlap",
    *,
    minimise: bool = False,
    max_states: int = MAX_STATES,
) -> Automaton:
    """Build the streaming automaton of a pattern over its alphabet.

    Parameters
    ----------
    pattern : Pattern
    alphabet : Alphabet
        Built from the same pattern.
    policy : {"overlap", "nonoverlap"}
        ``"nonoverlap"`` gives every final state the start state's outgoing transitions: matching starts afresh after a detection.
    minimise : bool
        Merge states that no continuation tells apart. A state's waiting times depend on nothing else, so no forecast changes.
    max_states : int
        Limit on the states of the automaton and of every complement in it, before minimisation.

    Raises
    ------
    AutomatonError
        There are more states than `max_states`; says which part explodes.
    """
    nfa = Nfa(max_states, max(MAX_SYMBOLS, len(alphabet)))
    start = nfa.node()
    nfa.edges[start].append((TRUE, start))
    end = nfa.add(without_skips(pattern.expression), start)
    transitions, finals = nfa.deterministic(end, alphabet, str(pattern.expression))
    if policy == "nonoverlap":
        transitions[finals] = transitions[0]
    table = _minimal(transitions, finals) if minimise else (transitions, finals)
    return Automaton(*table)


def _minimal(transitions: NDArray[np.int32], finals: NDArray[np.bool_]) -> Table:
    """Moore's partition refinement; drops what the start does not reach, and numbers states by their first appearance."""
    reached = _reachable(transitions)
    renumber = np.zeros(len(finals), np.int32)
    renumber[reached] = np.arange(len(reached))
    transitions, finals = renumber[transitions[reached]], finals[reached]
    classes, n_classes = finals.astype(np.int32), len(np.unique(finals))
    while True:
        signature = np.column_stack([classes, classes[transitions]])
        _, firsts, classes = np.unique(signature, axis=0, return_index=True, return_inverse=True)
        classes = np.argsort(np.argsort(firsts)).astype(np.int32)[classes.ravel()]  # the start's class is 0
        if len(firsts) == n_classes:
            firsts.sort()
            return classes[transitions[firsts]], finals[firsts]
        n_classes = len(firsts)


def _reachable(transitions: NDArray[np.int32]) -> NDArray[np.intp]:
    seen = np.zeros(len(transitions), bool)
    front = np.array([0])
    while len(front):
        seen[front] = True
        following = np.unique(transitions[front])
        front = following[~seen[following]]
    return np.flatnonzero(seen)
