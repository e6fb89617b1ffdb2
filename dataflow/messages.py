"""The wire: every message that enters or leaves the factory, as msgspec structs.

Owns the JSON formats of docs/protocol and nothing else: it knows no state, no files and no clock. What a peer sends
is tolerated where it has more than we know, and refused with a reason where it cannot be read; refusals are data
(`Unreadable`), never exceptions in the stream. Reading is in `decoding`.
"""

from __future__ import annotations

import base64
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from dataflow.errors import Code

COMMANDS, DATASETS = "commands", "datasets"
"""The two input streams, by the names that stand in positions and in journals."""

Number: TypeAlias = int | float
CommandId: TypeAlias = int | str


class Position(msgspec.Struct, frozen=True):
    """Where a message came from: the identity that replay rests on."""

    stream: str
    partition: str
    offset: int


class Raw(msgspec.Struct, frozen=True):
    """One undecoded message as a source emits it."""

    position: Position
    value: bytes
    record_key: str | None = None
    origin: str = ""
    """Where a person finds it: `FILE:LINE`, or `TOPIC[PARTITION]@OFFSET`."""
    time: int | None = None
    """When the broker took it, ms since 1970, where the connector knows it."""
    partitions: int = 1
    """How many partitions its topic has: with several, order rests on record keys."""


class CommandBase(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every command carries; `params` and `best_i` are as they came, judged when the command is decided."""

    position: Position
    key: str
    id: CommandId
    timestamp: Number | None = None
    params: Any = None
    best_i: Any = None


class Train(CommandBase, frozen=True, kw_only=True, tag="train"):
    """Train on the current dataset and announce the model."""


class OptInitialise(CommandBase, frozen=True, kw_only=True, tag="opt_initialise"):
    """Lock the current dataset and open a session."""


class OptStep(CommandBase, frozen=True, kw_only=True, tag="opt_step"):
    """Train and score one set of hyperparameters on the locked dataset."""


class OptFinalise(CommandBase, frozen=True, kw_only=True, tag="opt_finalise"):
    """Train finally with the hyperparameters of step `best_i`, announce the model, close the session."""


class OptSweep(CommandBase, frozen=True, kw_only=True, tag="opt_sweep"):
    """Score a whole grid or list of hyperparameters in one message."""


class OptAbort(CommandBase, frozen=True, kw_only=True, tag="opt_abort"):
    """Drop the session, its intermediates and its lock."""


class Malformed(CommandBase, frozen=True, kw_only=True, tag="malformed"):
    """A command that can be answered and not understood: an unknown type, an unusable timestamp."""

    problem: str


class DatasetNotice(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="dataset", omit_defaults=True):
    """A range of buckets is ready to be assembled; `buckets_range` holds every id once, in the order of the message."""

    position: Position
    key: str
    path_prefix: str
    buckets_range: tuple[int, ...]
    version: int
    dataset_id: str = ""
    timestamp: Number | None = None
    bucket_count: int | None = None
    text: str = ""
    """The message as it came, for a dead letter."""
    origin: str = ""
    time: int | None = None


class Unreadable(msgspec.Struct, frozen=True):
    """A message that cannot be read or answered, so that it belongs to no model line."""

    position: Position
    reason: str
    value: bytes
    """The message as it came, cut at the size limit."""
    origin: str = ""
    size: int = 0
    """Bytes that came; a source may cut what is over the limit."""
    time: int | None = None


Command: TypeAlias = Train | OptInitialise | OptStep | OptFinalise | OptSweep | OptAbort | Malformed
Message: TypeAlias = Command | DatasetNotice


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report", omit_defaults=True):
    """The answer to a command; which fields are set depends on the command."""

    reply_id: CommandId
    status: Literal["success", "error"]
    model_id: int | UnsetType = UNSET
    model_path: str | UnsetType = UNSET
    params_dict: str | UnsetType = UNSET
    """JSON text: every hyperparameter used, by its wire name."""
    metrics: str | UnsetType = UNSET
    """JSON text; empty for train and opt_finalise."""
    creation_method: Literal["retrain", "optimisation"] | UnsetType = UNSET
    pt: int | UnsetType = UNSET
    """Production time, ms."""
    table: list[dict[str, Any]] | UnsetType = UNSET
    best: int | UnsetType = UNSET
    """Index of the table's best row."""
    error: str | UnsetType = UNSET
    error_code: Code | UnsetType = UNSET
    key: str
    dataset_version: int | UnsetType = UNSET
    source_id: str = ""


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True, tag="model", omit_defaults=True):
    """A model to deploy."""

    id: int
    path: str
    creation_method: Literal["retrain", "optimisation"]
    model_params: dict[str, Number]
    pt: int
    key: str
    sha256: str
    dataset_version: int
    timestamp: Number | None
    source_id: str = ""


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack", omit_defaults=True):
    """The promise that a range is assembled and on disk: its collector may delete what is older."""

    version: int
    buckets_range: tuple[int, ...]
    key: str
    path: str
    rows: int
    bytes: int
    sha256: str
    source_id: str = ""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, tag="dead_letter", omit_defaults=True):
    """What could not be read or used, for people: why, where it came from, and the message itself."""

    reason: str
    error_code: Code
    origin: str
    stream: str
    partition: str
    offset: int
    original: str
    encoding: Literal["utf-8", "base64"]
    size: int
    """Bytes of the message; more than `original` holds if that was cut."""
    time: int | UnsetType = UNSET
    key: str | UnsetType = UNSET
    source_id: str = ""


Output: TypeAlias = Report | ModelVersion | Ack | DeadLetter

_TOPICS: dict[type[Output], str] = {Report: "reports", ModelVersion: "models", Ack: "acks", DeadLetter: "dead_letters"}


def topic_of(output: Output) -> str:
    """Return the logical name of the output's topic: reports, models, acks or dead_letters."""
    return _TOPICS[type(output)]


def encode(output: Output) -> bytes:
    """Return the output as one line of JSON without a newline: what is not set is left out, and so is our tag."""
    named = ((name, getattr(output, name)) for name in output.__struct_fields__)
    return msgspec.json.encode({name: value for name, value in named if value is not UNSET})


def line_source_id(key: str, seq: int, number: int) -> str:
    """Return the identity of output `number` of a line's journal entry `seq`."""
    return f"{key}/{seq}/{number}"


def split_source_id(source_id: str) -> tuple[str, tuple[int, ...]]:
    """Return the owner and the rank within it; an owner's outputs leave in the order of their ranks.

    The owner is a line's key (`KEY/SEQ/NUMBER`), or an input partition for what could not be decoded
    (`@STREAM/PARTITION/OFFSET`; no key begins with `@`).
    """
    head, middle, last = source_id.rsplit("/", 2)
    if head.startswith("@"):
        return f"{head}/{middle}", (int(last),)
    return head, (int(middle), int(last))


def dead_letter(message: Unreadable) -> DeadLetter:
    """Return the dead letter of a message that belongs to no line, identified by its input position."""
    position = message.position
    original, encoding = _original(message.value)
    return DeadLetter(
        reason=message.reason,
        error_code=Code.UNREADABLE,
        origin=message.origin,
        stream=position.stream,
        partition=position.partition,
        offset=position.offset,
        original=original,
        encoding=encoding,
        size=message.size,
        time=UNSET if message.time is None else message.time,
        source_id=f"@{position.stream}/{position.partition}/{position.offset}",
    )


def _original(value: bytes) -> tuple[str, Literal["utf-8", "base64"]]:
    """Return the bytes as text, or as base64 where they are no text or where escapes would blow the text up."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), "base64"
    if len(msgspec.json.encode(text)) > 2 * len(value) + 2:
        return base64.b64encode(value).decode(), "base64"
    return text, "utf-8"
