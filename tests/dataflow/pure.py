"""The factory without its shell: builders of messages and states, and a volume that exists in a set of names."""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

import msgspec

from dataflow.decide import decide, releasable
from dataflow.decisions import (
    Assemble,
    Assembled,
    Decision,
    Done,
    Fit,
    Fitted,
    Lock,
    Outcome,
    Refused,
    Sweep,
    SweepRow,
    Swept,
)
from dataflow.decoding import decode
from dataflow.errors import Code
from dataflow.evolve import evolve
from dataflow.messages import COMMANDS, DATASETS, Command, DatasetNotice, Message, Output, Position, Raw, Unreadable
from dataflow.settings import LineSettings
from dataflow.state import Dataset, FinalModel, LineState, Session, Step, mark_of
from spst.hyperparameters import Hyperparameters

SETTINGS = LineSettings()
ROOT = "/root/lines/k"
ROWS = 100
NOWHERE = "/nowhere_"
"""A prefix whose buckets are missing."""
UNFIT_GAMMA = 0.9
"""Too large for any alphabet: the fit is refused, as only fitting can tell."""

_Kind = TypeVar("_Kind", bound=Command)


def command(kind: type[_Kind], *, offset: int = 0, **fields: Any) -> _Kind:
    values: dict[str, Any] = {"key": "k", "id": f"cmd-{offset}", "timestamp": 100} | fields
    return kind(position=Position(COMMANDS, "0", offset), **values)


def notice(*, offset: int = 0, **fields: Any) -> DatasetNotice:
    values: dict[str, Any] = {"key": "k", "path_prefix": "/data/b_", "buckets_range": (1, 2), "version": 5} | fields
    return DatasetNotice(position=Position(DATASETS, "0", offset), **values)


def dataset(version: int = 5, *, rows: int = ROWS, file: str = "", **fields: Any) -> Dataset:
    values: dict[str, Any] = {
        "sha256": f"sha-{version}",
        "bytes": rows * 10,
        "buckets": (),
        "buckets_range": (1, 2),
        "prefix": "/data/b_",
    } | fields
    return Dataset(version=version, file=file or f"dataset_version_{version}.csv", rows=rows, **values)


def step(index: int, model_id: int | None = None, *, id: str = "", **changes: Any) -> Step:
    """Return step `index` of a session: pMin tells it from others, its model is `model_id`, else it failed."""
    asked = point(index)
    if model_id is None:
        return Step(id=id or f"cmd-{index}", asked=changes.pop("asked", asked), code=Code.BAD_PARAMS, **changes)
    return Step(
        id=id or f"cmd-{index}", asked=asked, model_id=model_id, file=f"model_{model_id}.spst", f_val=-0.5, **changes
    )


def point(index: int) -> Hyperparameters:
    return Hyperparameters(order=2, p_min=values(index)[0], gamma=values(index)[1], threshold=0.3, k=5)


def values(index: int) -> list[float]:
    """Return the params list of step `index`."""
    return [0.01 * (index + 1), 0.0005]


def session(*steps: Step, timestamp: int = 100, locked: Dataset | None = None, **fields: Any) -> Session:
    return Session(timestamp=timestamp, dataset=locked or dataset(), steps=steps, **fields)


def ready(**fields: Any) -> LineState:
    """Return a line with a current dataset, whatever else it has."""
    values: dict[str, Any] = {"dataset": dataset(), "next_model_id": 10} | fields
    return LineState(**values)


def final(model_id: int, version: int = 5) -> FinalModel:
    file, sha256 = f"model_{model_id}.spst", f"sha-{model_id}"
    return FinalModel(model_id=model_id, file=file, sha256=sha256, dataset_version=version)


def waiting(*commands: Command, **fields: Any) -> LineState:
    """Return a line with commands that wait."""
    marks = {mark_of(command.position): command.position.offset for command in commands}
    values: dict[str, Any] = {"waiting": commands, "marks": marks} | fields
    return LineState(**values)


class Volume:
    """Performs decisions on names alone, deterministically, so twice alike."""

    def __init__(self, state: LineState | None = None) -> None:
        self.files = set(state.files() if state else ())

    def perform(self, decision: Decision) -> Outcome:
        match decision:
            case Assemble():
                return self._assemble(decision)
            case Lock(dataset=locked):
                self.files.add(locked.lock)
            case Fit():
                return self._fit(decision)
            case Sweep(grid=grid):
                return Swept(rows=tuple(_row(entry) for entry in grid), pt=7)
        return Done()

    def _assemble(self, decision: Assemble) -> Outcome:
        notice = decision.notice
        if notice.path_prefix == NOWHERE:
            return Refused(code=Code.MISSING_BUCKET, text=f"bucket {notice.path_prefix}1 does not exist")
        content = f"{notice.path_prefix}{notice.buckets_range}"
        name = f"dataset_version_{notice.version}"
        taken = {held.file: held.sha256 for held in decision.held}
        clash = taken.get(f"{name}.csv", content) != content
        file = f"{name}-{zlib.crc32(content.encode()):08x}.csv" if clash else f"{name}.csv"
        assembled = dataset(
            notice.version,
            rows=10 if "small" in notice.path_prefix else ROWS,
            file=file,
            sha256=content,
            buckets_range=notice.buckets_range,
            timestamp=notice.timestamp,
        )
        self.files |= {assembled.path, assembled.manifest}
        return Assembled(dataset=assembled, path=f"{ROOT}/{assembled.path}")

    def _fit(self, decision: Fit) -> Outcome:
        if decision.hyperparameters.gamma == UNFIT_GAMMA:
            return Refused(code=Code.BAD_PARAMS, text="n_symbols * gamma must not exceed 1")
        file = f"model_{decision.model_id}.spst"
        self.files.add(f"models/{file}")
        metrics = {} if decision.purpose != "step" else measured(decision.hyperparameters)
        return Fitted(
            file=file, path=f"{ROOT}/models/{file}", sha256=f"sha-{decision.model_id}", pt=41, metrics=metrics
        )

    def delete(self, names: tuple[str, ...]) -> None:
        self.files -= set(names)


def measured(hyperparameters: Hyperparameters) -> dict[str, Any]:
    return {"mcc": hyperparameters.p_min, "f_val": -hyperparameters.p_min}


def _row(hyperparameters: Hyperparameters) -> SweepRow:
    if hyperparameters.gamma == UNFIT_GAMMA:
        return SweepRow(error="n_symbols * gamma must not exceed 1")
    return SweepRow(metrics=measured(hyperparameters))


def handle(
    state: LineState, message: Message, volume: Volume, settings: LineSettings = SETTINGS
) -> tuple[LineState, tuple[Output, ...]]:
    """Decide, perform, evolve and delete, and check what must hold after every message."""
    decision = decide(state, message, settings)
    following, outputs, deletions = evolve(state, message, decision, volume.perform(decision), settings)
    volume.delete(deletions)
    following.validate()
    assert volume.files == following.files(), "the volume holds what the state names, and nothing else"
    return following, outputs


def handle_all(
    state: LineState, message: Message, volume: Volume, settings: LineSettings = SETTINGS
) -> tuple[LineState, tuple[Output, ...]]:
    """Handle a message and whatever it releases."""
    state, outputs = handle(state, message, volume, settings)
    while (released := releasable(state, settings)) is not None:
        state, more = handle(state, released, volume, settings)
        outputs += more
    return state, outputs


def read(stream: str, offset: int, fields: dict[str, Any], settings: LineSettings = SETTINGS) -> Message:
    """Decode a message that can be read."""
    message = decode(Raw(Position(stream, "0", offset), msgspec.json.encode(fields)), settings.limits)
    assert not isinstance(message, Unreadable), message.reason
    return message
