"""One event of plain values at a time: the counterpart of `spst.events` for a forecaster.

Owns what an event's partition, reset mark and needed values are; calls the same events bad as `Events.batches` does.
Must not know: symbols, models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from spst.columns import ALIASES, POSITION
from spst.events import DEFAULT_TYPE, RESET_TIMESTAMP, RESET_TYPE
from spst.table import Kind, as_number, as_text

Event: TypeAlias = Mapping[str, Any]


class EventReader:
    """Reads events for some needs.

    Parameters
    ----------
    needed : mapping
        Attribute to "number" or "text"; of ``a|b`` the first that the event has counts.
    partition_by : str or None
        Attribute whose value, read as text, is the event's partition; None: all are in the partition "".
    """

    def __init__(self, needed: Mapping[str, Kind], partition_by: str | None) -> None:
        self._needed = [(name, _names(name), _converter(name, kind)) for name, kind in needed.items()]
        self._partition_by = None if partition_by is None else _names(partition_by)

    def partition(self, event: Event) -> str | None:
        """Give the partition of an event or reset row; None if it tells none."""
        return "" if self._partition_by is None else _text(_first(event, self._partition_by))

    def values(self, event: Event) -> dict[str, float | str] | None:
        """Give the needed values, numbers as floats; None if one is missing, empty, NaN or of the wrong kind."""
        values = {}
        for name, choices, convert in self._needed:
            value = convert(_first(event, choices, _default(name)))
            if value is None:
                return None
            values[name] = value
        return values


def is_reset(event: Event) -> bool:
    """Tell whether a row is no event but resets its partition: `timestamp` is -1 or `type` is RESET."""
    stamp = _first(event, _STAMP)
    number = as_number(stamp) if isinstance(stamp, str) else stamp
    return bool(_first(event, _TYPE) == RESET_TYPE or number == RESET_TIMESTAMP)


def _names(attribute: str) -> tuple[str, ...]:
    """The names under which an event may hold an attribute, as `Events.column` finds it."""
    names = attribute.split("|")
    return (*names, *(ALIASES[name] for name in names if name in ALIASES), *(a for a in ALIASES if ALIASES[a] in names))


_STAMP, _TYPE = _names("timestamp"), _names("type")


def _first(event: Event, names: Iterable[str], default: Any = None) -> Any:
    for name in names:
        if name in event:
            return event[name]
    return default


def _default(name: str) -> str | None:
    return DEFAULT_TYPE if name == "type" else None


def _converter(name: str, kind: Kind) -> Callable[[Any], float | str | None]:
    if kind == "text":
        return _text
    return _position if name in POSITION else _number


def _number(value: Any) -> float | None:
    return value if type(value) is float and value == value else as_number(value)


def _position(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None


def _text(value: Any) -> str | None:
    return (value if type(value) is str else as_text(value)) or None
