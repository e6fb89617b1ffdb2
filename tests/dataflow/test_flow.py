"""The wired flow over Bytewax itself: what goes in, what comes out, and what a resume changes: nothing."""

from __future__ import annotations

import ast
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main

from dataflow import flow, logs, shutdown
from dataflow.connectors import OUTPUTS, Connectors
from dataflow.flow import FLOW_ID, build
from dataflow.journal import NAME, read_journal
from dataflow.messages import COMMANDS, DATASETS, Position, Raw
from tests.dataflow.workshop import Workshop, make_workshop

PROJECT = Path(__file__).parents[2]
STEP = {"params": [0.01, 0.001]}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path / "root")


def connectors(inputs: dict[str, list[Any]], heard: dict[str, list[Any]]) -> Connectors:
    """Return Bytewax's testing ends: they are of other kinds than a connector's, and do the same."""
    sources = {stream: cast(Any, TestingSource(items)) for stream, items in inputs.items()}
    sinks = {topic: cast(Any, TestingSink(items)) for topic, items in heard.items()}
    return Connectors(sources[COMMANDS], sources[DATASETS], sinks)


class Ends:
    """Two scripted inputs and what came out, over any number of runs of the flow.

    Parameters
    ----------
    workshop : Workshop
        The data root.
    store : Path
        The recovery store.
    """

    def __init__(self, workshop: Workshop, store: Path) -> None:
        self._workshop, self._store = workshop, store
        self._offsets = {COMMANDS: 0, DATASETS: 0}
        self._inputs: dict[str, list[Any]] = {COMMANDS: [], DATASETS: []}
        self.heard: dict[str, list[tuple[str, tuple[str, bytes]]]] = {topic: [] for topic in OUTPUTS}
        store.mkdir()
        init_db_dir(store, 1)

    def command(self, kind: str, params: Any = None, **fields: Any) -> None:
        number = self._offsets[COMMANDS]
        self.say(COMMANDS, {"type": kind, "id": number, "timestamp": 7, "params": params, **fields})

    def notice(self, version: int, *buckets: int, **fields: Any) -> None:
        self.say(DATASETS, {"path_prefix": "b_", "buckets_range": buckets, "version": version, **fields})

    def say(self, stream: str, fields: dict[str, Any] | bytes) -> None:
        value = fields if isinstance(fields, bytes) else msgspec.json.encode({"key": "k"} | fields)
        self._inputs[stream].append(Raw(Position(stream, "0", self._offsets[stream]), value, origin=f"{stream}:1"))
        self._offsets[stream] += 1

    def crash(self) -> None:
        """Let the next run end here without a snapshot."""
        self._inputs[COMMANDS].append(TestingSource.ABORT())

    def run(self) -> None:
        """Run the flow on what was said since, from its snapshots."""
        for items in self._inputs.values():
            items.append(TestingSource.EOF())
        wired = build(self._workshop.config(), connectors(self._inputs, self.heard))
        run_main(wired, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(self._store))

    def said(self, topic: str) -> list[dict[str, Any]]:
        """Return what a topic's sink was given, each once and in order; it gets the identity beside the line."""
        lines: dict[str, bytes] = {}
        for routed_by, (source_id, line) in self.heard[topic]:
            assert routed_by == source_id
            assert lines.setdefault(source_id, line) == line, "what is said again is the same"
        return [msgspec.json.decode(line) for line in lines.values()]


@pytest.fixture
def ends(workshop: Workshop, tmp_path: Path) -> Ends:
    return Ends(workshop, tmp_path / "store")


def test_names_are_frozen(workshop: Workshop) -> None:
    """Bytewax finds the state of a step by these names; a new one loses it silently."""
    connectors = Connectors(
        cast(Any, TestingSource([])),
        cast(Any, TestingSource([])),
        cast(Any, {name: TestingSink([]) for name in OUTPUTS}),
    )
    wired = build(workshop.config(), connectors)
    assert (wired.flow_id, FLOW_ID) == ("model_factory", "model_factory")
    assert [step.step_id.removeprefix("model_factory.") for step in wired.substeps] == [
        "commands",
        "datasets",
        "inputs",
        "decode",
        "readable",
        "line",
        "factory",
        "flatten",
        "unreadable",
        "emitted",
        "reports",
        "reports_sink",
        "models",
        "models_sink",
        "acks",
        "acks_sink",
        "dead_letters",
        "dead_letters_sink",
    ]


def test_every_handler_answers_on_its_topic(ends: Ends) -> None:
    ends.notice(3, 0, 1)
    ends.run()
    ends.command("train")
    ends.command("opt_initialise")
    ends.command("opt_step", STEP)
    ends.command("opt_sweep", {"params": [STEP["params"]]})
    ends.command("opt_finalise", best_i=0)
    ends.command("opt_initialise", timestamp=8)
    ends.command("opt_abort", timestamp=8)
    ends.command("guess")
    ends.run()
    assert [(ack["version"], ack["rows"]) for ack in ends.said("acks")] == [(3, 200)]
    assert [(report["reply_id"], report["status"]) for report in ends.said("reports")] == [
        *[(0, "success"), (2, "success"), (3, "success"), (4, "success"), (6, "success")],
        (7, "error"),
    ]
    assert [(model["id"], model["creation_method"]) for model in ends.said("models")] == [
        (1, "retrain"),
        (3, "optimisation"),
    ]
    assert all(Path(model["path"]).is_file() for model in ends.said("models"))
    assert ends.said("dead_letters") == []


def test_session_goes_on_where_the_flow_was_stopped(ends: Ends) -> None:
    ends.notice(0, 0, 1)
    ends.run()
    ends.command("opt_initialise")
    ends.command("opt_step", STEP)
    ends.run()
    ends.notice(1, 1, 2)  # while the flow was down, too
    ends.run()
    ends.command("opt_step", {"params": [0.001, 0.001]})
    ends.command("opt_finalise", best_i=1)
    ends.run()
    assert [(report["reply_id"], report["dataset_version"]) for report in ends.said("reports")] == [
        (1, 0),
        (2, 0),
        (3, 0),
    ]
    assert [len(heard) for heard in ends.heard.values()] == [3, 1, 2, 0], "nothing was said again"


def test_flow_that_crashed_in_a_session_goes_on_and_decides_nothing_anew(ends: Ends, workshop: Workshop) -> None:
    ends.notice(0, 0, 1)
    ends.run()
    ends.command("opt_initialise")
    ends.command("opt_step", STEP)
    ends.crash()
    ends.command("opt_finalise", best_i=0)
    ends.run()
    entries = read_journal(workshop.root / "lines" / "k" / NAME, "k").entries
    ends.run()
    assert [report["reply_id"] for report in ends.said("reports")] == [1, 2]
    assert read_journal(workshop.root / "lines" / "k" / NAME, "k").entries[: len(entries)] == entries
    assert [entry.message for entry in entries] == ["dataset", "opt_initialise", "opt_step"]


def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_flow_goes_on(ends: Ends) -> None:
    for value in (b"{", b"\xff", b"[]", b'{"type":"train"}', b'{"type":"train","id":1,"key":"../x"}'):
        ends.say(COMMANDS, value)
    ends.say(DATASETS, {"buckets_range": [1], "version": 1})
    ends.notice(0, 9)
    ends.notice(1, 0)
    ends.run()
    letters = {letter["source_id"]: letter for letter in ends.said("dead_letters")}
    assert letters.keys() == {*(f"@commands/0/{offset}" for offset in range(5)), "@datasets/0/0", "k/1/0"}
    assert letters["@commands/0/0"]["origin"] == "commands:1"
    assert letters["k/1/0"]["error_code"] == "missing_bucket"
    assert [ack["version"] for ack in ends.said("acks")] == [1]


def test_what_cannot_be_read_is_logged_as_what_can(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    ends.say(COMMANDS, b'{"type":"train"}')
    ends.command("train")
    with caplog.at_level(logging.INFO, "dataflow"):
        ends.run()
    (unreadable, train) = [record.__dict__["fields"] for record in caplog.records if record.msg == "handled"]
    assert (unreadable["message"], unreadable["position"]["offset"]) == ("unreadable", 0)
    assert unreadable["reason"].startswith("id: expected")
    assert (train["message"], train["error_code"]) == ("train", "no_dataset")


def test_lines_are_kept_apart_by_key(ends: Ends) -> None:
    for key in ("a", "b"):
        ends.notice(0, 0, 1, key=key)
    ends.run()
    for key in ("a", "b", "c"):
        ends.command("train", key=key)
    ends.run()
    assert {(report["key"], report["status"]) for report in ends.said("reports")} == {
        ("a", "success"),
        ("b", "success"),
        ("c", "error"),
    }
    assert {(model["key"], model["id"]) for model in ends.said("models")} == {("a", 1), ("b", 1)}


SHELL = ["disk", "trust", "buckets", "rows", "assembly", "storage", "journal", "prepared", "perform", "lines", "flow"]
"""The impure rooms behind the pure core; none imports one that stands behind it."""


def imported(module: str) -> set[str]:
    """Return what a module of the factory imports, wherever in it; a command line at its end is no part of it."""
    tree = ast.parse((PROJECT / "dataflow" / f"{module}.py").read_text())
    tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
    return names


def test_imports_of_the_shell_point_one_way() -> None:
    for place, module in enumerate(SHELL):
        behind = {f"dataflow.{other}" for other in SHELL[place:]}
        behind |= set() if module == "flow" else {"dataflow.connectors"}
        assert not imported(module) & behind, f"{module} imports {imported(module) & behind}"


@pytest.mark.parametrize("module", SHELL[:-1])
def test_shell_knows_no_stream_processor(module: str) -> None:
    assert not {name for name in imported(module) if name.startswith("bytewax")}


def test_importing_the_flow_builds_nothing() -> None:
    program = "import dataflow.flow as flow; print('flow' in vars(flow))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with pytest.raises(AttributeError):
        _ = flow.other


@pytest.mark.parametrize(("setting", "told"), [("data_rot = 'x'", "data_rot"), ("predicates = ['no_such']", "no_such")])
def test_runner_is_told_in_one_line_what_is_wrong(tmp_path: Path, setting: str, told: str) -> None:
    (tmp_path / "factory.toml").write_text(f"{setting}\n")
    environment = os.environ | {"FACTORY_CONFIG": str(tmp_path / "factory.toml")}
    command = [sys.executable, "-m", "bytewax.run", "dataflow.flow:flow"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode != 0
    assert (msgspec.json.decode(line)["fault"], told in line) == ("ConfigError", True)


def test_flow_is_a_dataflow(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "install", lambda *, alone: None)
    monkeypatch.setattr(logs, "configure", lambda level: None)
    workshop.config()
    monkeypatch.setenv("FACTORY_CONFIG", str(workshop.root / "factory.toml"))
    assert isinstance(flow.flow, Dataflow)
    assert (workshop.root / "topics").is_dir()
