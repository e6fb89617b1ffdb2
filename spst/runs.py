"""Where every partition of a stream stands in a model, one symbol at a time.

Owns the event-by-event semantics: the last symbols of a partition, the tree node they lead to, the automaton's state,
and what a reset does. It is the plain counterpart of the fast path in `spst.training`, shared by the forecaster and the
replica. Must not know: events, predicates, forecasts, scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from spst.automaton import Automaton
from spst.tree import Tree

Start = Literal["first", "leaf"]

NOT_STARTED = -1


class Standing(NamedTuple):
    """One partition: its last symbols, most recent first, and its automaton state (None: waits for a leaf)."""

    recent: tuple[int, ...]
    state: int | None


class Runs:
    """The standing of every partition seen since its last reset.

    Parameters
    ----------
    tree, automaton
        The model; a product state is numbered ``node * n_states + state``, as in `spst.waiting`.
    order : int
        Number of symbols a partition remembers.
    start : "first" or "leaf"
        Whether a run starts at a partition's first event, or only where a walk first reaches a leaf of the tree, as the
        reference implementation does (rule 9 of the golden results).
    """

    def __init__(self, tree: Tree, automaton: Automaton, order: int, start: Start = "first") -> None:
        self._order = order
        self._children: list[dict[int, int]] = [{} for _ in range(len(tree))]
        for node, (parent, oldest) in enumerate(zip(tree.parent.tolist(), tree.oldest.tolist(), strict=True)):
            if node:
                self._children[parent][oldest] = node
        self._transitions = automaton.transitions.data
        self._n_states = len(automaton.finals)
        self._fresh = Standing((), 0 if start == "first" else None)
        self._standings: dict[str, Standing] = {}

    def __len__(self) -> int:
        return len(self._standings)

    def step(self, partition: str, symbol: int) -> int:
        """Take one event's symbol; give the product state after it, or NOT_STARTED."""
        recent, state = self._standings.get(partition, self._fresh)
        recent = (symbol, *recent)[: self._order]
        node = 0
        for older in recent:
            child = self._children[node].get(older)
            if child is None:
                break
            node = child
        if state is None and not self._children[node]:
            state = 0
        if state is None:
            self._standings[partition] = Standing(recent, None)
            return NOT_STARTED
        state = self._transitions[state, symbol]
        self._standings[partition] = Standing(recent, state)
        return node * self._n_states + state

    def reset(self, partition: str) -> None:
        """Empty a partition's context and put its automaton back to the start."""
        self._standings.pop(partition, None)

    def items(self) -> Iterator[tuple[str, Standing]]:
        """The partitions that have a standing, in order of appearance."""
        yield from self._standings.items()

    def replace(self, standings: Mapping[str, Standing]) -> None:
        """Put every partition where `standings` says; all others are forgotten."""
        self._standings = {
            name: Standing(standing.recent[: self._order], standing.state) for name, standing in standings.items()
        }
