"""Every promised metric is exported and moves when it should."""

from __future__ import annotations

import math
import uuid

import pytest
from prometheus_client import REGISTRY

from dataflow import metrics
from dataflow.state import Dataset, LineState, Session, Step


def dataset(version: int) -> Dataset:
    return Dataset(
        version=version,
        file=f"dataset_version_{version}.csv",
        sha256="0" * 64,
        rows=20_160,
        bytes=1_734_000,
        buckets=(),
        buckets_range=(),
        prefix="b_",
    )


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("name", "labels", "change"),
    [
        ("factory_commands_total", {"type": "train", "status": "error"}, lambda: metrics.command("train", "error")),
        ("factory_stage_seconds_count", {"stage": "fit"}, lambda: metrics.stage("fit", 0.02)),
        ("factory_assembly_seconds_count", {}, lambda: metrics.assembly(0.2)),
        ("factory_dead_letters_total", {}, metrics.dead_letter),
        ("factory_known_messages_total", {}, metrics.known_message),
        ("factory_backlog_outputs_total", {}, lambda: metrics.backlog(1)),
        ("factory_silent_repeats_total", {}, metrics.silent_repeat),
        ("factory_delivery_failures_total", {"topic": "acks"}, lambda: metrics.delivery_failure("acks")),
        ("factory_expired_messages_total", {"topic": "any"}, lambda: metrics.expired_messages("any", 1)),
    ],
)
def test_metric_counts(name: str, labels: dict[str, str], change: object) -> None:
    before = value(name, **labels) or 0
    change()  # type: ignore[operator]
    assert value(name, **labels) == before + 1


def test_metrics_show_connections() -> None:
    for connected in (True, False):
        metrics.broker_connected("reports/0", connected)
        assert value("factory_broker_connected", client="reports/0") == connected


def test_metrics_show_a_line() -> None:
    key = str(uuid.uuid4())
    steps = (Step(id=1, asked="x", model_id=1, file="model_1.spst"), Step(id=2, asked="x"))
    session = Session(timestamp=1, dataset=dataset(2), steps=steps)
    shown = {
        "factory_dataset_version": 3,
        "factory_dataset_rows": 20_160,
        "factory_dataset_bytes": 1_734_000,
        "factory_dataset_assembled_seconds": 16.5,
        "factory_open_sessions": 1,
        "factory_locked_since_seconds": 17.5,
        "factory_models": 1,
        "factory_journal_bytes": 1_000,
    }
    metrics.line(
        key, LineState(dataset=dataset(3), session=session), journal_bytes=1_000, assembled=16.5, locked_since=17.5
    )
    assert {name: value(name, key=key) for name in shown} == shown
    metrics.line(key, LineState(dataset=dataset(3)), journal_bytes=1_200, assembled=16.5, locked_since=None)
    closed = {"factory_open_sessions": 0, "factory_locked_since_seconds": 0, "factory_models": 0}
    assert {name: value(name, key=key) for name in closed} == closed


def test_metrics_of_a_line_without_a_dataset_name_no_version() -> None:
    key = str(uuid.uuid4())
    metrics.line(key, LineState(), journal_bytes=0, assembled=None, locked_since=None)
    assert value("factory_dataset_version", key=key) is None
    assert value("factory_open_sessions", key=key) == 0


@pytest.mark.parametrize(
    ("scores", "in_sample", "held_out"),
    [({"mcc": 0.5}, 0.5, None), ({"mcc": 0.4, "in_sample_mcc": 0.6}, 0.6, 0.4)],
)
def test_metrics_show_the_last_step_in_and_out_of_sample(
    scores: dict[str, float], in_sample: float, held_out: float | None
) -> None:
    key = str(uuid.uuid4())
    metrics.scored(key, scores)
    assert value("factory_step_mcc", key=key, events="in-sample") == in_sample
    assert value("factory_step_mcc", key=key, events="held-out") == held_out


def test_metrics_show_an_undefined_mcc_as_no_number() -> None:
    key = str(uuid.uuid4())
    metrics.scored(key, {"mcc": None})
    shown = value("factory_step_mcc", key=key, events="in-sample")
    assert shown is not None
    assert math.isnan(shown)
