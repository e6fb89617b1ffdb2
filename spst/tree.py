"""Prediction suffix trees: how they are learnt from counts, and how contexts find their node in them.

Owns the frozen tree and the learner (Ron, Singer, Tishby 1996 in the variant of Begleiter, El-Yaniv, Yona 2004: missing
children are not added, so inner nodes are states too). Must not know: events, patterns, automata.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise

import numpy as np

from spst.arrays import FloatArray, IntArray, Mask, frozen
from spst.counts import Contexts, Successors
from spst.errors import EventsError, HyperparameterError, SpstError
from spst.hyperparameters import MAX_HORIZON, MAX_ORDER, Hyperparameters

__all__ = ["MAX_HORIZON", "MAX_ORDER", "Hyperparameters", "Tree", "learn"]

SUM_TOLERANCE = 1e-9  # a distribution may miss 1 by this much through rounding


@dataclass(frozen=True, eq=False)
class Tree:
    """A prediction suffix tree; node 0 is the root, nodes are sorted by depth.

    Attributes
    ----------
    parent : int32, shape (n_nodes,)
        Node of the label without its oldest symbol; the root is its own parent.
    oldest : int32, shape (n_nodes,)
        Oldest symbol of each label; -1 for the root.
    distribution : float64, shape (n_nodes, n_symbols)
        Probability of the next symbol; rows sum to 1.
    depth : int32, shape (n_nodes,)
        Length of each label.
    children : int32, shape (n_nodes, n_symbols)
        Node of the label with one older symbol; -1 if missing.
    next_node : int32, shape (n_nodes, n_symbols)
        Deepest node of the context that a symbol makes of a label; what is older than the label is forgotten.

    Raises
    ------
    SpstError
        The arrays are no tree, or a row of `distribution` is no distribution.
    """

    parent: IntArray
    oldest: IntArray
    distribution: FloatArray
    depth: IntArray = field(init=False)
    children: IntArray = field(init=False)
    next_node: IntArray = field(init=False)

    def __post_init__(self) -> None:
        self._check()
        n_nodes, n_symbols = self.distribution.shape
        children = np.full((n_nodes, n_symbols), -1, dtype=np.int32)
        children[self.parent[1:], self.oldest[1:]] = np.arange(1, n_nodes, dtype=np.int32)
        if np.count_nonzero(children >= 0) != n_nodes - 1:
            raise SpstError("two nodes of a tree have the same label")
        depth = self._depths()
        for name, array in (
            ("depth", depth),
            ("children", children),
            ("next_node", _next_nodes(self, depth, children)),
        ):
            object.__setattr__(self, name, array)
        for entry in fields(self):
            frozen(getattr(self, entry.name))

    def _check(self) -> None:
        n_nodes, n_symbols = self.distribution.shape
        if not n_nodes or self.parent.shape != (n_nodes,) or self.oldest.shape != (n_nodes,):
            raise SpstError(f"a tree of {n_nodes} nodes needs as many parents and symbols, at least one")
        if not (
            (self.parent[0], self.oldest[0]) == (0, -1)
            and (self.parent[1:] < np.arange(1, n_nodes)).all()
            and self.parent.min() >= 0
            and (n_nodes == 1 or 0 <= self.oldest[1:].min() <= self.oldest[1:].max() < n_symbols)
        ):
            raise SpstError("a tree's nodes must follow their parents, and its symbols lie in the alphabet")
        if not (self.distribution.min(initial=0) >= 0 and self.distribution.max(initial=0) <= 1 + SUM_TOLERANCE):
            raise SpstError("the next-symbol probabilities of every node must lie in 0..1")
        error = np.abs(self.distribution.sum(axis=1) - 1).max()
        if error > SUM_TOLERANCE:
            raise SpstError(f"the next-symbol probabilities of every node must sum to 1, off by {error}")

    def _depths(self) -> IntArray:
        depth, up = np.zeros(len(self.parent), dtype=np.int32), self.parent
        while up.any():
            depth += up > 0
            if depth.max() >= MAX_ORDER:
                raise SpstError(f"the labels of a tree have at most {MAX_ORDER} symbols")
            up = self.parent[up]
        depth[1:] += 1
        if (np.diff(depth) < 0).any():
            raise SpstError("a tree's nodes must be sorted by depth")
        return depth

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def n_symbols(self) -> int:
        """Size of the alphabet."""
        return int(self.distribution.shape[1])

    @property
    def order(self) -> int:
        """Length of the longest label."""
        return int(self.depth[-1])

    @cached_property
    def leaf(self) -> Mask:
        """bool, shape (n_nodes,): the node has no children."""
        return frozen(np.all(self.children < 0, axis=1))

    @cached_property
    def labels(self) -> tuple[tuple[int, ...], ...]:
        """The label of every node, most recent symbol first."""
        labels: list[tuple[int, ...]] = [()]
        for parent, oldest in zip(self.parent[1:].tolist(), self.oldest[1:].tolist(), strict=True):
            labels.append((*labels[parent], oldest))
        return tuple(labels)

    def nodes_of(self, contexts: Contexts) -> IntArray:
        """Deepest node of every context: the walk from the root along it, most recent symbol first.

        Returns
        -------
        int32, shape (n_contexts,)
        """
        nodes = np.zeros(len(contexts), dtype=np.int32)
        for length in range(1, contexts.order + 1):
            rows = contexts.level(length)
            nodes[rows] = _deeper(
                self.depth, self.children, nodes[contexts.parent[rows]], contexts.oldest[rows], length - 1
            )
        return nodes


def _deeper(depth: IntArray, children: IntArray, nodes: IntArray, older: IntArray, length: int) -> IntArray:
    """One step further down the walk of contexts of which `length` symbols are walked, for those still on their way."""
    below = children[nodes, older]
    return np.where((below >= 0) & (depth[nodes] == length), below, nodes)


def _next_nodes(tree: Tree, depth: IntArray, children: IntArray) -> IntArray:
    """Find the node after every symbol: like the parent's, and one step further where that has full depth."""
    following = np.empty_like(children)
    following[0] = np.maximum(children[0], 0)
    bounds = np.searchsorted(depth, np.arange(1, depth[-1] + 2))
    for length, (first, last) in enumerate(pairwise(bounds), start=1):
        like_parent = following[tree.parent[first:last]]
        following[first:last] = _deeper(depth, children, like_parent, tree.oldest[first:last, None], length)
    return following


def learn(counts: Successors, hyperparameters: Hyperparameters) -> Tree:
    """Learn the tree of some hyperparameters from counts.

    Raises
    ------
    HyperparameterError
        The order is beyond that of the counts, or n_symbols * gamma > 1.
    EventsError
        Nothing was counted.
    """
    contexts, n, gamma = counts.contexts, counts.contexts.n_symbols, hyperparameters.gamma
    if hyperparameters.order > contexts.order:
        raise HyperparameterError(f"order {hyperparameters.order} is more than the {contexts.order} that was prepared")
    if n * gamma > 1:
        raise HyperparameterError(f"gamma must be at most 1/{n} = {1 / n:.6g} with {n} symbols, not {gamma}")
    if not counts.total:
        raise EventsError("there is no event to learn from")
    rows = np.flatnonzero(_in_tree(counts, hyperparameters))
    node_of = np.full(len(contexts), -1, dtype=np.int32)
    node_of[rows] = np.arange(len(rows), dtype=np.int32)
    times = np.zeros((len(rows), n))
    node = node_of[counts.row]
    in_tree = node >= 0
    times[node[in_tree], counts.symbol[in_tree]] = counts.count[in_tree]
    distribution = times / times.sum(axis=1, keepdims=True) * (1 - n * gamma) + gamma
    return Tree(node_of[contexts.parent[rows]], contexts.oldest[rows], distribution)


def _in_tree(counts: Successors, hyperparameters: Hyperparameters) -> Mask:
    """bool, shape (n_contexts up to the order,): the meaningful contexts with all their suffixes."""
    contexts, order, r = counts.contexts, hyperparameters.order, hyperparameters.r
    n_rows = int(contexts.level_start[order + 1])
    n_entries = int(counts.indptr[n_rows])
    probable = counts.probability[:n_rows] >= hyperparameters.p_min
    for length in range(2, order + 1):
        level = contexts.level(length)
        probable[level] &= probable[contexts.parent[level]]
    floor = (1 + hyperparameters.alpha) * hyperparameters.gamma
    ratio = counts.ratio[:n_entries]
    telling = (counts.conditional[:n_entries] >= floor) & ((ratio >= r) | (ratio <= 1 / r))
    meaningful = np.zeros(n_rows, dtype=bool)
    meaningful[counts.row[:n_entries][telling]] = True
    if floor <= 0:  # then a symbol that stopped occurring tells something too: ratio 0, if there are successors at all
        kinds = np.diff(counts.indptr[: n_rows + 1])
        meaningful |= (kinds > 0) & (kinds < kinds[contexts.parent[:n_rows]])
    meaningful &= probable
    meaningful[0] = True
    for length in range(order, 1, -1):
        level = contexts.level(length)
        meaningful[contexts.parent[level][meaningful[level]]] = True
    return meaningful
