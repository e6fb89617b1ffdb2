"""Buckets -> one canonical dataset: copied, checked, counted and hashed in one pass, in constant memory.

Owns the layout of an assembled dataset: one header line, then the buckets' rows in the order of the notice. Where the
copy lies and when it counts as complete is its caller's business.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Protocol

import msgspec

from dataflow.buckets import CHUNK_BYTES, parts_of
from dataflow.messages import Number
from dataflow.rows import Block, CanonicalRows, block_of, layout_of
from dataflow.state import Bucket

BUFFERS = 3
"""So many blocks are in hand at once: one that is read and checked while those before it are hashed."""

_HASH_HERE_BYTES = 1 << 15
"""Below this, handing a block to the other thread costs more than hashing it."""


class Target(Protocol):
    """Where the copy goes."""

    def write(self, content: memoryview, /) -> None:
        """Append all of the content."""


@dataclass(frozen=True)
class Assembly:
    """What was assembled; byte spans and totals are those of the copy.

    The time span is that of the rows at the edges of every block of a mebibyte: exact where buckets are in time
    order, and never a pass over all rows.
    """

    buckets: tuple[Bucket, ...]
    rows: int
    bytes: int
    sha256: str
    first_timestamp: Number | None
    last_timestamp: Number | None


def assemble(
    folder: Path, prefix: str, buckets: Sequence[int], columns: tuple[str, ...] | None, target: Target
) -> Assembly:
    """Copy buckets into a target as one dataset.

    Parameters
    ----------
    folder : Path
        The bucket folder: nothing outside it is opened.
    prefix : str
        What precedes a bucket's id in its path.
    buckets : sequence of int
        Ids, in the order in which they are copied.
    columns : tuple of str or None
        The dataset's columns; None takes those of the first part that has rows.
    target : Target
        What receives the copy.

    Raises
    ------
    RequestRejected
        A bucket is missing, unstable, malformed, or not where buckets are; the target holds a part of the copy then.
    """
    with ThreadPoolExecutor(1) as helper:
        copy = _Copy(columns, target, helper)
        spans = [copy.bucket(folder, prefix, bucket) for bucket in buckets]
        return copy.finish(spans)


class _Copy:
    """The dataset while it grows: its header comes with the first row, or at the end."""

    def __init__(self, columns: tuple[str, ...] | None, target: Target, helper: ThreadPoolExecutor) -> None:
        self._configured, self._target, self._helper = columns, target, helper
        self._buffers, self._room = self._in_turns(0), 0
        self._columns: tuple[str, ...] = ()
        self._header_bytes = self._bytes = self._rows = 0
        self._digest = hashlib.sha256()
        self._hashing: deque[tuple[memoryview, Future[None]]] = deque()
        self._times: list[Number] = []

    def bucket(self, folder: Path, prefix: str, bucket: int) -> Bucket:
        """Copy one bucket; return its span, counted from the end of the header."""
        start, rows = self._bytes, self._rows
        for part in parts_of(folder, f"{prefix}{bucket}"):
            layout = layout_of(part, self._configured)
            if layout.kind != "empty":
                self._begin(self._configured or layout.columns)
                if (size := min(part.size, CHUNK_BYTES)) > self._room:
                    self._buffers, self._room = self._in_turns(size), size
                for block in CanonicalRows(part, layout, self._columns, self._buffers):
                    self._append(block)
        return Bucket(id=bucket, start=start, bytes=self._bytes - start, rows=self._rows - rows)

    def finish(self, spans: Sequence[Bucket]) -> Assembly:
        """Complete header and hash."""
        self._begin(self._configured or ())
        self._hash_all_but(0)
        return Assembly(
            buckets=tuple(msgspec.structs.replace(span, start=span.start + self._header_bytes) for span in spans),
            rows=self._rows,
            bytes=self._header_bytes + self._bytes,
            sha256=self._digest.hexdigest(),
            first_timestamp=min(self._times, default=None),
            last_timestamp=max(self._times, default=None),
        )

    def _begin(self, columns: tuple[str, ...]) -> None:
        if columns and not self._columns:
            header = block_of([columns]).content
            self._columns, self._header_bytes = columns, len(header)
            self._write(header)

    def _append(self, block: Block) -> None:
        if block.rows:
            times = self._times + _times_at_edges(block.content, self._columns)
            self._times = [min(times), max(times)] if times else []
            self._rows += block.rows
            self._bytes += len(block.content)
            self._write(block.content)

    def _write(self, content: memoryview) -> None:
        """Hash on the other core while the target takes the content, and while the next is read and checked."""
        if len(content) < _HASH_HERE_BYTES:
            self._hash_all_but(0)
            self._digest.update(content)
        else:
            self._hash_all_but(BUFFERS - 1)
            self._hashing.append((content, self._helper.submit(self._digest.update, content)))
        self._target.write(content)

    def _hash_all_but(self, blocks: int) -> None:
        """Wait until no more blocks than this still are to be hashed."""
        while len(self._hashing) > blocks:
            self._hashing.popleft()[1].result()

    def _in_turns(self, size: int) -> Iterator[bytearray]:
        """Yield buffers for so many bytes and one more, each when what it held has been hashed."""
        for buffer in cycle([bytearray(size + 1) for _ in range(BUFFERS)]):
            while any(content.obj is buffer for content, _ in self._hashing):
                self._hash_all_but(len(self._hashing) - 1)
            yield buffer


def _times_at_edges(content: memoryview, columns: tuple[str, ...]) -> list[Number]:
    """Return the timestamps of the first and the last row that have one."""
    place = next((place for place, name in enumerate(columns) if name.lower() == "timestamp"), None)
    if place is None:
        return []
    lines = content.obj
    assert isinstance(lines, bytes | bytearray)
    size = len(content)
    edges = lines[: lines.index(b"\n")], lines[lines.rfind(b"\n", 0, size - 1) + 1 : size - 1]
    rows = csv.reader(bytes(edge).decode() for edge in edges)
    return [time for row in rows if (time := _time(row[place])) is not None]


def _time(text: str) -> Number | None:
    """Return a timestamp; negative ones mark reset rows."""
    try:
        time = float(text)
    except ValueError:
        return None
    if not (math.isfinite(time) and time >= 0):
        return None
    return int(time) if time.is_integer() else time
