"""What the demo has seen so far: built from the topics' messages and the volume, told as lines or drawn as tables.

Pure but for the look at which datasets are there and which are locked. Knows the wire and no process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from dataflow.demo.controller import SEARCH_SPACE
from dataflow.demo.topics import ACKS, COMMANDS, DATASETS, DEAD_LETTERS, MODELS, REPORTS, Message

FEED = (DATASETS, ACKS, COMMANDS, REPORTS, MODELS, DEAD_LETTERS)
"""The topics a board is made from, in an order in which none is ahead of what it answers."""


@dataclass
class Step:
    """One answered step of the search; `mcc` is None where it failed."""

    params: dict[str, float]
    mcc: float | None
    error: str = ""


@dataclass
class Board:
    """The demo's story.

    Attributes
    ----------
    announced : list of messages
        Dataset notices, by version.
    acks : list of messages
        Assembly ACKs, in the order in which they came.
    commands : dict
        Commands by their id.
    steps : list of Step
        Answered steps, in order.
    models : list of messages
        Announcements of models, in order.
    dead_letters : list of messages
        What the factory could not read or use.
    """

    announced: list[Message] = field(default_factory=list)
    acks: list[Message] = field(default_factory=list)
    commands: dict[str, Message] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    models: list[Message] = field(default_factory=list)
    dead_letters: list[Message] = field(default_factory=list)

    @property
    def best(self) -> Step | None:
        """The step with the highest MCC, the earliest of equals."""
        return max(
            (step for step in self.steps if step.mcc is not None), key=lambda step: step.mcc or 0.0, default=None
        )

    def take(self, topic: str, message: Message) -> list[str]:
        """Remember a message; return what there is to say about it."""
        return {
            DATASETS: self._dataset,
            ACKS: self._ack,
            COMMANDS: self._command,
            REPORTS: self._report,
            MODELS: self._model,
            DEAD_LETTERS: self._dead_letter,
        }[topic](message)

    def _dataset(self, notice: Message) -> list[str]:
        self.announced.append(notice)
        days = ", ".join(day_name(bucket) for bucket in notice["buckets_range"])
        return [f"collector   dataset {notice['version']} announced: {days}"]

    def _ack(self, ack: Message) -> list[str]:
        self.acks.append(ack)
        return [f"factory     dataset {ack['version']} assembled and acknowledged: {ack['rows']:,} positions"]

    def _command(self, command: Message) -> list[str]:
        self.commands[command["id"]] = command
        return []

    def _report(self, report: Message) -> list[str]:
        kind = self.commands[report["reply_id"]]["type"]
        if kind == "opt_step":
            begins = [] if self.steps else ["controller  search begins; its dataset is locked until it ends"]
            return [*begins, self._step(report)]
        if report["status"] == "error":
            return [f"factory     {kind} refused: {report['error']}"]
        return [f"factory     {kind} made model {report['model_id']} in {report['pt']} ms"]

    def _step(self, report: Message) -> str:
        number = len(self.steps) + 1
        asked = json.loads(self.commands[report["reply_id"]]["params"])["params"]
        params = dict(zip(SEARCH_SPACE, asked, strict=True))
        if report["status"] == "error":
            self.steps.append(Step(params, None, report["error"]))
            return f"factory     step {number} failed: {report['error']}"
        self.steps.append(Step(params, json.loads(report["metrics"])["mcc"]))
        values = "  ".join(f"{name} {value:.4g}" for name, value in params.items())
        star = "  best so far" if self.best is self.steps[-1] else ""
        return f"factory     step {number}: MCC {self.steps[-1].mcc:.3f}  {values}{star}"

    def _model(self, model: Message) -> list[str]:
        self.models.append(model)
        return [f"factory     model {model['id']} announced ({model['creation_method']})"]

    def _dead_letter(self, letter: Message) -> list[str]:
        self.dead_letters.append(letter)
        return [f"factory     dead letter: {letter['reason']}"]


def dataset_state(ack: Message, newest: Message) -> str:
    """Say whether an acknowledged dataset is current, locked, both, or gone from the volume."""
    path = Path(ack["path"])
    states = [name for name, true in (("current", ack is newest), ("locked", lock_of(path).exists())) if true]
    return " and ".join(states) or ("kept" if path.exists() else "removed")


def lock_of(dataset: Path) -> Path:
    """Return the lock that stands beside a dataset while a session holds it."""
    return dataset.with_name(f"{dataset.name}.lock")


def day_name(timestamp: int) -> str:
    """Return a bucket's start as a person says it."""
    return f"{datetime.fromtimestamp(timestamp, timezone.utc):%a %-d}"
