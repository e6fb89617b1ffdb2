"""Predicates on one event: the registry, what a predicate needs to be read, and its truth on whole columns.

A predicate is a function of columns and constants. The annotations of its parameters say which is which, so that the columns a
pattern needs, and their kinds, are known before anything is read:

- `Numbers` / `Texts`: the argument in the pattern is an attribute's name, the function gets that column;
- ``float`` / ``str``: the argument is a constant;
- a keyword-only parameter is a fixed column of that name (or what its annotation says), and no argument in the pattern.

    @spst.predicate("InPort")
    def in_port(port: str, *, harbour: Texts) -> Truth:
        return harbour == port

Values are checked before a predicate sees them: a needed number is never missing, a text or NaN. Infinities are numbers and
compare like numbers, except in positions, which must be finite. Knows no pattern file, alphabet or event file.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from spst.errors import EventsError, PatternError
from spst.expressions import Predicate
from spst.geometry import distance_km

Kind: TypeAlias = Literal["number", "text"]


@dataclass(frozen=True)
class Column:
    """Marks an annotation as a column of one kind; `name` if it is a fixed one, ``a|b`` for the first of them there is."""

    kind: Kind
    name: str | None = None


@dataclass(frozen=True)
class DistanceMarker:
    """Marks an annotation as the memoised distance from the events' ``lon``, ``lat`` to a point."""


Truth: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = Annotated[NDArray[np.float64], Column("number")]
Texts: TypeAlias = Annotated[NDArray[np.str_], Column("text")]
Heading: TypeAlias = Annotated[NDArray[np.float64], Column("number", "heading|cog")]
DistanceTo: TypeAlias = Annotated[Callable[[float, float], NDArray[np.float64]], DistanceMarker()]

ATTRIBUTES = {"EventType": "type", "Timestamp": "timestamp"}
"""Attribute names of the pattern language that are called otherwise in the data."""
_POSITION: Mapping[str, Kind] = {"lon": "number", "lat": "number"}

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Definition:
    """One entry of the registry, read off a function's signature.

    `parameters` are the positional ones (a `Column`, ``float`` or ``str`` each), `fixed` the keyword-only ones (a `Column` with
    its name, or a `DistanceMarker`). `thresholds`: the truth changes only where a column, a distance or the difference of two
    columns meets a constant of the predicate, which is what deciding satisfiability rests on. `scalar`: the function also works
    on plain Python values.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[tuple[str, Column | type[float] | type[str]], ...]
    fixed: tuple[tuple[str, Column | DistanceMarker], ...]
    thresholds: bool
    scalar: bool


_definitions: dict[str, Definition] = {}


def predicate(name: str, *, thresholds: bool = False, scalar: bool = False) -> Callable[[F], F]:
    """Register the decorated function as the predicate `name`.

    Parameters
    ----------
    name : str
        What patterns call it; starts with a capital.
    thresholds : bool
        The truth changes only where a column, a distance or the difference of two columns meets one of the constants.
        Lets ``alphabet="satisfiable"`` reason about it; otherwise the predicate counts as unconstrained.
    scalar : bool
        The function works on plain Python numbers and texts as it does on columns, so that a forecaster need not wrap every
        event in arrays.

    Raises
    ------
    PatternError
        The name has no capital or is taken, or an annotation is none of those that the module names.
    """

    def register(function: F) -> F:
        taken = _definitions.get(name)
        if taken is not None and _origin(taken.function) != _origin(function):
            raise PatternError(
                f"predicate {name} is defined twice: by {_origin(taken.function)} and {_origin(function)}"
            )
        if not name[:1].isupper() or not name.isidentifier():
            raise PatternError(f"a predicate's name is a word that starts with a capital, not {name!r}")
        _definitions[name] = _definition(name, function, thresholds, scalar)
        return function

    return register


def _origin(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _definition(name: str, function: Callable[..., Any], thresholds: bool, scalar: bool) -> Definition:
    parameters, fixed = [], []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        marker = next(iter(getattr(parameter.annotation, "__metadata__", ())), parameter.annotation)
        if parameter.kind is parameter.KEYWORD_ONLY and isinstance(marker, Column | DistanceMarker):
            named = Column(marker.kind, marker.name or parameter.name) if isinstance(marker, Column) else marker
            fixed.append((parameter.name, named))
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and (
            isinstance(marker, Column) or marker in (float, str)
        ):
            parameters.append((parameter.name, marker))
        else:
            raise PatternError(
                f"predicate {name}: parameter {parameter} of {_origin(function)} must be annotated Numbers, Texts, float or str, "
                "or be keyword-only and name a column"
            )
    return Definition(name, function, tuple(parameters), tuple(fixed), thresholds, scalar)


def definition(name: str) -> Definition:
    """Look a predicate up, in the installed packages' ``spst.predicates`` entry points too.

    Raises
    ------
    PatternError
        Nobody defines it; names the closest ones.
    """
    if name not in _definitions:
        load_entry_points()
    if name not in _definitions:
        hint = " or ".join(get_close_matches(name, _definitions, n=3)) or ", ".join(sorted(_definitions))
        raise PatternError(f"unknown predicate {name}; known: {hint}")
    return _definitions[name]


def load_predicates(module_name: str) -> None:
    """Import a module that registers predicates.

    Raises
    ------
    PatternError
        There is no such module, or it fails; names it and the reason.
    """
    try:
        importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises
        raise PatternError(f"cannot load predicates from module {module_name!r}: {error!r}") from error


@cache
def load_entry_points() -> None:
    """Import every module that an installed package names in the entry-point group ``spst.predicates``; once."""
    for point in entry_points(group="spst.predicates"):
        load_predicates(point.module)


def checked(name: str, args: Iterable[float | str]) -> Predicate:
    """Make a predicate whose arguments fit its definition.

    A number where a constant text is meant becomes that text (``EQStr(mmsi,367466930)``): pass it as it is written.

    Raises
    ------
    PatternError
        The predicate is unknown, or an argument is missing, left over or of the wrong kind.
    """
    known, given = definition(name), tuple(args)
    wanted = ", ".join(f"{parameter}: {_kind_text(kind)}" for parameter, kind in known.parameters) or "none"
    if len(given) != len(known.parameters):
        raise PatternError(f"{name} takes {len(known.parameters)} arguments ({wanted}), found {len(given)}")
    for value, (parameter, kind) in zip(given, known.parameters, strict=True):
        if isinstance(value, str) if kind is float else not isinstance(value, str):
            raise PatternError(
                f"{name}: argument {parameter} must be {_kind_text(kind)}, found {value!r} ({name} takes {wanted})"
            )
        if isinstance(value, float) and not np.isfinite(value):
            raise PatternError(f"{name}: argument {parameter} must be finite, found {value}")
    return Predicate(name, given)


def _kind_text(kind: Column | type) -> str:
    return f"an attribute ({kind.kind})" if isinstance(kind, Column) else "a number" if kind is float else "a text"


def needed_columns(predicates: Iterable[Predicate]) -> dict[str, Kind]:
    """Tell which columns some predicates need, and of which kind, before anything is read.

    Returns
    -------
    dict
        Column name to ``"number"`` or ``"text"``, in order of appearance. A name ``a|b`` is the first of these that exists.

    Raises
    ------
    PatternError
        One predicate needs a column as numbers and another as texts.
    """
    needed: dict[str, tuple[Kind, Predicate]] = {}
    for p in predicates:
        for name, kind in _columns(p):
            before = needed.setdefault(name, (kind, p))
            if before[0] != kind:
                raise PatternError(
                    f"attribute {name} cannot be both: a {before[0]} for {before[1]} and a {kind} for {p}"
                )
    return {name: kind for name, (kind, _) in needed.items()}


def _columns(p: Predicate) -> Iterable[tuple[str, Kind]]:
    known = definition(p.name)
    for (_, kind), value in zip(known.parameters, p.args, strict=True):
        if isinstance(kind, Column):
            yield column_name(str(value)), kind.kind
    for _, fixed in known.fixed:
        yield from _POSITION.items() if isinstance(fixed, DistanceMarker) else [(str(fixed.name), fixed.kind)]


def column_name(attribute: str) -> str:
    """Name of the column that holds an attribute of the pattern language."""
    return ATTRIBUTES.get(attribute, attribute)


class Columns:
    """Columns of the same events, and the distances computed from them, once for every centre.

    Parameters
    ----------
    data : mapping
        Column name to array, shape (n_events,), or to one event's value.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._distances: dict[tuple[float, float], Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def distance_to(self, lon: float, lat: float) -> Any:
        """Distance in km from every event to a point given in degrees."""
        if (lon, lat) not in self._distances:
            self._distances[lon, lat] = distance_km(self._data["lon"], self._data["lat"], lon, lat)
        return self._distances[lon, lat]


def bind(p: Predicate) -> Callable[[Columns], Truth]:
    """Make the function that gives a predicate's truth for every event of some columns, shape (n_events,), bool."""
    known = definition(p.name)
    is_column = [isinstance(kind, Column) for _, kind in known.parameters]
    args = [column_name(str(value)) if column else value for column, value in zip(is_column, p.args, strict=True)]

    def truth(columns: Columns) -> Truth:
        positional = [columns[value] if column else value for column, value in zip(is_column, args, strict=True)]
        keywords = {
            name: columns.distance_to if isinstance(fixed, DistanceMarker) else columns[fixed.name]
            for name, fixed in known.fixed
        }
        return known.function(*positional, **keywords)  # type: ignore[no-any-return]  # a user's function

    return truth


def bind_scalar(p: Predicate) -> Callable[[Columns], bool]:
    """Make the function that gives a predicate's truth for one event whose columns hold plain values."""
    truth, known = bind(p), definition(p.name)
    if known.scalar:
        return lambda columns: bool(truth(columns))
    names = [name for name, _ in _columns(p)]
    return lambda columns: bool(truth(Columns({name: np.array([columns[name]]) for name in names}))[0])


def checked_columns(data: Mapping[str, Any], needed: Mapping[str, Kind], first_row: int = 0) -> Columns:
    """Check that the needed columns are there and hold what predicates may see.

    Raises
    ------
    EventsError
        A column is absent, a number is wanted and a text stands there or the other way round, or a number is NaN, or a position
        is infinite; names the column and the row.
    """
    for name, kind in needed.items():
        if name not in data:
            raise EventsError(
                f"the pattern needs the column {name} ({kind}); the events have {', '.join(data) or 'none'}"
            )
        is_number = getattr(data[name], "dtype", np.dtype("O")).kind in "iuf"
        if is_number != (kind == "number"):
            raise EventsError(
                f"column {name} holds {'numbers' if is_number else 'no numbers'}; the pattern needs a {kind}"
            )
        if is_number:
            bad = ~np.isfinite(data[name]) if name in _POSITION else np.isnan(data[name])
            if bad.any():
                row = int(np.argmax(bad))
                raise EventsError(f"column {name}, row {first_row + row}: {data[name][row]} is not a usable number")
    return Columns(data)


def checked_event(event: Mapping[str, Any], needed: Mapping[str, Kind]) -> Columns:
    """Check one event of plain values as `checked_columns` checks columns, and take numbers as floats."""
    values: dict[str, float | str] = {}
    for name, kind in needed.items():
        value = next((event[n] for n in name.split("|") if n in event), None)
        if (
            kind == "number"
            and isinstance(value, int | float)
            and (math.isfinite(value) if name in _POSITION else value == value)
        ):
            values[name] = float(value)
        elif kind == "text" and isinstance(value, str):
            values[name] = value
        else:
            raise EventsError(f"the pattern needs a {kind} as {name}; the event has {value!r}")
    return Columns(values)
