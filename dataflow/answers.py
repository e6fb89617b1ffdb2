"""What the factory says: outputs made from a message, its decision and its outcome.

Pure; `evolve` decides when something is said and gives every output its identity.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET

from dataflow.decisions import Assembled, Fit, Fitted, Refused, Sweep, Swept
from dataflow.errors import Code
from dataflow.messages import Ack, Command, DatasetNotice, DeadLetter, ModelVersion, Report
from dataflow.params import wire_params
from dataflow.state import Dataset


def ack(notice: DatasetNotice, outcome: Assembled) -> Ack:
    """Return the promise that the notice's range is on disk."""
    dataset = outcome.dataset
    return Ack(
        version=dataset.version,
        buckets_range=dataset.buckets_range,
        key=notice.key,
        path=outcome.path,
        rows=dataset.rows,
        bytes=dataset.bytes,
        sha256=dataset.sha256,
    )


def refused_notice(notice: DatasetNotice, outcome: Refused) -> DeadLetter:
    """Return the dead letter of a notice whose range cannot be assembled."""
    return DeadLetter(
        reason=outcome.text,
        error_code=outcome.code,
        origin=notice.origin,
        stream=notice.position.stream,
        partition=notice.position.partition,
        offset=notice.position.offset,
        original=notice.text,
        encoding="utf-8",
        size=len(notice.text.encode()),
        time=UNSET if notice.time is None else notice.time,
        key=notice.key,
    )


def step(command: Command, decision: Fit, outcome: Fitted) -> Report:
    """Return the answer to a step that succeeded."""
    return Report(
        reply_id=command.id,
        status="success",
        model_id=decision.model_id,
        params_dict=_text(wire_params(decision.hyperparameters)),
        metrics=_text(outcome.metrics),
        key=command.key,
        dataset_version=decision.dataset.version,
    )


def final_model(command: Command, decision: Fit, outcome: Fitted) -> tuple[Report, ModelVersion]:
    """Return the answer to train or opt_finalise, and the announcement that follows it."""
    method: Literal["retrain", "optimisation"] = "retrain" if decision.purpose == "train" else "optimisation"
    params = wire_params(decision.hyperparameters)
    report = Report(
        reply_id=command.id,
        status="success",
        model_id=decision.model_id,
        model_path=outcome.path,
        params_dict=_text(params),
        metrics="",
        creation_method=method,
        pt=outcome.pt,
        key=command.key,
        dataset_version=decision.dataset.version,
    )
    model = ModelVersion(
        id=decision.model_id,
        path=outcome.path,
        creation_method=method,
        model_params=params,
        pt=outcome.pt,
        key=command.key,
        sha256=outcome.sha256,
        dataset_version=decision.dataset.version,
        timestamp=command.timestamp,
    )
    return report, model


def sweep(command: Command, decision: Sweep, outcome: Swept) -> Report:
    """Return the table of a sweep; its best row has the least `f_val`, the first of equals."""
    table: list[dict[str, Any]] = [
        {"params": wire_params(point)} | ({"error": row.error} if row.metrics is None else {"metrics": row.metrics})
        for point, row in zip(decision.grid, outcome.rows, strict=True)
    ]
    scored = [index for index, row in enumerate(table) if "metrics" in row]
    best = min(scored, key=lambda index: float(table[index]["metrics"]["f_val"]))
    return Report(
        reply_id=command.id,
        status="success",
        params_dict=_text(table[best]["params"]),
        metrics=_text(table[best]["metrics"]),
        pt=outcome.pt,
        table=table,
        best=best,
        key=command.key,
        dataset_version=decision.dataset.version,
    )


def aborted(command: Command, dataset: Dataset) -> Report:
    """Return the answer to opt_abort; `dataset` is the one that was locked."""
    return Report(reply_id=command.id, status="success", key=command.key, dataset_version=dataset.version)


def error(command: Command, code: Code, text: str) -> Report:
    """Return the answer to a command that is refused."""
    return Report(reply_id=command.id, status="error", error=text, error_code=code, key=command.key)


def _text(value: dict[str, Any]) -> str:
    """Return the JSON text that controllers parse."""
    return msgspec.json.encode(value).decode()
