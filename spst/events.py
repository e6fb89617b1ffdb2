"""Events: files of CSV or JSON lines, plain or gzipped, and columns in memory, as batches of columns.

Owns where events come from, and which rows are events, resets or bad. A file is read in blocks, so that memory does not
grow with it. Must not know: patterns, symbols.

Two columns mean something by name: `timestamp` (-1 marks a reset row, and it tells the span of the events) and `type`
(`RESET` marks a reset row; where there is no such column every event is a `SampledCritical`). A reset row is no event:
it empties the context of its partition and restarts its automaton. The attributes `Timestamp` and `EventType` are these
columns, and columns of these names stand for them where they are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import numpy.typing as npt

from spst.arrays import Mask
from spst.blocks import LineFile, Source
from spst.columns import ALIASES, POSITION
from spst.errors import EventsError
from spst.layout import Layout
from spst.table import BadRow, Kind, Numbers, Table, Text, missing

BLOCK_BYTES = 1 << 22
DEFAULT_TYPE = "SampledCritical"
RESET_TYPE = "RESET"
RESET_TIMESTAMP = -1


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows.

    Attributes
    ----------
    columns : attribute as asked for -> float64, or Text, shape (n_events,)
        Of the events only: neither of reset rows nor of bad ones.
    is_event : bool, shape (n_events + n_resets,)
        False: a reset row.
    partition : Text, shape (n_events + n_resets,), or None
        Partition of every event and reset row.
    is_bad : bool, shape (rows,)
        Rows that are in none of the above.
    rows, skipped : int
        Rows read, and the bad ones among them.
    timestamps : (float, float) or None
        Smallest and largest timestamp of the events; None: there is no such column, or no event.
    first_bad : BadRow or None
        The first bad row, in the first batch that has one.
    """

    columns: Mapping[str, Numbers | Text]
    is_event: Mask
    partition: Text | None
    is_bad: Mask
    rows: int
    skipped: int
    timestamps: tuple[float, float] | None
    first_bad: BadRow | None


class Events:
    """A lazy handle on events; made by `read_events` and `Events.from_columns`."""

    def __init__(
        self, names: Sequence[str], tables: Callable[[Mapping[str, Kind]], Iterator[Table]], where: str
    ) -> None:
        self.names = tuple(names)
        self.where = where
        self._tables = tables
        self._columns = {n if (alias := ALIASES.get(n, n)) in self.names else alias: n for n in self.names}

    def __repr__(self) -> str:
        return f"Events({self.where!r}, columns={self.names})"

    @classmethod
    def from_columns(cls, columns: Mapping[str, npt.ArrayLike | Sequence[object]]) -> Events:
        """Events that are in memory already: name -> values, shape (n_rows,); NaN, None and "" are missing values.

        Raises
        ------
        EventsError
            The columns differ in length or have more than one dimension.
        """
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        shapes = {array.shape for array in arrays.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise EventsError(f"columns must have one dimension and the same length, not the shapes {sorted(shapes)}")
        return cls(tuple(arrays), lambda kinds: iter([_memory_table(arrays, kinds)]), "columns in memory")

    def batches(self, needed: Mapping[str, Kind], partition_by: str | None = None) -> Iterator[Batch]:
        """Read the events.

        Parameters
        ----------
        needed : attribute -> "number" or "text"
            A row in which one of them is empty, NaN or of another kind, or a position infinite, is bad: skipped and
            counted. ``a|b`` is the first of the two that there is.
        partition_by : str or None
            Attribute whose value, read as text, is the event's partition; needed of reset rows too.

        Raises
        ------
        EventsError
            A needed column is absent (before anything is read); the file cannot be read.
        """
        holders = {attribute: self.column(attribute) for attribute in needed}
        owner = None if partition_by is None else self.column(partition_by)
        kinds: dict[str, Kind] = {"timestamp": "number", "type": "text"}
        kinds |= {holders[attribute]: kind for attribute, kind in needed.items()}
        if owner is not None:
            kinds[owner] = "text"
        return self._batches(needed, holders, owner, {n: kind for n, kind in kinds.items() if n in self._columns})

    def column(self, attribute: str) -> str:
        """The column that holds an attribute; of ``a|b`` the first that there is.

        Raises
        ------
        EventsError
            There is none, and no default.
        """
        for name in attribute.split("|"):
            column = name if name in self._columns else ALIASES.get(name, name)
            if column in self._columns or column == "type":
                return column
        raise EventsError(
            f"{self.where}: the column {attribute!r} is needed, but there are only {', '.join(self.names)}"
        )

    def _batches(
        self, needed: Mapping[str, Kind], holders: Mapping[str, str], owner: str | None, kinds: Mapping[str, Kind]
    ) -> Iterator[Batch]:
        shown = False
        for table in self._tables({self._columns[name]: kind for name, kind in kinds.items()}):
            default = Text(np.zeros(table.n_rows, dtype=np.int32), [DEFAULT_TYPE])
            columns = {"type": default, **{name: table.columns[self._columns[name]] for name in kinds}}
            values = {attribute: _as_kind(columns[holders[attribute]], kind) for attribute, kind in needed.items()}
            partition = cast(Text, columns[owner]) if owner is not None else None
            reset = _resets(columns)
            bad = _bad(table, values, partition, reset)
            skipped = int(np.count_nonzero(bad))
            event = ~(bad | reset)
            yield Batch(
                columns={name: _pick(column, event) for name, column in values.items()},
                is_event=event[~bad] if skipped else event,
                partition=partition[~bad] if partition is not None and skipped else partition,
                is_bad=bad,
                rows=table.n_rows,
                skipped=skipped,
                timestamps=_span(columns.get("timestamp"), event),
                first_bad=table.show(int(np.argmax(bad))) if skipped and not shown else None,
            )
            shown = shown or skipped > 0


def _as_kind(column: Numbers | Text, kind: Kind) -> Numbers | Text:
    """A partition's column is read as text, even if a predicate compares it as a number."""
    return column.numbers() if isinstance(column, Text) and kind == "number" else column


def _resets(columns: Mapping[str, Numbers | Text]) -> Mask:
    by_type = cast(Text, columns["type"]).is_any(RESET_TYPE)
    return (
        by_type | (_as_kind(columns["timestamp"], "number") == RESET_TIMESTAMP) if "timestamp" in columns else by_type
    )


def _bad(table: Table, values: Mapping[str, Numbers | Text], partition: Text | None, reset: Mask) -> Mask:
    """bool, shape (n_rows,): an event without a needed value, a reset row without its partition, or no row at all."""
    bad = np.zeros(table.n_rows, dtype=bool)
    for attribute, column in values.items():
        needs_place = attribute in POSITION and not isinstance(column, Text)
        bad |= ~np.isfinite(column) if needs_place else missing(column)
    bad &= ~reset
    if partition is not None:
        bad |= missing(partition)
    return bad if table.malformed is None else bad | table.malformed


def _pick(column: Numbers | Text, events: Mask) -> Numbers | Text:
    return column if events.all() else column[events]


def _span(timestamps: Numbers | Text | None, events: Mask) -> tuple[float, float] | None:
    if timestamps is None:
        return None
    known = cast(Numbers, _pick(_as_kind(timestamps, "number"), events))
    known = known[np.isfinite(known)]
    return (float(known.min()), float(known.max())) if len(known) else None


def _memory_table(arrays: Mapping[str, npt.NDArray[np.generic]], kinds: Mapping[str, Kind]) -> Table:
    def show(row: int) -> BadRow:
        return BadRow(row + 1, ", ".join(f"{name}={array[row]}" for name, array in arrays.items()))

    columns: dict[str, Numbers | Text] = {}
    for name, kind in kinds.items():
        is_number = arrays[name].dtype.kind in "iuf"
        columns[name] = arrays[name].astype(np.float64) if kind == "number" and is_number else Text.of(arrays[name])
    n_rows = len(next(iter(arrays.values())))
    return Table({n: _as_kind(column, kinds[n]) for n, column in columns.items()}, n_rows, None, show)


def read_events(
    source: Source,
    columns: Sequence[str] | None = None,
    *,
    start: int = 0,
    length: int | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Events:
    """Open a file of events: CSV with or without header or JSON lines, plain or gzipped, told apart by content.

    Parameters
    ----------
    source : path or binary file
        A file object (standard input, say) can be read once.
    columns : names of the columns of a CSV file without header, or None
        A first line that repeats them is a header.
    start, length : int, bytes
        Span of a plain file to read, from and up to a line's start; the header comes from the file's first line.
    block_bytes : int
        Size of the blocks in which the file is read; what is in memory at once.

    Raises
    ------
    EventsError
        The file cannot be opened, is empty, or its first line does not tell the columns.
    """
    file = LineFile(source)
    first_line = file.first_line.decode("utf-8", errors="replace")
    if not first_line and columns is None:
        raise EventsError(f"{file.where}: is empty, or begins with an empty line, so that it does not name its columns")
    layout = Layout.sniff(first_line, columns, file.where)

    def tables(kinds: Mapping[str, Kind]) -> Iterator[Table]:
        for block in file.blocks(skip_first=layout.has_header, start=start, length=length, block_bytes=block_bytes):
            yield layout.table(block.data, kinds, partial(file.line_number, block))

    return Events(layout.names, tables, file.where)
