"""Who must be restarted: not a factory whose broker is away for long, but one whose step hangs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.brokers import NoidaDb
from tests.dataflow.workshop import HEADER, rows
from tests.e2e.factory import DEADLINE, Factory
from tests.e2e.neighbours import FileTopics
from tests.e2e.probes import LOOK_SECONDS, Probes
from tests.e2e.test_kafka import run_over

STUCK = 0.5
OUTAGE = 10 * STUCK
"""Time-scaled: with the 300 s of a deployment, this would be an outage of fifty minutes."""


def test_long_broker_outage_is_no_reason_to_restart(own_noida: NoidaDb, root: Path, tmp_path: Path) -> None:
    probes = Probes(tmp_path / "recovery", STUCK)
    environment = {"FACTORY_BROKERS": own_noida.address, **probes.environment}
    with run_over(own_noida, root, tmp_path, environment) as run:
        run.factory.start()
        run.play(until=run.is_finished)
        probes.await_status("/ready", 200)
        own_noida.stop(signal.SIGTERM)  # killed, it would forget its newest messages
        over = time.monotonic() + OUTAGE

        def is_alive() -> None:
            status, said = probes.ask("/live")
            assert status == 200, f"{said}: {run.factory.last_words()}"

        said = probes.await_status("/ready", 503, is_alive)
        assert "reaches no broker" in said or "the last snapshot" in said
        while time.monotonic() < over:
            is_alive()
            time.sleep(LOOK_SECONDS)
        own_noida.start()
        probes.await_status("/ready", 200, is_alive)
        assert run.factory.starts == 1
        run.check_outputs()


PREDICATES = """
import os, time
import spst
from spst.predicates import Numbers, Truth

@spst.predicate("Hangs")
def hangs(column: Numbers, value: float) -> Truth:
    while os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    return column == value
"""
CONFIG = """
predicates = ["hanging"]
[defaults]
pattern = "pattern.sre"
min_events = 20
"""


@pytest.fixture
def stuck_factory(tmp_path: Path) -> Iterator[tuple[Factory, Probes, FileTopics]]:
    """A factory that has a bucket to assemble, and a predicate that hangs while the file `gate` is there."""
    settings, root = tmp_path / "settings", tmp_path / "root"
    (root / "buckets").mkdir(parents=True)
    settings.mkdir()
    (settings / "hanging.py").write_text(PREDICATES)
    (settings / "factory.toml").write_text(CONFIG)
    (settings / "pattern.sre").write_text(";(Hangs(timestamp,1),Hangs(timestamp,2)){order:1}")
    (root / "buckets" / "b_0").write_text(HEADER + rows(0))
    probes = Probes(tmp_path / "recovery", STUCK)
    extra = {"PYTHONPATH": str(settings), "GATE": str(tmp_path / "gate")}
    topics = FileTopics(root / "topics")
    factory = Factory(root, tmp_path, {**probes.environment, **extra})
    topics.send("datasets", msgspec.json.encode(NOTICE))
    yield factory, probes, topics
    factory.kill()


NOTICE = {"key": "k", "path_prefix": "b_", "buckets_range": [0], "version": 0, "timestamp": 5}
TRAIN = {"key": "k", "type": "train", "id": "c", "timestamp": 7}


def heard(factory: Factory, topics: FileTopics, output: str) -> list[bytes]:
    """Wait for an output."""
    deadline = time.monotonic() + DEADLINE
    while not (lines := topics.poll(output)):
        assert time.monotonic() < deadline, factory.last_words()
        assert factory.is_running(), factory.last_words()
        time.sleep(LOOK_SECONDS)
    return lines


def test_step_that_hangs_is_a_reason_to_restart(
    stuck_factory: tuple[Factory, Probes, FileTopics], tmp_path: Path
) -> None:
    factory, probes, topics = stuck_factory
    gate = tmp_path / "gate"
    gate.touch()
    factory.start()
    assert len(heard(factory, topics, "acks")) == 1
    topics.send("commands", msgspec.json.encode(TRAIN))
    said = probes.await_status("/live", 503)
    assert "the message in hand has not got on for" in said
    assert factory.is_running()
    factory.kill()  # which is what Kubernetes does about it
    gate.unlink()
    factory.start()
    (report,) = heard(factory, topics, "reports")
    assert msgspec.json.decode(report)["status"] == "success"
    probes.await_status("/live", 200)
