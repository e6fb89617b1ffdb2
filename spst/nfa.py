"""From an expression to a deterministic transition table over an alphabet.

Thompson's construction with one node before and one behind every part, then subset construction. Knows no streaming,
no count policy and no events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spst.alphabet import Alphabet, alphabet_of, step_sentences
from spst.errors import AutomatonError
from spst.expressions import (
    TRUE,
    And,
    Choice,
    Complement,
    Expression,
    Not,
    Or,
    Predicate,
    Sentence,
    Sequence,
    SkipAny,
    SkipNext,
    Star,
    without_skips,
)

Table = tuple[NDArray[np.int32], NDArray[np.bool_]]


@dataclass
class Nfa:
    """A nondeterministic automaton under construction; nodes are numbered from 0, the first one is the start.

    `edges`: for every node its (sentence, next node) pairs; `silent`: for every node where it leads without an event.
    """

    max_states: int
    max_symbols: int
    edges: list[list[tuple[Sentence, int]]] = field(default_factory=list)
    silent: list[list[int]] = field(default_factory=list)

    def node(self) -> int:
        """Add a node."""
        self.edges.append([])
        self.silent.append([])
        return len(self.edges) - 1

    def add(self, expression: Expression, before: int) -> int:
        """Add the automaton of an expression behind a node; return the node that ends it."""
        match expression:
            case Sequence(parts):
                for part in parts:
                    before = self.add(part, before)
                return before
            case Choice(parts):
                ends = [self.add(part, self._after(before)) for part in parts]
                return self._after(*ends)
            case Star(part):
                inside = self._after(before)
                end = self.add(part, inside)
                self.silent[end].append(inside)
                return self._after(before, end)
            case Complement(part):
                return self._after(*self._add_complement(part, before))
            case Predicate() | Not() | And() | Or():
                after = self.node()
                self.edges[before].append((expression, after))
                return after
            case SkipAny() | SkipNext():
                return self.add(without_skips(expression), before)

    def _after(self, *nodes: int) -> int:
        after = self.node()
        for node in nodes:
            self.silent[node].append(after)
        return after

    def _add_complement(self, part: Expression, before: int) -> Iterable[int]:
        """Inline the deterministic automaton of `part` over its own minterms; return where it does not accept."""
        inner = Nfa(self.max_states, self.max_symbols)
        end = inner.add(part, inner.node())
        alphabet = alphabet_of(step_sentences(part, self.max_symbols), max_symbols=self.max_symbols)
        transitions, finals = inner.deterministic(end, alphabet, f"!({part})")
        nodes = [self._after(before) if state == 0 else self.node() for state in range(len(finals))]
        minterms = [alphabet.minterm_sentence(symbol) for symbol in range(len(alphabet))]
        for node, row in zip(nodes, transitions.tolist(), strict=True):
            self.edges[node] = [(minterm, nodes[state]) for minterm, state in zip(minterms, row, strict=True)]
        return (node for node, final in zip(nodes, finals, strict=True) if not final)

    def deterministic(self, end: int, alphabet: Alphabet, what: str) -> Table:
        """Subset construction: the reachable sets of nodes, the start's first; complete, not minimised.

        Returns
        -------
        transitions : ndarray of int32, shape (n_states, n_symbols)
        finals : ndarray of bool, shape (n_states,)

        Raises
        ------
        AutomatonError
            There are more than `max_states`; names `what`.
        """
        closures = [self._closure(node) for node in range(len(self.edges))]
        moves = [self._moves(node, closures, alphabet) for node in range(len(self.edges))]
        numbers = {closures[0]: 0}
        rows = []
        for subset in (queue := [closures[0]]):
            row = []
            for target in self._targets(subset, moves, len(alphabet)):
                if target not in numbers:
                    numbers[target] = len(numbers)
                    queue.append(target)
                row.append(numbers[target])
            rows.append(row)
            if len(numbers) > self.max_states:
                raise AutomatonError(
                    f"the automaton of {what} has more than {self.max_states} states over {len(alphabet)} symbols; "
                    "iterations and # followed by several steps multiply states: shorten them, or raise max_states"
                )
        return np.array(rows, np.int32), np.array([bool(subset >> end & 1) for subset in queue])

    def _closure(self, node: int) -> int:
        """The nodes reached without an event, as bits of an integer."""
        seen, todo = {node}, [node]
        while todo:
            new = set(self.silent[todo.pop()]) - seen
            seen |= new
            todo.extend(new)
        return sum(1 << n for n in seen)

    def _moves(self, node: int, closures: list[int], alphabet: Alphabet) -> list[int] | None:
        """For every symbol the nodes that follow a node, as bits; None if nothing ever does."""
        if not self.edges[node]:
            return None
        targets = [0] * len(alphabet)
        column = {s: i for i, s in enumerate(alphabet.sentences)}
        for sentence, after in self.edges[node]:
            enabled = ~alphabet.possible | (True if sentence == TRUE else alphabet.truth[:, column[sentence]])
            for symbol in np.flatnonzero(enabled).tolist():
                targets[symbol] |= closures[after]
        return targets

    @staticmethod
    def _targets(subset: int, moves: list[list[int] | None], n_symbols: int) -> list[int]:
        targets = [0] * n_symbols
        for node, move in enumerate(moves):
            if move and subset >> node & 1:
                targets = [a | b for a, b in zip(targets, move, strict=True)]
        return targets
