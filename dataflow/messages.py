"""The wire: every message that enters or leaves the factory, as msgspec structs.

Owns the JSON formats of docs/protocol and nothing else: it knows no state, no files and no clock. What a peer sends
is tolerated where it has more than we know, and refused with a reason where it cannot be read; refusals are data
(`Unreadable`), never exceptions in the stream.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

COMMANDS, DATASETS = "commands", "datasets"
"""The two input streams, by the names that stand in positions and in journals."""


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
