"""The library's errors: one small tree, so that a caller can catch everything with `SpstError`."""

from __future__ import annotations

import re

_SHOWN = 100  # signs of a long line that are shown around a fault


class SpstError(Exception):
    """Base of everything that the library raises on purpose."""


class PatternError(SpstError):
    """A pattern or its declarations cannot be read or used; says where, what was expected and what stood there.

    Attributes
    ----------
    line, column : int or None
        Place in the text, both from 1; None if the fault has no place.
    expected : tuple of str
        What could have stood there; empty if that is not the trouble.
    found : str or None
        What stood there.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        text: str = "",
        line: int | None = None,
        column: int | None = None,
        expected: tuple[str, ...] = (),
        found: str | None = None,
    ) -> None:
        self.line, self.column, self.expected, self.found = line, column, expected, found
        if line is not None and column is not None:
            source = "".join(text.splitlines()[line - 1 : line])
            hidden = max(0, column - _SHOWN // 2) if len(source) > _SHOWN else 0
            source, column = source[hidden : hidden + _SHOWN], column - hidden
            caret = re.sub(r"\S", " ", source[: column - 1]) + "^"  # tabs stay, so that the caret stands below its sign
            message = f"{where}line {line}, column {self.column}: {message}\n  {source}\n  {caret}"
        super().__init__(message)


class AlphabetError(SpstError):
    """The alphabet explodes, or an event fits no symbol because predicates declared exclusive are both true."""


class AutomatonError(SpstError):
    """The automaton explodes, or cannot be built from the pattern."""


class EventsError(SpstError):
    """Events cannot be read: no such file, a missing column, a malformed line."""


class BadRowsError(EventsError):
    """More rows than allowed lack a needed value; names the first bad line.

    Attributes
    ----------
    skipped, rows : int
        Bad rows, and rows read.
    line : int
        Number of the first bad line, from 1.
    text : str
        That line.
    """

    def __init__(self, skipped: int, rows: int, line: int, text: str) -> None:
        super().__init__(f"{skipped} of {rows} rows lack a value that is needed; the first is line {line}: {text!r}")
        self.skipped, self.rows, self.line, self.text = skipped, rows, line, text


class HyperparameterError(SpstError):
    """A hyperparameter lies outside its range."""


class ModelFormatError(SpstError):
    """A model file is truncated, altered, foreign or of a newer schema; nothing of it was executed."""
