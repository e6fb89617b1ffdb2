"""A data root with a pattern and buckets, and messages for it: what tests of the shell work on."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dataflow.config import Config, load_config
from dataflow.decoding import decode
from dataflow.messages import COMMANDS, DATASETS, Message, Position, Raw, Unreadable

PATTERN = ";(IsEventTypePredicate(A),IsEventTypePredicate(B)){order:2}{partitionBy:entity}"
HEADER = "timestamp,type,entity\n"
CONFIG = """
data_root = "."
log_level = "warning"
[defaults]
pattern = "pattern.sre"
min_events = 20
max_order = 3
k_max = 5
"""


def rows(seed: int, start: int = 0, number: int = 100) -> str:
    """Return events of three entities, in order of time."""
    rng = random.Random(seed)
    return "".join(f"{start + row},{rng.choice('AABCD')},e{rng.randint(1, 3)}\n" for row in range(number))


def rewrite(path: Path, content: bytes) -> None:
    """Write a file once more, so that its times tell: file systems may know the time to some milliseconds only."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_bytes(content)


@dataclass
class Workshop:
    """A data root; offsets of messages count up, as on a topic."""

    root: Path
    offset: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def buckets(self) -> Path:
        return self.root / "buckets"

    def config(self, more: str = "") -> Config:
        """Write the configuration, with more lines for its end, and load it."""
        (self.root / "factory.toml").write_text(CONFIG + more)
        return load_config(self.root / "factory.toml", self.environment)

    def bucket(self, number: int, content: str | None = None) -> Path:
        path = self.buckets / f"b_{number}"
        path.write_text(HEADER + rows(number, 1000 * number) if content is None else content)
        return path

    def notice(self, version: int = 0, buckets: tuple[int, ...] = (0, 1), **fields: Any) -> Message:
        return self.read(
            DATASETS, {"path_prefix": "b_", "buckets_range": buckets, "version": version, "timestamp": 5, **fields}
        )

    def command(self, kind: str, params: Any = None, **fields: Any) -> Message:
        values = {"type": kind, "id": f"c-{self.offset}", "timestamp": 7, "params": params, **fields}
        return self.read(COMMANDS, values)

    def read(self, stream: str, fields: dict[str, Any]) -> Message:
        self.offset += 1
        value = msgspec.json.encode({"key": "k"} | fields)
        message = decode(Raw(Position(stream, "0", self.offset), value), self.config().limits)
        assert not isinstance(message, Unreadable), message.reason
        return message


def held_open(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open; what others of its threads have is no matter."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [name for name in found if Path(name).is_relative_to(folder)]


def make_workshop(root: Path) -> Workshop:
    """Make a root with the pattern and three buckets."""
    (root / "buckets").mkdir(parents=True)
    (root / "pattern.sre").write_text(PATTERN)
    workshop = Workshop(root)
    for number in range(3):
        workshop.bucket(number)
    return workshop
