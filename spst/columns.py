"""The columns that predicates see: checked once, sliced together, with what is computed from them once.

A needed number is never missing, a text or NaN. Infinities are numbers and compare like numbers, except in positions,
which must be finite. Knows no predicate, pattern or file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from spst.errors import EventsError
from spst.geometry import distance_km
from spst.table import Kind

POSITION: Mapping[str, Kind] = {"lon": "number", "lat": "number"}
ALIASES = {"EventType": "type", "Timestamp": "timestamp"}
"""Attributes of the pattern language, and the columns that hold them."""


def column_name(attribute: str) -> str:
    """Name of the column that holds an attribute of the pattern language."""
    return ALIASES.get(attribute, attribute)


class Columns:
    """Columns of the same events, and the distances computed from them, once for every centre.

    Parameters
    ----------
    data : mapping
        Column name to array, shape (n_events,), or to one event's value.
    distances : mapping, optional
        Centre (lon, lat) in degrees to distances in km that are known already.
    """

    def __init__(self, data: Mapping[str, Any], distances: Mapping[tuple[float, float], Any] | None = None) -> None:
        self._data = data
        self._distances = dict(distances or {})

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def distance_to(self, lon: float, lat: float) -> Any:
        """Distance in km from every event to a point given in degrees."""
        if (lon, lat) not in self._distances:
            self._distances[lon, lat] = distance_km(self._data["lon"], self._data["lat"], lon, lat)
        return self._distances[lon, lat]


def checked_columns(data: Mapping[str, Any], needed: Mapping[str, Kind], first_event: int = 0) -> Columns:
    """Pick the needed columns, and check that they hold what predicates may see.

    Parameters
    ----------
    data : mapping
        Column name to array, shape (n_events,).
    needed : mapping
        Column name to kind; ``a|b`` is the first that there is.
    first_event : int
        Number of the first event, for messages.

    Raises
    ------
    EventsError
        A column is absent or longer than another, a number is wanted and a text stands there or the other way round, a
        number is NaN, or a position is infinite; names the column and the event.
    """
    columns: dict[str, Any] = {}
    for name, kind in needed.items():
        column = _held(data, name)
        if column is None:
            raise EventsError(
                f"the pattern needs the column {name} ({kind}); the events have {', '.join(data) or 'none'}"
            )
        is_number = getattr(column, "dtype", np.dtype("O")).kind in "iuf"
        if is_number != (kind == "number"):
            raise EventsError(
                f"column {name} holds {'numbers' if is_number else 'no numbers'}; the pattern needs a {kind}"
            )
        if is_number and (bad := ~np.isfinite(column) if name in POSITION else np.isnan(column)).any():
            n = int(np.argmax(bad))
            raise EventsError(f"event {first_event + n} (the first is 0): {name} is {column[n]}, no usable number")
        columns[name] = column
    if len(lengths := {len(column) for column in columns.values()}) > 1:
        raise EventsError(f"the columns {', '.join(columns)} must have one length, not {sorted(lengths)}")
    return Columns(columns)


def checked_event(event: Mapping[str, Any], needed: Mapping[str, Kind]) -> Columns:
    """Check one event of plain values as `checked_columns` checks columns, and take numbers as floats."""
    values: dict[str, float | str] = {}
    for name, kind in needed.items():
        value = _held(event, name)
        if kind == "number" and isinstance(value, int | float) and _usable(name, value):
            values[name] = float(value)
        elif kind == "text" and isinstance(value, str):
            values[name] = value
        else:
            raise EventsError(f"the pattern needs a {kind} as {name}; the event has {value!r}")
    return Columns(values)


def _held(data: Mapping[str, Any], name: str) -> Any:
    """What is called `name`, or, for ``a|b``, by the first of these names that there is; None if there is nothing."""
    return data[name] if name in data else next((data[n] for n in name.split("|") if n in data), None)


def _usable(name: str, value: float) -> bool:
    return not isinstance(value, bool) and (math.isfinite(value) if name in POSITION else not math.isnan(value))
