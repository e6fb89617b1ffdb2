"""Lines of text as columns: CSV with or without header, and JSON lines.

Owns the conversion of blocks of whole lines: a fast path through pyarrow, with all columns as texts where a value is no
number, and a slow one, line by line, for blocks with a line that is no row. All call the same rows bad.
Must not know: files, patterns, what a column means beyond its kind.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from spst.errors import EventsError
from spst.table import BadRow, Kind, Numbers, Table, Text, as_number

_TEXT = pa.dictionary(pa.int32(), pa.string())
_SHOWN = 200  # characters of a line that an error message repeats


@dataclass(frozen=True)
class Layout:
    """How lines hold columns.

    Attributes
    ----------
    names : columns in the order of a CSV line; keys of the first JSON line and those that the caller names
    is_json : JSON lines, else CSV
    has_header : the first line names the columns
    json_types : key -> type of its value in the first JSON line
    """

    names: tuple[str, ...]
    is_json: bool
    has_header: bool
    json_types: Mapping[str, type] = field(default_factory=dict)

    @classmethod
    def sniff(cls, line: str, columns: Sequence[str] | None, where: str) -> Layout:
        """Tell the layout from the first line.

        Raises
        ------
        EventsError
            No JSON object; no header, or one with a repeated name; a line that does not fit `columns`.
        """
        shown = f"the first line is {line[:_SHOWN]!r}"
        if line.lstrip().startswith("{"):
            entries = _json_object(line)
            if entries is None:
                raise EventsError(f"{where}: begins like JSON lines, but holds no JSON object; {shown}")
            types = {name: type(value) for name, value in entries.items()}
            return cls(tuple(dict.fromkeys([*entries, *(columns or ())])), True, False, types)
        fields = _csv_fields(line)
        if fields is None:
            raise EventsError(f"{where}: is no CSV with lines that end in \\n, nor JSON lines; {shown}")
        if columns is not None:
            if fields and len(fields) != len(columns):
                raise EventsError(f"{where}: expected {len(columns)} columns, found {len(fields)}; {shown}")
            return cls(tuple(columns), False, fields == tuple(columns))
        if all(as_number(field) is not None for field in fields):
            raise EventsError(f"{where}: there is no header line, so the columns must be named by the caller; {shown}")
        if len(set(fields)) < len(fields):
            raise EventsError(f"{where}: the header names a column twice; {shown}")
        return cls(fields, False, True)

    def table(self, block: bytes, kinds: Mapping[str, Kind], number: Callable[[int], int]) -> Table:
        """The columns of a block of lines.

        Parameters
        ----------
        kinds : column -> "number" or "text"
            Numbers may come as texts too, if not all values are numbers.
        number : line's number in the block (from 0) -> its number in the file (from 0)
        """

        def show(row: int) -> BadRow:
            line, text = next(islice(_lines(block), row, None))
            return BadRow(number(line) + 1, text[:_SHOWN])

        everything_text: dict[str, Kind] = dict.fromkeys(kinds, "text")
        for asked in (kinds, everything_text):
            columns = self._fast(block, asked or {self.names[0]: "text"})  # no table has rows without columns
            if columns is not None:
                return Table(columns, len(next(iter(columns.values()))), None, show)
        return self._table_by_line(block, kinds, show)

    def _fast(self, block: bytes, kinds: Mapping[str, Kind]) -> dict[str, Numbers | Text] | None:
        """The columns by pyarrow; None if it cannot convert a line or value."""
        try:
            table = self._read_json(block, kinds) if self.is_json else self._read_csv(block, kinds)
        except pa.ArrowInvalid:
            return None
        return {name: _column(table.column(name)) for name in kinds}

    def _read_csv(self, block: bytes, kinds: Mapping[str, Kind]) -> pa.Table:
        types = {name: pa.float64() if kind == "number" else _TEXT for name, kind in kinds.items()}
        return pyarrow.csv.read_csv(
            pa.BufferReader(block),
            read_options=pyarrow.csv.ReadOptions(column_names=self.names, use_threads=False, block_size=len(block) + 1),
            convert_options=pyarrow.csv.ConvertOptions(include_columns=list(kinds), column_types=types),
        )

    def _read_json(self, block: bytes, kinds: Mapping[str, Kind]) -> pa.Table:
        schema = pa.schema([(name, self._json_type(name, kind)) for name, kind in kinds.items()])
        return pyarrow.json.read_json(
            pa.BufferReader(block),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )

    def _json_type(self, name: str, kind: Kind) -> pa.DataType:
        """What pyarrow shall read, which converts no numbers to texts nor texts to numbers."""
        if kind == "number" and self.json_types.get(name) is not str:
            return pa.float64()
        return pa.int64() if self.json_types.get(name) is int else pa.string()

    def _table_by_line(self, block: bytes, kinds: Mapping[str, Kind], show: Callable[[int], BadRow]) -> Table:
        rows = [self._fields(line) for _, line in _lines(block)]
        columns: dict[str, Numbers | Text] = {
            name: Text.of([row.get(name) if row is not None else None for row in rows]) for name in kinds
        }
        return Table(columns, len(rows), np.array([row is None for row in rows], dtype=bool), show)

    def _fields(self, line: str) -> dict[str, Any] | None:
        if self.is_json:
            return _json_object(line)
        fields = _csv_fields(line)
        return dict(zip(self.names, fields, strict=True)) if fields and len(fields) == len(self.names) else None


def _lines(block: bytes) -> Iterator[tuple[int, str]]:
    """The lines of a block that are not empty, with their place in it."""
    for number, line in enumerate(block.decode("utf-8", errors="replace").split("\n")):
        if line.strip():
            yield number, line.rstrip("\r")


def _column(column: pa.ChunkedArray) -> Numbers | Text:
    if pa.types.is_floating(column.type):
        numbers: Numbers = column.to_numpy()
        return numbers
    return Text.from_arrow(
        (column if pa.types.is_dictionary(column.type) else column.dictionary_encode()).combine_chunks()
    )


def _csv_fields(line: str) -> tuple[str, ...] | None:
    try:
        return tuple(next(csv.reader([line]), ()))
    except csv.Error:  # a carriage return or NUL inside, a field without end
        return None


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        entries = json.loads(line)
    except ValueError:
        return None
    return entries if isinstance(entries, dict) else None
