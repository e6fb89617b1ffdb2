"""Lines of a bucket as they come -> canonical lines: CSV, LF, the dataset's columns in the dataset's order.

Owns what a bucket's content may be: CSV with or without a header, JSON lines, told apart by content. Structure only
is judged (columns, field counts); whether a value can be used is found when the dataset is prepared. Lines that are
canonical already pass as the bytes they are, and are checked in blocks, never one by one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from dataflow.buckets import CHUNK_BYTES, LONGEST_LINE, Lines, Part
from dataflow.errors import Code, RequestRejected

HEAD_BYTES = 1 << 16
"""A header line, or the first object of JSON lines, must fit."""

_BEFORE_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*\r?\n)*")
"""A byte order mark and blank lines."""

_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Values stay the text they are: a number is not rounded on its way."""

csv.field_size_limit(LONGEST_LINE)  # a field may be as long as its line; Python's own limit is less


@dataclass(frozen=True)
class Layout:
    """What a part holds.

    Parameters
    ----------
    kind : str
        `empty`, `csv` or `json`.
    columns : tuple of str
        The part's columns in its order; for JSON lines those of the first object.
    start : int
        Byte offset of the first row.
    line : int
        Number of lines before it.
    """

    kind: Literal["empty", "csv", "json"]
    columns: tuple[str, ...] = ()
    start: int = 0
    line: int = 0


class Block(NamedTuple):
    """Canonical lines and their number."""

    content: memoryview
    rows: int


def layout_of(part: Part, configured: Sequence[str] | None) -> Layout:
    """Tell CSV with header, CSV without and JSON lines apart.

    Parameters
    ----------
    part : Part
        A file of a bucket.
    configured : sequence of str or None
        The line's columns: those of CSV without a header.

    Raises
    ------
    RequestRejected
        `bad_bucket` if it is none of them.
    """
    head = part.head(HEAD_BYTES)
    before = _BEFORE_TEXT.match(head)
    start = before.end() if before else 0
    first, newline, _ = head[start:].partition(b"\n")
    line = head[:start].count(b"\n")
    if not head[start:].strip() and part.size <= len(head):
        return Layout("empty")
    if not first.strip():
        _refuse(part, line + 1, f"expected text in the first {HEAD_BYTES} bytes, and no other blanks before it")
    if not newline and len(head) == HEAD_BYTES:
        _refuse(part, line + 1, f"expected a first line of at most {HEAD_BYTES} bytes, found a longer one")
    if b"\0" in first:
        _refuse(part, line + 1, "expected text, found a NUL character")
    try:
        if first.lstrip().startswith(b"{"):
            return Layout("json", _names(_decode_object(first)), start, line)
        names = next(csv.reader([first.decode().rstrip("\r")], strict=True))
    except (UnicodeDecodeError, msgspec.DecodeError, csv.Error) as error:
        _refuse(part, line + 1, f"expected CSV or JSON lines in UTF-8, found {first[:80]!r} ({error})")
    if _is_header(names, configured):
        return Layout("csv", tuple(names), start + len(first) + 1, line + 1)
    if not configured:
        _refuse(part, line + 1, f"expected a header, or `columns` in the line's configuration, found {first[:80]!r}")
    return Layout("csv", tuple(configured), start, line)


def _decode_object(text: bytes | str) -> dict[str, msgspec.Raw]:
    try:
        return _objects.decode(text)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None


def _names(fields: Mapping[str, object]) -> tuple[str, ...]:
    if not fields or any("\n" in name or "\r" in name for name in fields):
        raise msgspec.DecodeError("an object whose names can be a header")
    return tuple(fields)


def _is_header(names: Sequence[str], configured: Sequence[str] | None) -> bool:
    if configured:
        return any(name in configured for name in names)
    return not any(_is_number(name) for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class CanonicalRows:
    """The rows of one part in the dataset's columns.

    Parameters
    ----------
    part : Part
        A file of a bucket.
    layout : Layout
        What it holds.
    columns : tuple of str
        The dataset's columns.
    buffers : iterator of bytearray
        What the part is read into.

    Raises
    ------
    RequestRejected
        `bad_bucket` if CSV lacks a column, or has one twice.
    """

    def __init__(self, part: Part, layout: Layout, columns: tuple[str, ...], buffers: Iterator[bytearray]) -> None:
        self._part, self._layout, self._columns, self._buffers = part, layout, columns, buffers
        self._line = layout.line
        self._mask = np.empty(CHUNK_BYTES + 1, bool)  # made once: pages of fresh memory cost more than the check
        missing = [name for name in columns if name not in layout.columns]
        if layout.kind == "csv" and (missing or len(set(layout.columns)) < len(layout.columns)):
            self._refuse(0, f"expected the columns {list(columns)} once each, found {list(layout.columns)}")

    def __iter__(self) -> Iterator[Block]:
        """Yield the rows block by block; one stays valid until its buffer comes again.

        Raises
        ------
        RequestRejected
            `bad_bucket` for a wrong number of fields, a line break or an object within a value, what is not UTF-8.
        """
        as_it_is = self._layout.kind == "csv" and self._layout.columns == self._columns
        rewrite = self._from_json if self._layout.kind == "json" else self._from_csv
        for lines in self._part.lines(self._layout.start, self._buffers):
            block = _regular_block(lines, len(self._columns), self._mask) if as_it_is else None
            if block:
                self._line += block.rows
                yield block
            else:
                yield block_of(rewrite(lines))
                self._line += lines.buffer.count(b"\n", 0, lines.size)

    def _from_csv(self, lines: Lines) -> Iterator[list[str]]:
        places = [self._layout.columns.index(name) for name in self._columns]
        expected = len(self._layout.columns)
        reader = csv.reader(io.StringIO(self._text(lines), newline=""), strict=True)
        try:
            for row in reader:
                if row and len(row) != expected:
                    self._refuse(reader.line_num, f"expected {expected} fields, found {len(row)}: {_shown(row)}")
                if row:
                    yield self._one_line([row[place] for place in places], reader.line_num)
        except csv.Error as error:
            self._refuse(reader.line_num, f"expected CSV, found a field that does not end in its line ({error})")

    def _from_json(self, lines: Lines) -> Iterator[list[str]]:
        for number, line in enumerate(self._text(lines).split("\n"), start=1):
            if line.strip():
                try:
                    fields = _decode_object(line)
                    row = [_text_of(fields[name]) if name in fields else "" for name in self._columns]
                except msgspec.DecodeError as error:
                    self._refuse(number, f"expected a flat JSON object, found {_shown(line)} ({error})")
                yield self._one_line(row, number)

    def _text(self, lines: Lines) -> str:
        try:
            text = str(lines.view, "utf-8")
        except UnicodeDecodeError as error:
            self._refuse(bytes(lines.view[: error.start]).count(b"\n") + 1, f"expected UTF-8: {error}")
        if "\0" in text:
            self._refuse(text[: text.index("\0")].count("\n") + 1, "expected text, found a NUL character")
        return text

    def _one_line(self, row: list[str], line: int) -> list[str]:
        if any("\n" in value or "\r" in value for value in row):
            self._refuse(line, f"expected one event per line, found a value with a line break: {_shown(row)}")
        return row

    def _refuse(self, line: int, text: str) -> NoReturn:
        _refuse(self._part, self._line + line, text)


def _regular_block(lines: Lines, fields: int, mask: npt.NDArray[np.bool_]) -> Block | None:
    """Return lines that are canonical, or are but for CRLF; None if each must be looked at.

    Parameters
    ----------
    lines : Lines
        CSV in the dataset's columns.
    fields : int
        Number of columns.
    mask : bool, shape (at least lines.size,)
        Scratch.
    """
    if lines.has(b"\r"):
        lines = lines.without_returns()
    if any(lines.has(byte) for byte in (b"\r", b'"', b"\0")):
        return None
    codes = np.frombuffer(lines.view, np.uint8)
    if codes.max() >= 128 and not _is_utf8(lines.view):
        return None
    ends, commas = (_places(codes, byte, mask) for byte in b"\n,")
    rows = int(np.bitwise_count(ends).sum())
    if fields == 1 and (lines.has(b"\n\n") or lines.buffer.startswith(b"\n")):
        return None  # a blank line, which no count of commas tells
    return Block(lines.view, rows) if _each_row_has(fields - 1, commas, ends) else None


def _places(codes: npt.NDArray[np.uint8], byte: int, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Return where a byte occurs, a bit each: place p is bit p % 64 of word p // 64.

    Parameters
    ----------
    codes : uint8, shape (n,)
    mask : bool, shape (at least n,)
        Scratch.

    Returns
    -------
    uint64, shape (n // 64 + 1,)
    """
    words = np.zeros(len(codes) // 64 + 1, dtype="<u8")
    packed = np.packbits(np.equal(codes, byte, out=mask[: len(codes)]), bitorder="little")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _each_row_has(number: int, commas: npt.NDArray[np.uint64], ends: npt.NDArray[np.uint64]) -> bool:
    """Tell whether every row has so many commas, a word of 64 places at a time.

    Counts are kept modulo the smallest integer type that holds the number, because bytes are fast. Nothing is lost by
    it: were every row right but for a multiple of the modulus, none could have fewer than the number, and the total,
    which is exact, leaves none more.

    Parameters
    ----------
    number : int
        What every row must have.
    commas, ends : uint64, shape (n_words,)
        Places of commas and of the rows' ends; the last place of all is an end.
    """
    commas_here, rows_here = np.bitwise_count(commas), np.bitwise_count(ends)
    if commas_here.sum() != number * rows_here.sum():
        return False
    kind = np.min_scalar_type(number)
    each = kind.type(number)
    owed_here = rows_here * each - commas_here
    owed = np.cumsum(owed_here, dtype=np.int64).astype(kind) - owed_here + each
    for _ in range(rows_here.max(initial=0)):  # each turn checks the first end that a word still has
        first = ends & -ends
        wrong = np.bitwise_count(commas & (first - np.uint64(1))) != owed
        if (wrong & (first != 0)).any():
            return False
        ends = ends ^ first
        owed += each
    return True


def block_of(rows: Iterable[Sequence[str]]) -> Block:
    """Write rows as canonical lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    number = 0
    for number, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
        writer.writerow(row)
    return Block(memoryview(text.getvalue().encode()), number)


def _text_of(value: msgspec.Raw) -> str:
    """Return a JSON value as CSV has it: null is empty, a number is the text it was."""
    first = bytes(value)[:1]
    if first == b'"':
        return msgspec.json.decode(value, type=str)
    if first in b"{[":
        raise msgspec.DecodeError("an object or a list within it")
    return "" if first == b"n" else bytes(value).decode()


def _is_utf8(content: memoryview) -> bool:
    try:
        str(content, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _shown(content: object) -> str:
    return str(content)[:80]


def _refuse(part: Part, line: int, text: str) -> NoReturn:
    raise RequestRejected(Code.BAD_BUCKET, f"{part.path}, line {line}: {text}")
