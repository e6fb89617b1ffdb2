"""What a file of events looks like: its columns, which of them is the time, which tells whose event it is.

Owns guesses, from the names and values at the beginning of the file. Must not know: patterns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spst.errors import EventsError
from spst.events import Events
from spst.table import Text

QUANTILES = (0.25, 0.5, 0.75, 0.9)
_NUMERIC_SHARE = 0.9  # a column is one of numbers if this share of its values is
_EXAMPLES = 12
_RISING_SHARE = 0.95  # a column that falls less often than this tells the time
_TIME = re.compile(r"(time|timestamp|datetime|date|epoch|ts|t)", re.IGNORECASE)
_ENTITY = re.compile(
    r"(.*_)?(id|mmsi|imo|entity|user|customer|client|device|sensor|session|patient|vessel|ship|machine|host|account|card)s?"
    r"(_?id)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Column:
    """One column, as far as the rows looked at tell.

    Attributes
    ----------
    name, kind : str
        The kind is "number" or "text".
    missing : int
        Rows without a value, or without a number in a column of numbers.
    distinct : int
    examples : tuple of str
        The most frequent values.
    low, high : float or None
        Smallest and largest number.
    quantiles : tuple of float
        At `QUANTILES`; empty for text.
    whole, rising : bool
        All numbers are whole; they hardly ever fall.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    examples: tuple[str, ...]
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, ...] = ()
    whole: bool = False
    rising: bool = False


@dataclass(frozen=True)
class Survey:
    """The columns of some events; `time` and `entity` are None where no column looks like one."""

    rows: int
    columns: tuple[Column, ...]
    time: str | None
    entity: str | None

    @property
    def attributes(self) -> tuple[Column, ...]:
        """The columns that are neither time nor entity."""
        return tuple(column for column in self.columns if column.name not in (self.time, self.entity))


def survey(events: Events) -> Survey:
    """Look at the first block of a file of events (which must be readable again and again)."""
    columns, rows = [], 0
    for name in events.names:
        batch = next(events.batches({name: "text"}), None)
        if batch is None:
            raise EventsError(f"{events.where}: there are no rows below the header")
        text = batch.columns[name]
        assert isinstance(text, Text)
        columns.append(_column(name, text, batch.skipped))
        rows = batch.rows
    time = _time(columns)
    return Survey(rows, tuple(columns), time, _entity([column for column in columns if column.name != time], rows))


def _column(name: str, text: Text, missing: int) -> Column:
    times = np.bincount(text.codes, minlength=len(text.values))
    examples = tuple(text.values[code] for code in np.argsort(-times, kind="stable")[:_EXAMPLES] if times[code])
    distinct = int(np.count_nonzero(times))
    numbers = text.numbers()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or len(numbers) < _NUMERIC_SHARE * len(text):
        return Column(name, "text", missing, distinct, examples)
    return Column(
        name,
        "number",
        missing + len(text) - len(numbers),
        distinct,
        examples,
        low=float(numbers.min()),
        high=float(numbers.max()),
        quantiles=tuple(np.quantile(numbers, QUANTILES).tolist()),
        whole=bool((numbers == np.round(numbers)).all()),
        rising=bool((np.diff(numbers) >= 0).mean() >= _RISING_SHARE) if len(numbers) > 1 else False,
    )


def _time(columns: Sequence[Column]) -> str | None:
    numeric = [column for column in columns if column.kind == "number" and column.distinct > 1]
    named = [column.name for column in numeric if _TIME.fullmatch(column.name)]
    rising = [column.name for column in numeric if column.rising and column.distinct > 100]
    return next(iter([*named, *rising]), None)


def _entity(columns: Sequence[Column], rows: int) -> str | None:
    """A column that names things: texts or whole numbers, each of them in many rows."""
    naming = [
        column
        for column in columns
        if column.name != "type"
        and 1 < column.distinct <= max(2, rows // 10)
        and (column.kind == "text" or column.whole)
    ]
    named = [column.name for column in naming if _ENTITY.fullmatch(column.name)]
    texts = [column.name for column in naming if column.kind == "text"]
    return next(iter([*named, *texts]), None)
