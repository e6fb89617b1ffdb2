"""Reading a file of lines that others append to.

Owns when a line counts (once its newline is there), how a line that is too long is passed over without being held, and
how a file that is no longer the one that was read is noticed. It knows nothing of what the lines mean.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from dataflow.disk import our_disk
from dataflow.errors import FactoryFault

CHUNK = 1 << 16
"""Bytes to read at a time where the longest allowed line is shorter."""


class Place(NamedTuple):
    """Where a line starts: what a source resumes from."""

    offset: int
    """Bytes before it."""
    line: int
    """Lines before it."""


class Tail:
    """Complete lines of a file that others append to.

    Parameters
    ----------
    path : Path
        Waited for until it exists.
    place : Place
        Where to start: the start of the file, or of a line.
    max_bytes : int
        A longer line is handed out cut to `max_bytes + 1` bytes, and never held whole.
    """

    def __init__(self, path: Path, place: Place, max_bytes: int) -> None:
        self._path, self.place, self._max_bytes = path, place, max_bytes
        self._searched = place.offset  # there is no newline between the line's start and here
        self._fd: int | None = None

    def read(self) -> list[tuple[Place, bytes]]:
        """Return the complete lines among the next bytes, with where they start; none if nothing new is there.

        Raises
        ------
        FactoryFault
            If the file shrank, was replaced or removed, or cannot be read.
        """
        with our_disk(self._path, "read it"):
            if self._fd is None:
                self._fd = self._open()
            if self._fd is None:
                return []
            self._check(self._fd)
            return self._long_line(self._fd) if self._searched > self.place.offset else self._lines(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int | None:
        offset = self.place.offset
        try:
            fd = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            if offset:
                raise self._broken("was removed") from None
            return None
        if offset and os.pread(fd, 1, offset - 1) != b"\n":
            os.close(fd)
            raise self._broken(f"has no line that ends at byte {offset}")
        return fd

    def _check(self, fd: int) -> None:
        opened = os.fstat(fd)
        try:
            replaced = not os.path.samestat(opened, os.stat(self._path))
        except FileNotFoundError:
            replaced = True
        if replaced:
            raise self._broken("was removed or replaced")
        if opened.st_size < self.place.offset:
            raise self._broken(f"shrank to {opened.st_size} bytes")
        if opened.st_size < self._searched:
            self._searched = self.place.offset  # its writer cut its own half-written line, which is its right

    def _lines(self, fd: int) -> list[tuple[Place, bytes]]:
        chunk = os.pread(fd, max(CHUNK, self._max_bytes + 1), self.place.offset)
        *complete, rest = chunk.split(b"\n")
        if not complete and len(rest) > self._max_bytes:
            self._searched += len(rest)
        return [self._take(line[: self._max_bytes + 1], len(line)) for line in complete]

    def _long_line(self, fd: int) -> list[tuple[Place, bytes]]:
        chunk = os.pread(fd, CHUNK, self._searched)
        length = chunk.find(b"\n")
        if length < 0:
            self._searched += len(chunk)
            return []
        beginning = os.pread(fd, self._max_bytes + 1, self.place.offset)
        return [self._take(beginning, self._searched + length - self.place.offset)]

    def _take(self, line: bytes, length: int) -> tuple[Place, bytes]:
        start = self.place
        self.place = Place(start.offset + length + 1, start.line + 1)
        self._searched = self.place.offset
        return start, line

    def _broken(self, what: str) -> FactoryFault:
        return FactoryFault(
            f"{self._path} {what}, but {self.place.offset} bytes of it were read: topic files are append-only; "
            "put the file back, or begin with an empty data root"
        )
