"""What an operator watches: the factory's numbers for Prometheus, as thin functions.

Bytewax serves them on its `/metrics` beside its own. Counters begin anew with the process; what describes a line (its
version, lock, models, journal) is set whenever the line is opened or has handled a message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from dataflow.state import LineState

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Bucket bounds: a step takes milliseconds, the preparation of a large dataset minutes."""

_commands = Counter("factory_commands", "Commands handled", ["type", "status"])
_stages = Histogram("factory_stage_seconds", "Time of one stage of one message", ["stage"], buckets=SECONDS)
_assembly = Histogram("factory_assembly_seconds", "Time to assemble a dataset", buckets=SECONDS)
_dead_letters = Counter("factory_dead_letters", "Messages that could not be read or used")
_known = Counter("factory_known_messages", "Messages delivered again after a start, and passed by")
_backlog = Counter("factory_backlog_outputs", "Outputs handed to the sinks again after a start")
_repeats = Counter("factory_silent_repeats", "Commands that a restarted controller repeated, met with silence")

_version = Gauge("factory_dataset_version", "Version of the line's current dataset", ["key"])
_rows = Gauge("factory_dataset_rows", "Rows of the line's current dataset", ["key"])
_bytes = Gauge("factory_dataset_bytes", "Size of the line's current dataset", ["key"])
_assembled = Gauge(
    "factory_dataset_assembled_seconds", "When the line's dataset was assembled, seconds since 1970", ["key"]
)
_mcc = Gauge("factory_step_mcc", "MCC of the line's last step on in-sample or held-out events", ["key", "events"])
_sessions = Gauge("factory_open_sessions", "Whether the line has an open session, so a locked dataset", ["key"])
_locked = Gauge("factory_locked_since_seconds", "When the line's lock was taken, seconds since 1970; 0: none", ["key"])
_models = Gauge("factory_models", "Model files that the line holds, intermediate ones too", ["key"])
_journal = Gauge("factory_journal_bytes", "Size of the line's journal", ["key"])

_connected = Gauge("factory_broker_connected", "Whether a client reaches its brokers; 0: waiting for one", ["client"])
_undelivered = Counter(
    "factory_delivery_failures", "Outputs that a broker did not take; each stops the flow", ["topic"]
)
_expired = Counter("factory_expired_messages", "Messages that expired before they were read", ["topic"])


def command(kind: str, status: str) -> None:
    """Count one handled command, by its type and what became of it: success, error, silent, repeat or waiting."""
    _commands.labels(kind, status).inc()


def stage(name: str, seconds: float) -> None:
    """Note how long a stage of a message took."""
    _stages.labels(name).observe(seconds)


def assembly(seconds: float) -> None:
    """Note how long a dataset took to assemble."""
    _assembly.observe(seconds)


def dead_letter() -> None:
    """Count a message that could not be read or used."""
    _dead_letters.inc()


def known_message() -> None:
    """Count a message that the journal knows already."""
    _known.inc()


def backlog(outputs: int) -> None:
    """Count outputs handed to the sinks again when a line was opened."""
    _backlog.inc(outputs)


def silent_repeat() -> None:
    """Count a repeated command met with silence."""
    _repeats.inc()


def line(
    key: str, state: LineState, *, journal_bytes: int, assembled: float | None, locked_since: float | None
) -> None:
    """Show a line as it is now.

    Parameters
    ----------
    key : str
        The line.
    state : LineState
        Its state after the newest journal entry.
    journal_bytes : int
        Size of its journal.
    assembled : float or None
        When its dataset was assembled, seconds since 1970.
    locked_since : float or None
        When its session's lock was taken, seconds since 1970.
    """
    if state.dataset:
        version, rows, size, made = _labelled(key, _version, _rows, _bytes, _assembled)
        version.set(state.dataset.version)
        rows.set(state.dataset.rows)
        size.set(state.dataset.bytes)
        made.set(assembled or 0)
    sessions, locked, models, journal = _labelled(key, _sessions, _locked, _models, _journal)
    sessions.set(state.session is not None)
    locked.set(locked_since or 0)
    models.set(sum(name.startswith("models/") for name in state.files()))
    journal.set(journal_bytes)


def scored(key: str, scores: Mapping[str, Any]) -> None:
    """Show how well a step's model forecasts: the events that it learnt from, and held-out ones if there are any."""
    held_out = "in_sample_mcc" in scores
    _show_mcc(key, "in-sample", scores["in_sample_mcc" if held_out else "mcc"])
    if held_out:
        _show_mcc(key, "held-out", scores["mcc"])


def _show_mcc(key: str, events: str, mcc: float | None) -> None:
    _mcc.labels(key, events).set(math.nan if mcc is None else mcc)


@cache  # looking all of them up takes a tenth of a millisecond, of the two that a step takes
def _labelled(key: str, *gauges: Gauge) -> tuple[Gauge, ...]:
    return tuple(gauge.labels(key) for gauge in gauges)


def broker_connected(client: str, connected: bool) -> None:
    """Show whether a Kafka client reaches its brokers."""
    _connected.labels(client).set(connected)


def broker_forgotten(client: str) -> None:
    """Show no more whether a Kafka client reaches its brokers."""
    with suppress(KeyError):  # a client of the same name has ended before
        _connected.remove(client)


def connections() -> dict[str, bool]:
    """Return which Kafka clients there are, and whether they reach their brokers."""
    samples = (sample for family in _connected.collect() for sample in family.samples)
    return {sample.labels["client"]: bool(sample.value) for sample in samples}


def delivery_failure(topic: str) -> None:
    """Count an output that the broker did not take."""
    _undelivered.labels(topic).inc()


def expired_messages(topic: str, number: int) -> None:
    """Count messages that expired before they were read."""
    _expired.labels(topic).inc(number)
