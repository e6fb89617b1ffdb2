"""Pictures draw the right data."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

import spst
from spst.cli.main import main
from spst.errors import HyperparameterError, SpstError
from spst.plots import plot_automaton, plot_sweep, plot_threshold_curve, plot_tree, plot_waiting, symbol_names
from spst.plots.canvas import GREY
from spst.plots.model import edges_of
from spst.waiting import waiting_times
from tests import golden_cases

MODEL = golden_cases.model("partition_order3")
ROOT = Path(__file__).parents[2]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_symbols_are_named_by_what_is_true() -> None:
    names = symbol_names(golden_cases.model("glucose_onset_order1").alphabet)
    assert names[0] == "0: nothing"
    assert names[1] == "1: LT(glucose,70)"
    assert "6: BT(glucose,80,100) & GTE(glucose,70)" in names
    assert all(len(name) <= 20 for name in symbol_names(golden_cases.model("glucose_onset_order1").alphabet, width=20))


@pytest.mark.parametrize(("max_nodes", "title"), [(500, "104 contexts, order 3"), (12, "12 of 104 contexts, order 3")])
def test_tree_shows_every_context_with_its_distribution(max_nodes: int, title: str) -> None:
    figure = plot_tree(MODEL, max_nodes=max_nodes)
    contexts, heat = figure.axes[:2]
    shown = ["" if text == "any context" else text for text in texts(contexts)]
    labels = {" ".join(map(str, reversed(label))): node for node, label in enumerate(MODEL.tree.labels)}
    nodes = [labels[text] for text in shown]
    assert sorted(nodes) == list(range(min(max_nodes, 104)))
    assert all(MODEL.tree.parent[node] in nodes for node in nodes)
    assert np.array_equal(np.asarray(heat.images[0].get_array()), MODEL.tree.distribution[nodes])
    assert [tick.get_text() for tick in heat.get_xticklabels()] == symbol_names(MODEL.alphabet)
    assert figure.get_suptitle() == title


def test_tree_of_the_root_alone_can_be_drawn() -> None:
    assert texts(plot_tree(golden_cases.model("order_zero")).axes[0]) == ["any context"]


@pytest.mark.parametrize("name", ["partition_order3", "negation_not_ending", "skip_till_next"])
def test_edges_are_the_transitions(name: str) -> None:
    automaton = golden_cases.model(name).automaton
    pairs = {
        (source, symbol): target for (source, target), symbols in edges_of(automaton).items() for symbol in symbols
    }
    assert pairs == {place: int(target) for place, target in np.ndenumerate(automaton.transitions)}


def test_automaton_shows_states_and_edges() -> None:
    axes, key = plot_automaton(MODEL).axes
    edges = edges_of(MODEL.automaton)
    assert len(axes.patches) == len(edges)
    assert [text for text in texts(axes) if text.isdigit()][-5:] == ["0", "1", "2", "3", "4"]
    rings = [line for line in axes.lines if line.get_fillstyle() == "none"]
    assert [line.get_visible() for line in rings] == MODEL.automaton.finals.tolist()
    assert texts(key) == ["\n".join(symbol_names(MODEL.alphabet))]


def test_large_automaton_is_a_matrix_of_symbol_counts() -> None:
    model = golden_cases.model("skip_till_next")
    axes = plot_automaton(model).axes[0]
    counts = np.asarray(axes.images[0].get_array())
    assert counts.sum() == model.automaton.transitions.size
    assert all(counts[pair] == len(symbols) for pair, symbols in edges_of(model.automaton).items())
    assert axes.get_title().startswith("36 states; detections: ")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("next_k", {"k": 4}),
        ("smallest", {"max_spread": 3, "threshold": 0.05}),
        ("argmax", {"max_spread": 0, "threshold": 1.0}),
    ],
)
def test_waiting_shows_the_distribution_and_the_forecast(method: str, parameters: dict[str, Any]) -> None:
    horizon = 9
    axes = plot_waiting(MODEL, (4, 1, 0), method=method, horizon=horizon, **parameters).axes[0]
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.containers[0]]
    forecaster = MODEL.forecaster(method, horizon=horizon, **parameters)
    runs = forecaster._runs
    state = [runs.step("", symbol) for symbol in (4, 1, 0)][-1]
    waiting = waiting_times(MODEL.tree, MODEL.automaton, horizon)[state]
    assert [x for x, _ in bars] == pytest.approx(range(1, horizon + 1))
    assert [height for _, height in bars] == pytest.approx(waiting.tolist())
    forecast = forecaster._forecast(state)
    coloured = [step for step, bar in enumerate(axes.containers[0], start=1) if bar.get_facecolor() != to_rgba(GREY)]
    assert coloured == (list(range(forecast.start, forecast.end + 1)) if forecast.end else [])
    assert ("positive" in axes.get_title()) == forecast.positive
    assert (f"[{forecast.start}, {forecast.end}]" in axes.get_title()) == (forecast.end > 0)


def test_waiting_refuses_what_is_no_symbol_or_parameter() -> None:
    with pytest.raises(SpstError, match="from 0 to 4"):
        plot_waiting(MODEL, (5,))
    with pytest.raises(HyperparameterError, match="spread"):
        plot_waiting(MODEL, method="fixed_spread")


def test_threshold_curve_shows_scores_and_the_best() -> None:
    curve = golden_cases.training_set("partition_order3").threshold_curve(MODEL)
    axes = plot_threshold_curve(curve, 0.2).axes[0]
    lines = {str(line.get_label()).split(":")[0]: line for line in axes.lines}
    for name, values in (
        ("mcc", curve.mcc),
        ("precision", curve.tp / (curve.tp + curve.fp)),
        ("recall", curve.tp / curve.hits),
    ):
        assert np.array_equal(lines[name].get_xdata(), curve.threshold)
        assert np.array_equal(lines[name].get_ydata(), values)
        assert lines[name].get_drawstyle() == "steps-post"  # thresholds fall, and count from themselves downwards
    assert np.asarray(lines["best"].get_xydata()).tolist() == [list(curve.best())]
    assert np.asarray(lines["in use"].get_xdata()).tolist() == [0.2, 0.2]


def test_threshold_curve_without_a_detection_can_be_drawn() -> None:
    pattern = spst.parse_pattern(";(GT(x,1),GT(x,2)){order:1}")
    prepared = spst.TrainingSet.prepare(spst.Events.from_columns({"x": [0.0, 0.5, 0.2]}), pattern, order=1, k_max=1)
    model = prepared.fit(spst.Hyperparameters(order=1, p_min=0, gamma=0, threshold=0.5, k=1))
    assert plot_threshold_curve(prepared.threshold_curve(model)).axes[0].lines


def sweep() -> spst.SweepTable:
    grid: dict[str, list[float] | float] = {
        "order": [0, 1, 2, 3],
        "p_min": [0.001, 0.1],
        "gamma": 0.001,
        "threshold": [0.1, 0.2, 0.3],
        "k": 5,
    }
    return golden_cases.training_set("partition_order3").sweep(grid)


def best(table: spst.SweepTable, **fixed: float) -> float:
    return max(row["mcc"] or 0.0 for row in table.rows() if fixed.items() <= row.items())


def test_sweep_shows_the_best_of_every_pair() -> None:
    table = sweep()
    axes = plot_sweep(table).axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("order", "threshold")
    shown = np.asarray(axes.images[0].get_array())
    for (row, column), value in np.ndenumerate(shown):
        assert value == best(table, order=row, threshold=(0.1, 0.2, 0.3)[column])
    assert "best over p_min" in axes.get_title()
    assert f"{best(table):.3f} at order" in axes.get_title()


def test_sweep_over_one_name_is_a_line() -> None:
    table = sweep()
    axes = plot_sweep(table, ["p_min"]).axes[0]
    assert axes.lines[0].get_ydata() == pytest.approx([best(table, p_min=0.001), best(table, p_min=0.1)])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.001", "0.1"]


@pytest.mark.parametrize("names", [["speed"], ["order", "k", "p_min"], []])
def test_sweep_refuses_other_names(names: list[str]) -> None:
    if names:
        with pytest.raises(SpstError, match="one or two of order, p_min"):
            plot_sweep(sweep(), names)
    else:
        with pytest.raises(SpstError, match="empty"):
            plot_sweep(spst.SweepTable((), ()))


def test_nothing_imports_matplotlib_before_drawing() -> None:
    program = "import sys, spst, spst.plots, spst.cli.main; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SpstError, match=r"rtcef-model-factory\[plots\]"):
        plot_tree(MODEL)


def test_command_draws_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = golden_cases.case("partition_order3")
    model, table = tmp_path / "m.spst", tmp_path / "sweep.json"
    MODEL.save(model)
    table.write_text(json.dumps({"rows": sweep().rows()}))
    learning = [
        "--pattern",
        golden.meta["pattern"],
        "--declarations",
        golden.meta["declarations"],
        "--events",
        str(golden.data),
    ]
    for kind, options in {
        "tree": ["--model", model],
        "automaton": ["--model", model],
        "waiting": ["--model", model, "--after", "0,1", "--method", "smallest", "--max-spread", "2"],
        "threshold": learning,
        "sweep": ["--table", table, "--over", "order"],
    }.items():
        target = tmp_path / f"{kind}.png"
        assert main(["plot", kind, *map(str, options), "--output", str(target)]) == 0
        assert target.read_bytes().startswith(b"\x89PNG")
        assert capsys.readouterr().out == f"{target}\n"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["tree", "--model", "MODEL", "--output", "tree.nosuch"], "nosuch"),
        (["waiting", "--model", "MODEL", "--after", "a,b", "--output", "x.png"], "--after takes numbers"),
        (["sweep", "--table", "MODEL", "--output", "x.png"], "sweep --json"),
    ],
)
def test_command_refuses_clearly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    MODEL.save(tmp_path / "m.spst")
    assert main(["plot", *[str(tmp_path / "m.spst") if option == "MODEL" else option for option in options]]) == 1
    assert problem in capsys.readouterr().err


def test_ranges_of_symbols_are_written_shortly() -> None:
    axes = plot_automaton(golden_cases.model("glucose_onset_order1")).axes[0]
    shown = [text for text in texts(axes) if "-" in text]
    assert shown
    for text in shown:
        numbers = [int(number) for part in text.split(", ") for number in part.split("-")]
        assert all(one < other for one, other in pairwise(numbers))
