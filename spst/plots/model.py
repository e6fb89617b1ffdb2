"""Pictures of a model: its tree, its automaton, what it expects after some symbols."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spst.alphabet import Alphabet
from spst.automaton import Automaton
from spst.errors import SpstError
from spst.forecaster import intervals_of
from spst.model import Model
from spst.plots.canvas import BLUE, GREY, ORANGE, new_figure
from spst.runs import Runs
from spst.waiting import waiting_times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_DRAWN_STATES = 9  # more circles than this are a tangle; a matrix is drawn then


def symbol_names(alphabet: Alphabet, width: int = 48) -> list[str]:
    """Name every symbol by what is true under it, cut to some characters."""
    names = []
    for symbol, truth in enumerate(alphabet.truth.tolist()):
        true = [_short(str(s)) for s, holds in zip(alphabet.sentences, truth, strict=True) if holds]
        text = f"{symbol}: {' & '.join(true) or 'nothing'}"
        names.append(text if len(text) <= width else text[: width - 1] + "…")
    return names


def _short(sentence: str) -> str:
    return re.sub(r"\.0(?=[,)])", "", sentence).replace("Predicate(", "(")


def plot_tree(model: Model, *, max_nodes: int = 40) -> Figure:
    """Draw the contexts as an indented tree, and beside each the probabilities of the next symbol.

    Parameters
    ----------
    model : Model
    max_nodes : int
        Contexts drawn; the shallowest come first, so that every context drawn has its shorter ones drawn too.
    """
    tree = model.tree
    rows = _preorder(tree.parent[:max_nodes].tolist())
    figure = new_figure(4.5 + 0.28 * tree.n_symbols, 2.8 + 0.22 * len(rows))
    left, right = figure.subplots(1, 2, width_ratios=(3.2, 0.28 * tree.n_symbols + 0.6))
    _draw_contexts(left, tree.labels, rows, tree.parent.tolist())
    drawn = tree.distribution[rows]
    image = right.imshow(drawn, aspect="auto", cmap="Blues", vmin=0, vmax=1)
    right.set_xticks(range(tree.n_symbols), symbol_names(model.alphabet), rotation=90, fontsize=7)
    right.set_yticks([])
    right.set_title("next symbol", fontsize=9)
    figure.colorbar(image, ax=right, label="probability", fraction=0.06)
    some = "" if len(rows) == len(tree) else f"{len(rows)} of "
    figure.suptitle(f"{some}{len(tree)} contexts, order {model.hyperparameters.order}", fontsize=11)
    return figure


def _preorder(parents: Sequence[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(parents):
        if node:
            children.setdefault(parent, []).append(node)
    rows, left = [], [0]
    while left:
        node = left.pop()
        rows.append(node)
        left += reversed(children.get(node, []))
    return rows


def _draw_contexts(axes: Axes, labels: Sequence[tuple[int, ...]], rows: Sequence[int], parents: Sequence[int]) -> None:
    place = {node: row for row, node in enumerate(rows)}
    for node, row in place.items():
        depth, label = len(labels[node]), labels[node]
        if node:
            x, top = depth - 0.7, place[parents[node]]
            axes.plot([x, x, depth - 0.1], [top + 0.3, row, row], color=GREY, linewidth=0.8)
        text = " ".join(map(str, reversed(label))) or "any context"
        axes.text(depth, row, text, va="center", fontsize=8, color=BLUE if depth else "black")
    axes.set_xlim(-0.3, max(len(labels[node]) for node in rows) + 1.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title("context, oldest symbol first", fontsize=9)
    axes.set_axis_off()


def plot_automaton(model: Model) -> Figure:
    """Draw the automaton: circles and arrows, or a matrix of symbol counts where there are too many states."""
    automaton = model.automaton
    names = symbol_names(model.alphabet)
    if len(automaton.finals) > MAX_DRAWN_STATES:
        return _automaton_matrix(automaton)
    figure = new_figure(11, 6)
    axes, key = figure.subplots(1, 2, width_ratios=(2.2, 1))
    places = _circle(len(automaton.finals))
    for (source, target), symbols in edges_of(automaton).items():
        _draw_edge(axes, places, source, target, _ranges(symbols))
    for state, (x, y) in enumerate(places):
        final = bool(automaton.finals[state])
        axes.plot(x, y, "o", markersize=30, color=ORANGE if final else BLUE, zorder=3)
        axes.plot(x, y, "o", markersize=24, fillstyle="none", color="white", zorder=4, visible=final)
        axes.text(x, y, str(state), ha="center", va="center", color="white", zorder=5, fontweight="bold")
    x, y = places[0]
    axes.annotate("start", (x - 0.1, y - 0.1), (x - 0.45, y - 0.45), arrowprops={"arrowstyle": "->"}, fontsize=9)
    axes.set(xlim=(-2.2, 2.2), ylim=(-1.5, 1.5), aspect="equal")
    axes.set_axis_off()
    key.set_axis_off()
    key.text(0, 1, "\n".join(names), va="top", fontsize=7, family="monospace", transform=key.transAxes)
    key.set_title("symbols", loc="left", fontsize=9)
    figure.suptitle("a detection is a step into an orange state", fontsize=11)
    return figure


def edges_of(automaton: Automaton) -> dict[tuple[int, int], list[int]]:
    """Collect the symbols that lead from one state to another, for every pair that some do."""
    edges: dict[tuple[int, int], list[int]] = {}
    for source, targets in enumerate(automaton.transitions.tolist()):
        for symbol, target in enumerate(targets):
            edges.setdefault((source, target), []).append(symbol)
    return edges


def _circle(n: int) -> list[tuple[float, float]]:
    """Places of n states, the start on the left, clockwise."""
    angles = [math.pi - 2 * math.pi * place / n for place in range(n)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def _draw_edge(axes: Axes, places: Sequence[tuple[float, float]], source: int, target: int, text: str) -> None:
    from matplotlib.patches import FancyArrowPatch

    (x, y), (u, v) = places[source], places[target]
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 12, "color": GREY, "linewidth": 1.1}
    if source == target:  # a loop stands outside the circle of states
        ends = [(1.1 * x - side * 0.11 * y, 1.1 * y + side * 0.11 * x) for side in (1, -1)]
        axes.add_patch(FancyArrowPatch(*ends, connectionstyle="arc3,rad=-1.6", shrinkA=0, shrinkB=0, **style))
        beside = "right" if x < -0.1 else "left" if x > 0.1 else "center"
        axes.text(1.34 * x, 1.34 * y, text, ha=beside, va="center", fontsize=7)
        return
    axes.add_patch(FancyArrowPatch((x, y), (u, v), connectionstyle="arc3,rad=0.18", shrinkA=17, shrinkB=17, **style))
    bend = 0.13  # the middle of the arc lies to the right of the straight line
    middle = ((x + u) / 2 + bend * (v - y), (y + v) / 2 - bend * (u - x))
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    axes.text(*middle, text, ha="center", va="center", fontsize=7, bbox=box)


def _ranges(symbols: Sequence[int]) -> str:
    """Write ascending numbers shortly: 1, 3-5."""
    runs: list[list[int]] = []
    for symbol in symbols:
        if runs and symbol == runs[-1][-1] + 1:
            runs[-1].append(symbol)
        else:
            runs.append([symbol])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _automaton_matrix(automaton: Automaton) -> Figure:
    n_states = len(automaton.finals)
    counts = np.zeros((n_states, n_states))
    for (source, target), symbols in edges_of(automaton).items():
        counts[source, target] = len(symbols)
    figure = new_figure(7, 6)
    axes = figure.subplots()
    image = axes.imshow(counts, cmap="Blues")
    figure.colorbar(image, ax=axes, label="symbols that lead there")
    finals = ", ".join(map(str, np.flatnonzero(automaton.finals).tolist()))
    axes.set(xlabel="to state", ylabel="from state", title=f"{n_states} states; detections: {finals}")
    return figure


def plot_waiting(
    model: Model,
    after: Sequence[int] = (),
    *,
    method: str = "next_k",
    horizon: int | None = None,
    **parameters: Any,
) -> Figure:
    """Draw when the next detection is expected after some symbols, and the interval that a method forecasts.

    Parameters
    ----------
    after : sequence of int
        Symbols of the partition so far, oldest first.
    method, **parameters
        As of `Forecaster`.
    horizon : int or None
        Steps drawn and searched; twice the model's k if None.
    """
    horizon = horizon or 2 * model.hyperparameters.k
    state = _state_after(model, after)
    waiting = waiting_times(model.tree, model.automaton, horizon)[state]
    intervals = intervals_of(model, method, horizon, parameters)
    start, end = int(intervals.start[state]), int(intervals.end[state])
    positive, mass = bool(intervals.positive[state]), float(intervals.probability[state])
    figure = new_figure(8, 4)
    axes = figure.subplots()
    steps = np.arange(1, horizon + 1)
    inside = (steps >= start) & (steps <= end)
    axes.bar(steps, waiting, color=np.where(inside, ORANGE if positive else BLUE, GREY).tolist())
    if end:
        axes.axvspan(start - 0.5, end + 0.5, color=ORANGE if positive else BLUE, alpha=0.12, zorder=0)
    says = (
        f"[{start}, {end}] with probability {mass:.3g}: {'positive' if positive else 'negative'}"
        if end
        else "no interval"
    )
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.set(xlabel="events from now", ylabel="probability of the next detection", xlim=(0.4, horizon + 0.6))
    axes.set_title(f"{method}: {says}", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def _state_after(model: Model, after: Sequence[int]) -> int:
    runs = Runs(model.tree, model.automaton, model.hyperparameters.order)
    state = 0
    for symbol in after:
        if not 0 <= symbol < len(model.alphabet):
            raise SpstError(f"symbols are numbers from 0 to {len(model.alphabet) - 1}, not {symbol}")
        state = runs.step("", symbol)
    return state
