"""Pictures of scores: every threshold of one model, and the landscape of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from spst.errors import SpstError
from spst.plots.canvas import BLUE, GREEN, GREY, ORANGE, new_figure
from spst.scoring import ThresholdCurve
from spst.sweeps import SweepTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_threshold_curve(curve: ThresholdCurve, threshold: float | None = None) -> Figure:
    """Draw MCC, precision and recall at every threshold, the best one, and the one in use."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    called = curve.tp + curve.fp
    lines: list[tuple[str, npt.NDArray[np.float64], str]] = [
        ("mcc", curve.mcc, BLUE),
        ("precision", curve.tp / called, GREEN),
        ("recall", curve.tp / curve.hits if curve.hits else np.zeros(len(curve.tp)), GREY),
    ]
    for name, values, colour in lines:
        axes.step(
            curve.threshold, values, where="post", label=name, color=colour, linewidth=2 if name == "mcc" else 1.2
        )
    best, best_mcc = curve.best()
    if best is not None and best_mcc is not None:
        axes.plot(best, best_mcc, "o", color=ORANGE, label=f"best: {best:.4g}, mcc {best_mcc:.3f}")
    if threshold is not None:
        axes.axvline(threshold, color=ORANGE, linestyle=":", label=f"in use: {threshold:.4g}")
    axes.set(xlabel="threshold", ylabel="score", ylim=(min(0.0, float(curve.mcc.min(initial=0))) - 0.02, 1.02))
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_sweep(table: SweepTable, names: Sequence[str] | None = None) -> Figure:
    """Draw the landscape of MCC over one or two hyperparameters; over the others the best counts.

    Parameters
    ----------
    table : SweepTable
    names : one or two names, or None
        None: those with the most values.

    Raises
    ------
    SpstError
        The table is empty, or a name is no hyperparameter.
    """
    values = {name: sorted({tried.as_dict()[name] for tried in table.hyperparameters}) for name in _names(table)}
    chosen = list(names or sorted(values, key=lambda name: -len(values[name]))[:2])
    if not set(chosen) <= set(values) or not 1 <= len(chosen) <= 2:
        raise SpstError(f"a landscape needs one or two of {', '.join(values)}, not {', '.join(chosen)}")
    chosen = [name for name in chosen if len(values[name]) > 1] or chosen[:1]
    figure = new_figure(7.5, 5)
    axes = figure.subplots()
    (_draw_line if len(chosen) == 1 else _draw_landscape)(axes, table, chosen, values)
    others = [name for name, each in values.items() if len(each) > 1 and name not in chosen]
    best = table.hyperparameters[table.best].as_dict()
    where = ", ".join(f"{name} {best[name]:g}" for name in [*chosen, *others])
    over = f" (the best over {', '.join(others)})" if others else ""
    axes.set_title(f"mcc{over}: {table.scores[table.best].mcc:.3f} at {where}", fontsize=10)
    return figure


def _names(table: SweepTable) -> list[str]:
    if not len(table):
        raise SpstError("the sweep is empty: there is nothing to draw")
    return list(table.hyperparameters[0].as_dict())


def _draw_line(axes: Axes, table: SweepTable, chosen: Sequence[str], values: dict[str, list[float]]) -> None:
    name = chosen[0]
    best = [
        max(
            score.mcc
            for tried, score in zip(table.hyperparameters, table.scores, strict=True)
            if tried.as_dict()[name] == value
        )
        for value in values[name]
    ]
    axes.plot(range(len(best)), best, "o-", color=BLUE)
    axes.set_xticks(range(len(best)), [f"{value:g}" for value in values[name]])
    axes.set(xlabel=name, ylabel="mcc")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_landscape(axes: Axes, table: SweepTable, chosen: Sequence[str], values: dict[str, list[float]]) -> None:
    down, across = chosen
    best = np.full((len(values[down]), len(values[across])), np.nan)
    for tried, score in zip(table.hyperparameters, table.scores, strict=True):
        row, column = (values[name].index(tried.as_dict()[name]) for name in (down, across))
        best[row, column] = np.fmax(best[row, column], score.mcc)
    image = axes.imshow(best, cmap="viridis", aspect="auto", origin="lower")
    bright = np.nanmin(best) + 0.6 * (np.nanmax(best) - np.nanmin(best))
    for row, column in np.argwhere(np.isfinite(best)).tolist():
        shade = "black" if best[row, column] > bright else "white"
        axes.text(column, row, f"{best[row, column]:.3f}", ha="center", va="center", color=shade, fontsize=8)
    axes.set_xticks(range(len(values[across])), [f"{value:g}" for value in values[across]])
    axes.set_yticks(range(len(values[down])), [f"{value:g}" for value in values[down]])
    axes.set(xlabel=across, ylabel=down)
    axes.figure.colorbar(image, ax=axes, label="mcc")
