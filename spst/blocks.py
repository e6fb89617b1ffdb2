"""A file as blocks of whole lines, with memory for one block at a time.

Owns opening, gzip, byte spans and cutting at line ends. Must not know: what the lines hold.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import numpy as np

from spst.errors import EventsError

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BROKEN = (OSError, EOFError, zlib.error)  # gzip raises all of these for a damaged file

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"


@dataclass(frozen=True)
class Block:
    """Whole lines, `data`, which stand `lines_before` lines after the byte `begin` of the file."""

    data: bytes
    begin: int
    lines_before: int


class LineFile:
    """The lines of a path, which can be read again and again, or of a binary file object or pipe: these only once.

    Attributes
    ----------
    where : str
        The file's name for messages.
    first_line : bytes
        Without line end and byte order mark; empty if the file is.
    """

    def __init__(self, source: Source) -> None:
        if isinstance(source, io.TextIOBase):
            raise EventsError("events are read from bytes: open the file in binary mode")
        self._path = Path(source) if isinstance(source, (str, os.PathLike)) else None
        self.where = str(getattr(source, "name", "the input") if self._path is None else self._path)
        self._pipe: BinaryIO | None = None
        with self._errors_reported():
            if self._path is not None and is_pipe(self._path):
                source = self._pipe = self._path.open("rb")
                self._path = None
            self._file = None if self._path else _decompressed(cast(BinaryIO, source))
            if self._file is not None:
                self._head = self._file.readline()
            else:
                with self._reopened() as file:
                    self._head = file.readline()
        self.first_line = self._head.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\r\n")

    def blocks(self, *, skip_first: bool, start: int, length: int | None, block_bytes: int) -> Iterator[Block]:
        """The lines of a span.

        Parameters
        ----------
        skip_first : bool
            The first line of the file is a header.
        start, length : int, bytes
            The span begins at a line's start; a file object is always read from its own.
        """
        begin = max(start, len(self._head) if skip_first else 0)
        left = None if length is None else max(start + length - begin, 0)
        with self._errors_reported():
            if self._path is not None:
                with self._reopened() as file:
                    file.seek(begin)
                    yield from _whole_lines(file, b"", begin, left, block_bytes)
                return
            if self._file is None:
                raise EventsError(f"{self.where}: a file object can be read once; give a path to read again")
            file, self._file = self._file, None
            with self._pipe or nullcontext():
                yield from _whole_lines(file, self._head[begin:], begin, None, block_bytes)

    def line_number(self, block: Block, line: int) -> int:
        """The number in the file (both from 0) of a line of a block; reads the file again if its span began inside."""
        if block.begin <= len(self._head):
            return self._head[: block.begin].count(b"\n") + block.lines_before + line
        with self._errors_reported(), self._reopened() as file:
            return sum(map(_count_lines, _chunks(file, block.begin, 1 << 20))) + block.lines_before + line

    def _reopened(self) -> BinaryIO:
        path = cast(Path, self._path)
        with path.open("rb") as file:
            is_gzip = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        return cast(BinaryIO, gzip.open(path) if is_gzip else path.open("rb"))

    @contextmanager
    def _errors_reported(self) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            raise EventsError(f"{self.where}: cannot be read: {error}") from error


def is_pipe(path: Path) -> bool:
    """Tell whether a path leads to what can be read once only, such as ``/dev/stdin`` or a shell's ``<(command)``."""
    return path.is_fifo() or path.is_char_device()


def _decompressed(file: BinaryIO) -> BinaryIO:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file))
    is_gzip = buffered.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    return cast(BinaryIO, gzip.GzipFile(fileobj=buffered) if is_gzip else buffered)


def _chunks(file: BinaryIO, left: int | None, size: int) -> Iterator[bytes]:
    """What is left of a span, in pieces of some size; of a pipe what has come so far, without waiting for more."""
    read = file.read if file.seekable() else cast(io.BufferedReader, file).read1
    while chunk := read(size if left is None else min(size, left)):
        left = None if left is None else left - len(chunk)
        yield chunk


def _whole_lines(file: BinaryIO, carry: bytes, begin: int, left: int | None, size: int) -> Iterator[Block]:
    lines = 0
    for chunk in _chunks(file, left, size):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            carry += chunk
            continue
        data, carry = carry + chunk[:cut], chunk[cut:]
        yield Block(data, begin, lines)
        lines += _count_lines(data)
    if carry:
        yield Block(carry, begin, lines)


def _count_lines(data: bytes) -> int:
    """Count line ends; six times as fast as `bytes.count` where they are frequent."""
    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")))
