"""What a line can decide to do, and what can come of it: the two vocabularies between decide, perform and evolve.

Decisions are journalled. A decision names everything that performing it needs, so that it may be performed twice with
the same result. Outcomes are what the volume and the library answered; paths in them are absolute, as announced.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from dataflow.errors import Code
from dataflow.messages import CommandId, DatasetNotice, Number, Report
from dataflow.state import Dataset
from spst.hyperparameters import Hyperparameters

Purpose: TypeAlias = Literal["train", "step", "finalise"]


class _Decision(msgspec.Struct, frozen=True, kw_only=True, tag_field="decision", omit_defaults=True):
    """Base that gives decisions their tag."""


class Assemble(_Decision, frozen=True, kw_only=True, tag="assemble"):
    """Assemble the notice's buckets; `held` are the datasets whose files must not be overwritten with other content."""

    notice: DatasetNotice
    held: tuple[Dataset, ...] = ()


class Lock(_Decision, frozen=True, kw_only=True, tag="lock"):
    """Lock the dataset for the session of this timestamp."""

    dataset: Dataset
    timestamp: Number


class Fit(_Decision, frozen=True, kw_only=True, tag="fit"):
    """Fit a model on the dataset and save it under its number; a step is scored as well.

    `key`, `command_id` and `timestamp` are the message's identity, for the model's provenance.
    """

    model_id: int
    purpose: Purpose
    dataset: Dataset
    hyperparameters: Hyperparameters
    key: str
    command_id: CommandId
    timestamp: Number | None = None


class Sweep(_Decision, frozen=True, kw_only=True, tag="sweep"):
    """Fit and score every set of hyperparameters, save nothing."""

    dataset: Dataset
    grid: tuple[Hyperparameters, ...]


class Abort(_Decision, frozen=True, kw_only=True, tag="abort"):
    """Drop the session."""


class Reject(_Decision, frozen=True, kw_only=True, tag="reject"):
    """Answer with an error."""

    code: Code
    text: str


class Silence(_Decision, frozen=True, kw_only=True, tag="silence"):
    """Answer nothing: the session's opt_initialise was answered with the one error there is."""

    why: str


class Repeat(_Decision, frozen=True, kw_only=True, tag="repeat"):
    """A repeat: met with silence, or with the first answer."""

    answer: Report | None = None


class Wait(_Decision, frozen=True, kw_only=True, tag="wait"):
    """Put the command behind those that wait for a dataset."""


Decision: TypeAlias = Assemble | Lock | Fit | Sweep | Abort | Reject | Silence | Repeat | Wait


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="outcome"):
    """Base that gives outcomes their tag."""


class Assembled(_Outcome, frozen=True, kw_only=True, tag="assembled"):
    """The dataset is complete, on disk and under its final name."""

    dataset: Dataset
    path: str


class Fitted(_Outcome, frozen=True, kw_only=True, tag="fitted"):
    """The model is saved; `file` is its name in `models/`, `pt` its production time in ms.

    `metrics` has finite numbers, None where a measure is undefined, and always a finite `f_val` for a step.
    """

    file: str
    path: str
    sha256: str
    pt: int
    metrics: dict[str, Any] = {}


class SweepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a sweep: its metrics (with `f_val`), or why there are none."""

    metrics: dict[str, Any] | None = None
    error: str | None = None


class Swept(_Outcome, frozen=True, kw_only=True, tag="swept"):
    """The table of a sweep: one row per set of hyperparameters, in the grid's order, one at least with metrics."""

    rows: tuple[SweepRow, ...]
    pt: int


class Done(_Outcome, frozen=True, kw_only=True, tag="done"):
    """There was nothing to do, or it is done: Lock, Abort, Reject, Silence, Repeat, Wait."""


class Refused(_Outcome, frozen=True, kw_only=True, tag="refused"):
    """What was asked cannot be had, by the peer's fault: Assemble, Lock, Fit, Sweep. Nothing of the attempt is left."""

    code: Code
    text: str


Outcome: TypeAlias = Assembled | Fitted | Swept | Done | Refused
