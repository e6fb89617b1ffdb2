"""Columns of some rows in memory: numbers as float64, texts with each distinct one held once.

Owns what a missing value is and how a value becomes a number or a text. Must not know: files, patterns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spst.arrays import FloatArray, Mask

_NUMBER = r"(?i)^\s*[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)\s*$"
Kind = Literal["number", "text"]
Numbers = FloatArray


@dataclass(frozen=True, eq=False)
class Text:
    """A column of text: ``values[codes[i]]`` is row i; code -1 is a missing value.

    To a predicate it is like an array of texts: it slices, ``==`` compares row by row, `numpy.asarray` makes it one.

    Attributes
    ----------
    codes : int32, shape (n_rows,)
    values : distinct texts
    """

    codes: npt.NDArray[np.int32]
    values: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | Mask) -> Text:
        return Text(self.codes[rows], self.values)

    def __eq__(self, other: object) -> Mask:  # type: ignore[override]  # row by row, like an array
        return self.is_any(other) if isinstance(other, str) else np.asarray(self) == np.asarray(other)

    def __ne__(self, other: object) -> Mask:  # type: ignore[override]  # row by row, like an array
        return ~(self == other)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.str_]:
        return np.array([*self.values, ""])[self.codes].astype(dtype or np.str_, copy=False)

    @classmethod
    def of(cls, values: Sequence[object] | npt.NDArray[Any]) -> Text:
        """Hold each distinct text once; what is neither text nor number is missing."""
        try:
            array = pa.array(values, from_pandas=True)  # which makes NaN a missing value
        except (pa.ArrowException, OverflowError):  # of several types
            array = pa.nulls(0)
        if not (pa.types.is_string(array.type) or pa.types.is_integer(array.type)):
            array = pa.array([as_text(value) for value in values], type=pa.string())
        return cls.from_arrow(array.dictionary_encode())

    @classmethod
    def from_arrow(cls, array: pa.DictionaryArray) -> Text:
        """Take over an encoded column of texts or integers."""
        return cls(array.indices.fill_null(-1).to_numpy(), [str(value) for value in array.dictionary.to_pylist()])

    def is_any(self, *texts: str) -> Mask:
        """bool, shape (n_rows,): the value is one of some texts."""
        mask = np.zeros(len(self.codes), dtype=bool)
        for code in (code for code, value in enumerate(self.values) if value in texts):
            mask |= self.codes == code
        return mask

    def numbers(self) -> Numbers:
        """The numbers that the texts spell, shape (n_rows,); NaN where they spell none."""
        texts = pa.array(self.values, type=pa.string())
        spelt = pc.if_else(
            pc.match_substring_regex(texts, _NUMBER), pc.utf8_ltrim(pc.utf8_trim_whitespace(texts), "+"), None
        )
        values: Numbers = spelt.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.append(values, np.nan)[self.codes]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its line in the file (from 1; for columns in memory the row) and its text."""

    line: int
    text: str


@dataclass(frozen=True)
class Table:
    """Columns of the same rows.

    Attributes
    ----------
    columns : name -> column
    n_rows : int
    malformed : bool, shape (n_rows,), or None
        Lines that are no row at all.
    show : row of this table -> its line and text
    """

    columns: Mapping[str, Numbers | Text]
    n_rows: int
    malformed: Mask | None
    show: Callable[[int], BadRow]


def missing(column: Numbers | Text) -> Mask:
    """bool, shape (n_rows,): no number, or no text, or an empty one."""
    return column.is_any("") | (column.codes < 0) if isinstance(column, Text) else np.isnan(column)


def as_number(value: object) -> float | None:
    """A number, also one spelt as text as in `Text.numbers`; None for anything else, and for NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, np.number)):
        return None
    if isinstance(value, str) and ("_" in value or not value.isascii()):  # which only Python reads as digits
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def as_text(value: object) -> str | None:
    """A text, also of a number; None for anything else."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(value) if isinstance(value, (str, int, float, np.number)) and not isinstance(value, bool) else None
