"""The embedded connector: one append-only file of JSON lines per topic, on the factory's own volume.

Owns the sources that follow topic files and the sinks that append to them. A line counts once its newline is there.
Nothing is ever truncated but our own half-written last line; nothing is looked into but the `source_id` of our own
outputs (see "Replay" in the design).
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from bytewax.inputs import StatefulSourcePartition
from bytewax.outputs import StatefulSinkPartition

from dataflow import shutdown
from dataflow.connectors import OUTPUTS, Connectors, Line, LineSink, RawSource
from dataflow.connectors.marks import Marks, Rank
from dataflow.connectors.pace import ALWAYS_DUE, Pace
from dataflow.connectors.tail import Place, Tail
from dataflow.disk import fsync_folder, our_disk, take_lease
from dataflow.errors import FactoryFault
from dataflow.messages import COMMANDS, DATASETS, Position, Raw
from dataflow.pulse import pulse

if TYPE_CHECKING:
    from dataflow.config import Config

PARTITION = "0"
"""A topic file is one partition; named without the device, so that a volume may move to another machine."""


def file_connectors(config: Config) -> Connectors:
    """Make the sources and sinks below `<root>/topics`, and take the lease on the root.

    Raises
    ------
    FactoryFault
        If another process holds the lease, or the volume refuses.
    """
    folder = config.data_root / "topics"
    with our_disk(folder, "make the folder"):
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    take_lease(config.data_root)
    pace = Pace()

    def source(stream: str) -> TopicFileSource:
        path = folder / f"{config.topics[stream]}.jsonl"
        return TopicFileSource(path, stream, max_bytes=config.limits.message_bytes, pace=pace)

    sinks = {name: TopicFileSink(folder / f"{config.topics[name]}.jsonl") for name in OUTPUTS}
    return Connectors(commands=source(COMMANDS), datasets=source(DATASETS), sinks=sinks)


@dataclass(frozen=True)
class TopicFileSource(RawSource):
    """One input stream from one file, message by message, until SIGTERM.

    Parameters
    ----------
    path : Path
        The topic's file; waited for until it exists.
    stream : str
        The stream's name in positions.
    max_bytes : int
        A longer line is handed on cut to `max_bytes + 1` bytes, for `decode` to refuse.
    pace : Pace
        The rest while nothing comes in, shared with the other source.
    stop_at_end : bool
        End at the end of the file instead of waiting for more.
    """

    path: Path
    stream: str
    max_bytes: int
    pace: Pace = field(default_factory=Pace)
    stop_at_end: bool = False

    def list_parts(self) -> list[str]:
        """Return the one partition."""
        return [PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: tuple[int, int] | None) -> _Messages:
        """Read on from the snapshot, or from the start of the file."""
        return _Messages(self, Place(*resume_state or (0, 0)))


class _Messages(StatefulSourcePartition[Raw, tuple[int, int]]):
    """The lines of one topic file; its snapshot is the place of the first line that was not handed on."""

    def __init__(self, source: TopicFileSource, place: Place) -> None:
        self._source, self._place = source, place
        self._tail = Tail(source.path, place, source.max_bytes)
        self._ready: deque[tuple[Place, bytes]] = deque()
        source.pace.join()

    def next_batch(self) -> list[Raw]:
        """Hand on one message: after SIGTERM there must be no others on their way."""
        if shutdown.requested():
            raise StopIteration
        if not self._ready:
            self._ready.extend(self._tail.read())
        if not self._ready:
            if self._source.stop_at_end:
                raise StopIteration
            self._source.pace.idle()
            return []
        self._source.pace.busy()
        place, value = self._ready.popleft()
        self._place = self._ready[0][0] if self._ready else self._tail.place
        origin = f"{self._source.path}:{place.line + 1}"
        return [Raw(Position(self._source.stream, PARTITION, place.offset), value, origin=origin)]

    def next_awake(self) -> datetime:
        """Look whenever asked: the pace sees to the rest."""
        return ALWAYS_DUE

    def snapshot(self) -> tuple[int, int]:
        """Return bytes and lines handed on."""
        return self._place.offset, self._place.line

    def close(self) -> None:
        """Let go of the file."""
        self._tail.close()


@dataclass(frozen=True)
class TopicFileSink(LineSink):
    """One output into one file, of which each line appears once.

    Parameters
    ----------
    path : Path
        The topic's file; made if it does not exist.
    """

    path: Path

    def list_parts(self) -> list[str]:
        """Return the one partition."""
        return [PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: tuple[int, dict[str, Rank]] | None) -> _Lines:
        """Bring the snapshot's marks up to date with the file, or rebuild them from the whole of it."""
        return _Lines(self.path, *resume_state or (0, {}))


class _Identity(msgspec.Struct):
    source_id: str


class _Lines(StatefulSinkPartition[Line, tuple[int, dict[str, Rank]]]):
    """The end of one topic file; its snapshot is the file's length and the marks at that length."""

    def __init__(self, path: Path, length: int, ranks: dict[str, Rank]) -> None:
        self._path, self._length, self._marks = path, length, Marks(ranks)
        with our_disk(path, "open it"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
            fsync_folder(path.parent)
            self._catch_up()

    def write_batch(self, values: list[Line]) -> None:
        """Append the lines that are not in the file yet, in order."""
        rest = memoryview(b"".join(line + b"\n" for _, line in self._marks.fresh(values)))
        self._length += len(rest)
        with pulse.at_work(), our_disk(self._path, "append to it"):
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def snapshot(self) -> tuple[int, dict[str, Rank]]:
        """Flush the file to the disk; return its length and marks."""
        with pulse.at_work(), our_disk(self._path, "flush it"):
            os.fsync(self._fd)
        return self._length, self._marks.snapshot()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _catch_up(self) -> None:
        """Read what was written after the snapshot, and cut the half-written last line of a crash."""
        size = os.fstat(self._fd).st_size
        if size < self._length:
            raise FactoryFault(
                f"{self._path} has {size} bytes, but {self._length} were written: put the file back, "
                "or delete the recovery store too, and what the journals retain is written again"
            )
        if size == self._length:
            return
        with self._path.open("rb") as file:
            file.seek(self._length)
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._fd, self._length)
                    return
                self._marks.advance(self._source_id(line))
                self._length += len(line)

    def _source_id(self, line: bytes) -> str:
        try:
            return msgspec.json.decode(line, type=_Identity).source_id
        except msgspec.DecodeError as error:
            raise FactoryFault(
                f"{self._path}: expected an output of this factory at byte {self._length}, found {line[:80]!r} "
                f"({error}); the file is not ours, or damaged: cut it there, and what is missing is written again"
            ) from error
