"""Raw bytes -> a command, a dataset notice, or the reason why not.

Nothing that a peer can send raises here: what cannot be answered becomes `Unreadable`, what can be answered and not
understood becomes `Malformed`. Params are left as they came; judging them takes the line's settings (see `params`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import Meta

from dataflow.messages import (
    COMMANDS,
    DATASETS,
    Command,
    CommandId,
    DatasetNotice,
    Malformed,
    Number,
    OptAbort,
    OptFinalise,
    OptInitialise,
    OptStep,
    OptSweep,
    Raw,
    Train,
    Unreadable,
)
from dataflow.settings import Limits

KEY_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A model line's key: also the name of its folder."""

DEFAULT_KEY = "default"
LARGEST_INT = 2**63 - 1
PATH_CHARS = 4096
"""Linux's PATH_MAX."""

_COMMANDS: dict[str, type[Train | OptInitialise | OptStep | OptFinalise | OptSweep | OptAbort]] = {
    "train": Train,
    "opt_initialise": OptInitialise,
    "opt_step": OptStep,
    "opt_finalise": OptFinalise,
    "opt_sweep": OptSweep,
    "opt_abort": OptAbort,
}


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Why a message is unreadable."""


class _Notice(msgspec.Struct):
    """A dataset notice as it stands on the wire."""

    path_prefix: Annotated[str, Meta(min_length=1, max_length=PATH_CHARS)]
    buckets_range: Annotated[list[int], Meta(min_length=1)]
    version: Annotated[int, Meta(ge=0)]
    dataset_id: str | int | None = None
    timestamp: Number | None = None
    bucket_count: int | None = None


def decode(raw: Raw, limits: Limits) -> Command | DatasetNotice | Unreadable:
    """Return what a raw message says, or why it cannot be read; never raises for what a peer sent."""
    try:
        if len(raw.value) > limits.message_bytes:
            _refuse(f"expected at most {limits.message_bytes} bytes, came more")
        return _READERS[raw.position.stream](raw, _fields(raw, limits), limits)
    except _Refused as refused:
        return Unreadable(
            position=raw.position,
            reason=str(refused),
            value=raw.value[: limits.message_bytes],
            origin=raw.origin,
            size=len(raw.value),
            time=raw.time,
        )


def parse_json(text: bytes | str, depth: int) -> Any:
    """Return the value of a JSON text whose nesting and whole numbers are bounded.

    Raises
    ------
    ValueError
        Not JSON (NaN and infinities are none), not UTF-8, a number beyond a double or 64 bits, nested too deep.
    """
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {depth}") from None
    _check_bounds(value, depth)
    return value


def _check_bounds(value: Any, depth: int) -> None:
    if isinstance(value, dict | list):
        if depth == 0:
            raise ValueError("nested too deep")
        for inner in value.values() if isinstance(value, dict) else value:
            _check_bounds(inner, depth - 1)
    elif isinstance(value, int) and abs(value) > LARGEST_INT:
        raise ValueError(f"a whole number beyond {LARGEST_INT}")


def _refuse(reason: str) -> NoReturn:
    raise _Refused(reason)


def _fields(raw: Raw, limits: Limits) -> dict[str, Any]:
    try:
        fields = parse_json(raw.value, limits.json_depth)
    except ValueError as error:
        _refuse(f"expected a JSON object: {error}")
    if not isinstance(fields, dict):
        _refuse(f"expected a JSON object, came {shown(fields)}")
    return fields


def _key(raw: Raw, fields: dict[str, Any]) -> str:
    """Return the model line: the message's key, else the record's, else the default."""
    if raw.record_key is None and raw.partitions > 1:
        _refuse(f"expected a record key: order holds per partition, and the topic has {raw.partitions}")
    named = fields.get("key")
    key = next((key for key in (named, raw.record_key) if key is not None), DEFAULT_KEY)
    if not isinstance(key, str) or not KEY_FORM.fullmatch(key):
        _refuse(f"key: expected {KEY_FORM.pattern}, came {shown(key)}")
    return key


def _command(raw: Raw, fields: dict[str, Any], limits: Limits) -> Command:
    named = next((fields[name] for name in ("type", "command") if fields.get(name) is not None), None)
    if not isinstance(named, str):
        _refuse(f"type: expected one of {', '.join(_COMMANDS)}, came {shown(named)}")
    key, command_id = _key(raw, fields), _id(fields, limits)
    kind = _COMMANDS.get(named.lower())
    timestamp = fields.get("timestamp")
    if kind is None:
        problem = f"type: expected one of {', '.join(_COMMANDS)}, came {shown(named)}"
    elif is_number(timestamp) or (timestamp is None and kind is Train):
        return kind(
            position=raw.position,
            key=key,
            id=command_id,
            timestamp=_whole(timestamp),
            params=fields.get("params"),
            best_i=fields.get("best_i"),
        )
    else:
        problem = f"timestamp: expected a number, the same in every command of a session, came {shown(timestamp)}"
    return Malformed(position=raw.position, key=key, id=command_id, problem=problem)


def _id(fields: dict[str, Any], limits: Limits) -> CommandId:
    command_id = fields.get("id")
    if isinstance(command_id, bool) or not isinstance(command_id, str | int):
        _refuse(f"id: expected text or a whole number, came {shown(command_id)}")
    if isinstance(command_id, str) and len(command_id) > limits.id_chars:
        _refuse(f"id: expected at most {limits.id_chars} characters, came {len(command_id)}")
    return command_id


def _notice(raw: Raw, fields: dict[str, Any], limits: Limits) -> DatasetNotice:
    key = _key(raw, fields)
    try:
        notice = msgspec.convert(fields, _Notice)
    except msgspec.ValidationError as error:
        _refuse(f"a dataset notice: {error}")
    if "\0" in notice.path_prefix:
        _refuse("path_prefix: expected a path, came one with a NUL character")
    if len(notice.buckets_range) > limits.buckets:
        _refuse(f"buckets_range: expected at most {limits.buckets} ids, came {len(notice.buckets_range)}")
    return DatasetNotice(
        position=raw.position,
        key=key,
        path_prefix=notice.path_prefix,
        buckets_range=tuple(dict.fromkeys(notice.buckets_range)),
        version=notice.version,
        dataset_id="" if notice.dataset_id is None else str(notice.dataset_id),
        timestamp=_whole(notice.timestamp),
        bucket_count=notice.bucket_count,
        text=raw.value.decode(),
        origin=raw.origin,
        time=raw.time,
    )


_READERS: dict[str, Callable[[Raw, dict[str, Any], Limits], Command | DatasetNotice]] = {
    COMMANDS: _command,
    DATASETS: _notice,
}


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Number | None) -> Number | None:
    """Return a whole float as an int, so that one session has one timestamp however it is written."""
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_INT:
        return int(value)
    return value


def shown(value: Any) -> str:
    """Return the value as JSON, short enough for an error text."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
