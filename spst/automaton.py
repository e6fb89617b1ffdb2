"""The deterministic automaton that reads symbols and says where the pattern is detected.

Knows no event and no tree. The automaton is streaming: a match may start at any event (Alevizos, Artikis, Paliouras
2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spst.alphabet import MAX_SYMBOLS, Alphabet
from spst.errors import AutomatonError
from spst.expressions import TRUE
from spst.nfa import Nfa, Table
from spst.pattern import Pattern, Policy

MAX_STATES = 10_000
_MANY_WALKERS = 8  # with fewer, merging those that met costs more than it saves
_SLAB = 1 << 17  # events composed at a time, which bounds the memory of a run


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
        return len(self.transitions)

    @property
    def n_symbols(self) -> int:
        """Size of the alphabet."""
        return int(self.transitions.shape[1])

    def run(self, symbols: NDArray[np.integer], starts: ArrayLike = ()) -> NDArray[np.int32]:
        """Run over events.

        The events are cut into blocks that are walked side by side: first from every state, which gives each block's
        transition function, then, when the functions' composition has told where each block begins, from that one
        state (Mytkowicz, Musuvathi, Schulte 2014).

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
        begins = np.zeros(len(symbols), bool)
        if np.size(starts):
            begins[np.asarray(starts)] = True
        states = np.empty(len(symbols), np.int32)
        state = 0
        for first in range(0, len(symbols), _SLAB):
            slab = slice(first, first + _SLAB)
            states[slab] = self._run_slab(symbols[slab], begins[slab], state)
            state = int(states[slab][-1])
        return states

    @cached_property
    def _table(self) -> tuple[int, NDArray[np.intp]]:
        """The shift, and transitions as a flat array of states << shift.

        Indexed by state << shift | begins << (shift - 1) | symbol, where begins is 1 if a run starts before the event.
        """
        shift = (self.n_symbols - 1).bit_length() + 1
        table = np.zeros((self.n_states, 2, 1 << (shift - 1)), np.intp)
        table[:, 0, : self.n_symbols] = self.transitions
        table[:, 1, : self.n_symbols] = self.transitions[0]
        return shift, (table << shift).ravel()

    def _run_slab(self, symbols: NDArray[np.integer], begins: NDArray[np.bool_], state: int) -> NDArray[np.int32]:
        shift, table = self._table
        length = max(1, int(np.sqrt(len(symbols)) / 4), min(self.n_states, len(symbols)))  # of a block
        n_blocks = -(-len(symbols) // length)
        padded = np.zeros(n_blocks * length, np.intp)
        padded[: len(symbols)] = symbols
        padded[: len(symbols)] |= begins.astype(np.intp) << (shift - 1)
        steps = np.ascontiguousarray(padded.reshape(n_blocks, length).T)

        current = np.empty(n_blocks, np.intp)
        for block, function in enumerate(self._functions(steps)):
            current[block] = state << shift
            state = function[state]
        for step in steps:
            step |= current
            current = np.take(table, step, out=step, mode="clip")
        states: NDArray[np.int32] = (steps.T.ravel()[: len(symbols)] >> shift).astype(np.int32)
        return states

    def _functions(self, steps: NDArray[np.intp]) -> list[list[int]]:
        """List for every block the state at its end by the state at its beginning.

        `steps` holds symbols and begins as in `_table`, shape (length, n_blocks).
        """
        shift, table = self._table
        walkers = np.repeat((np.arange(self.n_states) << shift)[:, None], steps.shape[1], axis=1)
        walker_of = None
        for i, step in enumerate(steps):
            walkers = np.take(table, walkers | step, mode="clip")
            if len(walkers) > _MANY_WALKERS and i & (i + 1) == 0:  # after 1, 2, 4, 8, .. steps
                walkers, merged = _merged(walkers)
                walker_of = merged if walker_of is None else np.take_along_axis(merged, walker_of, axis=0)
        ends = walkers if walker_of is None else np.take_along_axis(walkers, walker_of, axis=0)
        functions: list[list[int]] = (ends.T >> shift).tolist()
        return functions


def _merged(walkers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Keep one of the walkers that have met in a block; tell who stands for whom; shapes (n_walkers, n_blocks)."""
    order = np.argsort(walkers, axis=0)
    ascending = np.take_along_axis(walkers, order, axis=0)
    rank = np.cumsum(np.diff(ascending, axis=0, prepend=ascending[:1]) != 0, axis=0)
    kept = np.zeros((rank.max() + 1, walkers.shape[1]), np.intp)
    np.put_along_axis(kept, rank, ascending, axis=0)
    place = np.empty_like(order)
    np.put_along_axis(place, order, rank, axis=0)
    return kept, place


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
        ``"nonoverlap"`` gives every final state the start state's outgoing transitions: matching starts afresh after
        a detection.
    minimise : bool
        Merge states that no continuation tells apart. A state's waiting times depend on nothing else, so no forecast
        changes.
    max_states : int
        Limit on the states of the automaton and of every complement in it, before minimisation.

    Raises
    ------
    AutomatonError
        There are more states than `max_states`; says which part explodes. Or there is no such policy.
    """
    if policy not in ("overlap", "nonoverlap"):
        raise AutomatonError(f'the count policy is "overlap" or "nonoverlap", not {policy!r}')
    nfa = Nfa(max_states, max(MAX_SYMBOLS, len(alphabet)))
    start = nfa.node()
    nfa.edges[start].append((TRUE, start))
    end = nfa.add(pattern.expression, start)
    transitions, finals = nfa.deterministic(end, alphabet, str(pattern.expression))
    if policy == "nonoverlap":
        transitions[finals] = transitions[0]
    table = _minimal(transitions, finals) if minimise else (transitions, finals)
    return Automaton(*table)


def _minimal(transitions: NDArray[np.int32], finals: NDArray[np.bool_]) -> Table:
    """Drop states that the start does not reach, and merge equivalent ones by Moore's refinement; the start stays 0."""
    reached = _reachable(transitions)
    renumber = np.zeros(len(finals), np.int32)
    renumber[reached] = np.arange(len(reached))
    transitions, finals = renumber[transitions[reached]], finals[reached]
    classes, n_classes = (finals != finals[0]).astype(np.int32), len(np.unique(finals))
    while True:
        signatures = np.column_stack([classes, classes[transitions]])
        _, firsts, found = np.unique(signatures, axis=0, return_index=True, return_inverse=True)
        by_appearance = np.argsort(np.argsort(firsts)).astype(np.int32)
        classes = by_appearance[found.ravel()]
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
