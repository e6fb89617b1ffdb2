"""Where a bucket's bytes are, and its lines in mebibyte pieces: never half a file, never a file that is still growing.

Owns the three shapes of a bucket (a file, a folder of part files, numbered part files). It does not look into lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dataflow.errors import Code, RequestRejected
from dataflow.trust import open_regular, resolve_below, their_file

CHUNK_BYTES = 1 << 20
"""One read: much of it stays in a core's cache while it is checked, and handing it to another thread costs little."""

LONGEST_LINE = CHUNK_BYTES


class Lines(NamedTuple):
    """Whole lines, each with its newline: the first `size` bytes of a buffer."""

    buffer: bytearray
    size: int

    @property
    def view(self) -> memoryview:
        """The lines' bytes."""
        return memoryview(self.buffer)[: self.size]

    def has(self, content: bytes) -> bool:
        """Tell whether something occurs; a single byte at the speed of memchr."""
        return self.buffer.find(content, 0, self.size) >= 0

    def without_returns(self) -> Lines:
        """Return a copy that ends its lines with LF instead of CRLF."""
        content = bytearray(bytes(self.view).replace(b"\r\n", b"\n"))
        return Lines(content, len(content))


class Part(NamedTuple):
    """One open file of a bucket, and its size when it was opened: what is written later is not read."""

    path: Path
    fd: int
    size: int

    def head(self, size: int) -> bytes:
        """Return the file's first bytes."""
        with their_file(self.path):
            return os.pread(self.fd, size, 0)

    def lines(self, start: int, buffers: Iterator[bytearray]) -> Iterator[Lines]:
        """Yield the lines from a byte offset on; a last line that has no newline gets one.

        Parameters
        ----------
        start : int
            Byte offset.
        buffers : iterator of bytearray
            What is read into, each of at least `CHUNK_BYTES` or the file's size, and one byte more; lines stay valid
            until their buffer comes again.

        Raises
        ------
        RequestRejected
            `bad_bucket` if a line is longer than `LONGEST_LINE`.
        """
        buffer, filled, offset = next(buffers), 0, start
        while True:
            with their_file(self.path):
                room = memoryview(buffer)[filled : min(CHUNK_BYTES, filled + self.size - offset)]
                came = os.preadv(self.fd, [room], offset)
            offset, filled = offset + came, filled + came
            if not came and filled:
                buffer[filled] = ord("\n")
                yield Lines(buffer, filled + 1)
            if not came:
                return
            size = buffer.rfind(b"\n", 0, filled) + 1
            if not size and filled == CHUNK_BYTES and offset < self.size:
                raise RequestRejected(
                    Code.BAD_BUCKET, f"{self.path}: expected lines of at most {LONGEST_LINE} bytes, found a longer one"
                )
            if size:
                yield Lines(buffer, size)
            rest = buffer[size:filled]
            buffer, filled = next(buffers), len(rest)
            buffer[:filled] = rest


def parts_of(folder: Path, name: str) -> Iterator[Part]:
    """Open a bucket's files one after the other, parts by number.

    Parameters
    ----------
    folder : Path
        The bucket folder: nothing outside it is opened.
    name : str
        The bucket's path without the endings of its parts; a relative one starts at the folder.

    Raises
    ------
    RequestRejected
        `missing_bucket`, `untrusted_path`, `bad_bucket` if it has two shapes at once, and, at the end of each file and
        of the whole, `unstable_bucket` if it is not as it was.
    """
    paths = _find(folder, name)
    for path in paths:
        with _unchanged(path) as part:
            yield part
    if _find(folder, name) != paths:
        raise RequestRejected(Code.UNSTABLE_BUCKET, f"{name}: got other part files while it was read")


@contextmanager
def _unchanged(path: Path) -> Iterator[Part]:
    with open_regular(path) as fd:
        before = os.fstat(fd)
        yield Part(path, fd, before.st_size)
        after = os.fstat(fd)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise RequestRejected(
            Code.UNSTABLE_BUCKET,
            f"{path}: was written to while it was read ({before.st_size} bytes, then {after.st_size}); "
            "announce a bucket when it is complete",
        )


def _find(folder: Path, name: str) -> list[Path]:
    whole = resolve_below(folder, name)
    parts = _numbered_parts(folder, name)
    with their_file(whole):
        if parts and whole.exists():
            raise RequestRejected(
                Code.BAD_BUCKET, f"{name}: expected either a bucket or its parts, found both, such as {parts[0]}"
            )
        if whole.is_dir():
            parts = _parts_within(whole)
        elif not parts:
            return [whole]
    return [resolve_below(folder, str(part)) for part in parts]


def _numbered_parts(folder: Path, name: str) -> list[Path]:
    """Return `<name>_part-<n>` by number."""
    parent, stem = os.path.split(name)
    form = re.compile(re.escape(stem) + r"_part-([0-9]+)")
    within = resolve_below(folder, parent)
    with their_file(within):
        matches = [match for entry in os.listdir(within) if (match := form.fullmatch(entry))]
    return [within / match[0] for match in sorted(matches, key=lambda match: (int(match[1]), match[0]))]


def _parts_within(folder: Path) -> list[Path]:
    """Return a folder's files by the numbers in their names; hidden ones and marks like `_SUCCESS` are none."""
    names = [name for name in os.listdir(folder) if not name.startswith((".", "_"))]
    if not names:
        raise RequestRejected(Code.MISSING_BUCKET, f"{folder}: expected part files, found none")
    return [folder / name for name in sorted(names, key=_natural)]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that takes runs of digits as numbers: part-2 before part-10."""
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece), "") if place % 2 else (-1, piece) for place, piece in enumerate(pieces)]
