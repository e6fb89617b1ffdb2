"""What one model line remembers between messages: small frozen structs, versioned, without arrays.

Models and datasets are names with hashes. Knows the wire's structs and nothing of files, clocks or Bytewax. A file
belongs to a line exactly as long as `LineState.files` names it: deletions are what the next state no longer names.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from dataflow.errors import Code
from dataflow.messages import Command, CommandId, Number, Position, Report
from spst.tree import Hyperparameters

SCHEMA = 1
"""Version of `LineState` in snapshots and journals; a newer one is refused by name."""

FAILED_REMEMBERED = 16
"""Timestamps of failed opt_initialise commands kept, so that their steps meet silence; one controller has one."""

Asked: TypeAlias = Hyperparameters | str
"""What a step asked for: its hyperparameters, or a digest of params that cannot be used."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket's span within an assembled dataset: `start` and `bytes` in bytes, the header line outside."""

    id: int
    start: int
    bytes: int
    rows: int
    sha256: str


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """An assembled dataset; `file` is its name in `datasets/`, `prefix` and `timestamp` come from its notice."""

    version: int
    file: str
    sha256: str
    rows: int
    bytes: int
    buckets: tuple[Bucket, ...]
    buckets_range: tuple[int, ...]
    prefix: str
    first_timestamp: Number | None = None
    last_timestamp: Number | None = None
    timestamp: Number | None = None

    @property
    def path(self) -> str:
        """The dataset, relative to the line's folder."""
        return f"datasets/{self.file}"

    @property
    def manifest(self) -> str:
        """Its manifest, relative to the line's folder."""
        return f"{self.path}.json"

    @property
    def lock(self) -> str:
        """Its lock while a session holds it, relative to the line's folder."""
        return f"{self.path}.lock"


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answered step of a session; without a model it failed, with `code` as the reason."""

    id: CommandId
    asked: Asked
    model_id: int | None = None
    file: str | None = None
    f_val: float | None = None
    code: Code | None = None
    answer: Report | None = None
    """The first answer, kept only where repeats are answered."""


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open optimisation session."""

    timestamp: Number
    dataset: Dataset
    steps: tuple[Step, ...] = ()
    cursor: int | None = None
    """After a repeated opt_initialise: index of the step that a repeating controller would send next."""
    highest_id: int | None = None
    """Highest command number seen, None before the first command that has one."""


class Closed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The session finalised last, so that a repeated opt_finalise is known."""

    timestamp: Number
    answer: Report | None = None


class FinalModel(msgspec.Struct, frozen=True, kw_only=True):
    """An announced model; `file` is its name in `models/`."""

    model_id: int
    file: str
    sha256: str
    dataset_version: int


class LineState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a model line remembers.

    Attributes
    ----------
    schema : int
        `SCHEMA` of the code that wrote it.
    seq : int
        Number of the journal entry that made this state; 0 before the first.
    dataset : Dataset or None
        The current dataset.
    session : Session or None
        The open session; its dataset is locked.
    failed : tuple of timestamps
        Failed opt_initialise commands, oldest first, at most `FAILED_REMEMBERED`.
    closed : Closed or None
        The session finalised last.
    next_model_id : int
        Never reused; a step that fails takes one too.
    models : tuple of FinalModel
        Announced models still kept, oldest first.
    marks : dict
        `stream/partition` -> highest offset handled.
    waiting : tuple of commands
        What waits for a dataset that covers it, in order.
    """

    schema: int = SCHEMA
    seq: int = 0
    dataset: Dataset | None = None
    session: Session | None = None
    failed: tuple[Number, ...] = ()
    closed: Closed | None = None
    next_model_id: int = 1
    models: tuple[FinalModel, ...] = ()
    marks: dict[str, int] = {}
    waiting: tuple[Command, ...] = ()

    def knows(self, position: Position) -> bool:
        """Tell whether the message at this position was handled before."""
        return position.offset <= self.marks.get(mark_of(position), -1)

    def files(self) -> frozenset[str]:
        """Return every file that the line holds, relative to its folder."""
        held = {f"models/{model.file}" for model in self.models}
        if self.dataset:
            held |= {self.dataset.path, self.dataset.manifest}
        if self.session:
            locked = self.session.dataset
            held |= {locked.path, locked.manifest, locked.lock}
            held |= {f"models/{step.file}" for step in self.session.steps if step.file}
        return frozenset(held)


def mark_of(position: Position) -> str:
    """Return the name under which a position's partition stands in `LineState.marks`."""
    return f"{position.stream}/{position.partition}"
