"""Liveness fails for what is stuck and for nothing else; readiness follows sources and snapshots."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dataflow import health, metrics
from dataflow.decisions import Assemble, Assembled, Fit, Fitted, Sweep, Swept
from dataflow.errors import ConfigError, FactoryFault
from dataflow.health import Health
from dataflow.messages import DatasetNotice
from dataflow.perform import Performer, Stopwatch
from dataflow.pulse import Pulse, pulse
from dataflow.state import Dataset
from dataflow.storage import LineFiles
from spst import Hyperparameters
from spst.symbols import encode
from spst.tree import learn
from tests.brokers import free_port
from tests.dataflow.workshop import Workshop, make_workshop

STUCK = 10.0
INTERVAL = 5.0
NOW = 1_600_000_000.0
SLOW = 0.6 * STUCK
"""What one small piece of work takes here: two of them without a sign of life are too many."""


class Clock:
    """Goes on when it is told to; what health says is asked right before."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ask: Callable[[], list[str]] = list
        self.told: list[str] = []

    def __call__(self) -> float:
        return self.now

    def slow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that takes long."""

        def slowly(*arguments: Any, **named: Any) -> Any:
            self.now += SLOW
            self.told += self.ask()
            return function(*arguments, **named)

        return slowly


def health_of(store: Path, pulse: Pulse, started: float = 0.0) -> Health:
    return Health(store=store, interval=INTERVAL, stuck=STUCK, started=started, pulse=pulse)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """The clock of this process's pulse, and health by it."""
    clock = Clock()
    monkeypatch.setattr(pulse, "clock", clock)
    clock.ask = health_of(tmp_path, pulse).ailments
    return clock


def test_health_without_a_message_in_hand_is_alive_for_ever(clock: Clock) -> None:
    with pulse.at_work():
        pass
    clock.now += 1e6
    assert clock.ask() == []


def test_health_with_a_stuck_message_is_not_alive(clock: Clock) -> None:
    with pulse.at_work():
        clock.now += STUCK
        assert clock.ask() == []
        clock.now += 2
        assert clock.ask() == ["the message in hand has not got on for 12 s, expected a sign within 10 s"]
        pulse.beat()
        assert clock.ask() == []
        clock.now += STUCK + 1
        assert clock.ask() != []
    assert clock.ask() == []


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


class Work:
    """One line's performer, and a dataset of many buckets."""

    def __init__(self, root: Path) -> None:
        self.workshop: Workshop = make_workshop(root)
        for number in range(10):
            self.workshop.bucket(number)
        self.config = self.workshop.config()
        self.files = LineFiles(self.config.data_root, "k")
        self.files.prepare()

    def do(self, decision: Any) -> Any:
        with pulse.at_work():
            return Performer(self.config).perform(decision, self.files, self.config.line("k"), Stopwatch())

    def assemble(self) -> Dataset:
        notice = self.workshop.notice(buckets=tuple(range(10)))
        assert isinstance(notice, DatasetNotice)
        outcome = self.do(Assemble(notice=notice, held=()))
        assert isinstance(outcome, Assembled)
        return outcome.dataset


POINT = Hyperparameters(order=2, p_min=0.001, gamma=0.001, threshold=0.2, k=3)


def test_health_stays_alive_while_a_slow_volume_takes_a_dataset(
    clock: Clock, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", clock.slow(os.write))
    work.assemble()
    assert clock.now > 5 * STUCK
    assert clock.told == []


def test_health_stays_alive_while_a_large_dataset_is_prepared(
    clock: Clock, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = work.assemble()
    monkeypatch.setattr("spst.training.encode", clock.slow(encode))
    outcome = work.do(
        Fit(model_id=0, dataset=dataset, hyperparameters=POINT, purpose="train", key="k", command_id="c", timestamp=1)
    )
    assert isinstance(outcome, Fitted)
    assert clock.now > 5 * STUCK
    assert clock.told == []


@pytest.mark.parametrize("beyond", [(), (replace(POINT, k=20),)], ids=["whole", "point by point"])
def test_health_stays_alive_during_a_large_sweep(
    beyond: tuple[Hyperparameters, ...], clock: Clock, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = work.assemble()
    monkeypatch.setattr("spst.training.learn", clock.slow(learn))
    grid = tuple(replace(POINT, gamma=0.001 * number) for number in range(1, 11))
    outcome = work.do(Sweep(dataset=dataset, grid=(*grid, *beyond)))
    assert isinstance(outcome, Swept)
    assert [row.metrics is None for row in outcome.rows] == [False] * len(grid) + [True] * len(beyond)
    assert clock.now > 5 * STUCK
    assert clock.told == []


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recovery store written a second ago, at a time that stands still, in a process without brokers."""
    monkeypatch.setattr(health, "time", SimpleNamespace(time=lambda: NOW))
    monkeypatch.setattr(metrics, "connections", dict)
    written(tmp_path / "part-0.sqlite3", 1)
    return tmp_path


def written(path: Path, seconds_ago: float) -> None:
    path.touch()
    os.utime(path, (NOW - seconds_ago,) * 2)


def test_health_is_not_ready_before_the_first_snapshot(store: Path) -> None:
    written(store / "part-0.sqlite3", 60)
    assert health_of(store, Pulse(), started=NOW - 30).obstacles() == ["there has been no snapshot since the start"]


def test_health_is_ready_after_a_snapshot(store: Path) -> None:
    written(store / "part-0.sqlite3", 100 * INTERVAL)
    written(store / "part-0.sqlite3-wal", 0)
    assert health_of(store, Pulse()).obstacles() == []


def test_health_with_an_old_snapshot_is_not_ready(store: Path) -> None:
    written(store / "part-0.sqlite3", 100 * INTERVAL)
    assert health_of(store, Pulse()).obstacles() == ["the last snapshot is 500 s old, expected at most 15 s"]


def test_health_is_ready_again_after_the_clock_was_set_back(store: Path) -> None:
    written(store / "part-0.sqlite3", -3600)
    assert health_of(store, Pulse()).obstacles() == []


def test_health_is_not_ready_while_a_source_has_no_broker(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"commands/0": True, "commands/1": False, "datasets/0": True, "model_reports/0": False, "admin": False}
    monkeypatch.setattr(metrics, "connections", lambda: there)
    assert health_of(store, Pulse()).obstacles() == ["source commands/1 reaches no broker"]


ENVIRONMENT = {"BYTEWAX_RECOVERY_DIRECTORY": "store", "BYTEWAX_SNAPSHOT_INTERVAL": "5"}


def asked(port: int, path: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, msgspec.json.decode(body) if answer.headers["Content-Type"] == "application/json" else ""
    finally:
        connection.close()


def test_health_answers_on_its_port(store: Path, clock: Clock) -> None:
    port = free_port()
    server = health.serve(
        {
            "FACTORY_HEALTH_PORT": str(port),
            "FACTORY_HEALTH_STUCK_SECONDS": str(STUCK),
            "BYTEWAX_RECOVERY_DIRECTORY": str(store),
            "BYTEWAX_SNAPSHOT_INTERVAL": "3600",
        }
    )
    assert server is not None
    try:
        assert asked(port, "/ready")[0] == 503
        written(store / "part-0.sqlite3-wal", -1)
        assert asked(port, "/ready") == (200, {"ok": True, "problems": []})
        assert asked(port, "/live") == (200, {"ok": True, "problems": []})
        assert asked(port, "/metrics") == (404, "")
        with pulse.at_work():
            clock.now += 2 * STUCK
            status, said = asked(port, "/live")
        assert (status, said["ok"], len(said["problems"])) == (503, False, 1)
    finally:
        server.shutdown()
        server.server_close()


def test_health_without_a_port_answers_nobody() -> None:
    assert health.serve(ENVIRONMENT) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"FACTORY_HEALTH_PORT": "http"}, "FACTORY_HEALTH_PORT: expected a number above 0, came 'http'"),
        ({"FACTORY_HEALTH_STUCK_SECONDS": "0"}, "FACTORY_HEALTH_STUCK_SECONDS: expected a number above 0, came '0'"),
        (
            {"BYTEWAX_SNAPSHOT_INTERVAL": ""},
            "FACTORY_HEALTH_PORT is set, so BYTEWAX_SNAPSHOT_INTERVAL must be too: readiness depends on it",
        ),
        (
            {"BYTEWAX_RECOVERY_DIRECTORY": ""},
            "FACTORY_HEALTH_PORT is set, so BYTEWAX_RECOVERY_DIRECTORY must be too: readiness depends on it",
        ),
    ],
)
def test_health_refuses_an_environment_that_it_cannot_use(change: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        health.serve(ENVIRONMENT | {"FACTORY_HEALTH_PORT": "8081"} | change)
    assert str(caught.value) == text


def test_health_refuses_a_port_that_is_taken() -> None:
    port = str(free_port())
    server = health.serve(ENVIRONMENT | {"FACTORY_HEALTH_PORT": port})
    assert server is not None
    try:
        with pytest.raises(FactoryFault, match=f"^FACTORY_HEALTH_PORT: port {port} cannot be had: "):
            health.serve(ENVIRONMENT | {"FACTORY_HEALTH_PORT": port})
    finally:
        server.shutdown()
        server.server_close()


def test_connections_are_those_that_metrics_show() -> None:
    metrics.broker_connected("commands/17", True)
    metrics.broker_connected("datasets/17", False)
    shown = metrics.connections()
    assert (shown["commands/17"], shown["datasets/17"]) == (True, False)
