"""Predicates on one event: the registry, what a predicate needs to be read, and its truth.

A predicate is a function of columns and constants. The annotations of its parameters say which is which, so that the
columns a pattern needs, and their kinds, are known before anything is read:

- `Numbers` or `Texts`: the argument in the pattern is an attribute's name, the function gets that column;
- ``float`` or ``str``: the argument is a constant;
- a keyword-only parameter takes no argument of the pattern: it is the column of its name, or what its annotation says.

    @spst.predicate("InHarbour")
    def in_harbour(name: str, *, harbour: Texts) -> Truth:
        return harbour == name

Values are checked before a predicate sees them (`spst.columns`). Knows no pattern file, alphabet or event file.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from spst.columns import POSITION, Columns, column_name
from spst.errors import PatternError
from spst.expressions import Predicate
from spst.table import Kind


@dataclass(frozen=True)
class Column:
    """Marks an annotation as a column of one kind; `name` if it is a fixed one, ``a|b`` for the first that there is."""

    kind: Kind
    name: str = ""


@dataclass(frozen=True)
class Distance:
    """Marks an annotation as the function (lon, lat) -> km from the events' positions, which remembers its results."""


Truth: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = Annotated[NDArray[np.float64], Column("number")]
Texts: TypeAlias = Annotated[NDArray[np.str_], Column("text")]
Heading: TypeAlias = Annotated[NDArray[np.float64], Column("number", "heading|cog")]
DistanceTo: TypeAlias = Annotated[Callable[[float, float], NDArray[np.float64]], Distance()]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Definition:
    """One entry of the registry, read off a function's signature.

    `parameters` are the positional ones, `fixed` the keyword-only ones, a `Column` with its name; `distance` names the
    one that is a `Distance`. For `thresholds` and `scalar` see `predicate`.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[tuple[str, Column | type[float] | type[str]], ...]
    fixed: tuple[tuple[str, Column], ...]
    distance: str | None
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
        The truth changes only where a column, the difference of two columns (and 0), or the distance to the point that
        the first two arguments name, meets one of the constants. Lets the satisfiable alphabet reason about it.
    scalar : bool
        The function works on plain Python numbers and texts as it does on columns, so that a forecaster need not wrap
        every event in arrays.

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
    parameters: list[tuple[str, Column | type[float] | type[str]]] = []
    fixed, distance = [], None
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise PatternError(
            f"predicate {name}: cannot resolve the annotations of {_origin(function)}: {error}"
        ) from error
    for parameter in signature.parameters.values():
        marker = next(iter(getattr(parameter.annotation, "__metadata__", ())), parameter.annotation)
        match parameter.kind, marker:
            case inspect.Parameter.KEYWORD_ONLY, Column(kind, column):
                fixed.append((parameter.name, Column(kind, column or parameter.name)))
            case inspect.Parameter.KEYWORD_ONLY, Distance():
                distance = parameter.name
            case inspect.Parameter.POSITIONAL_OR_KEYWORD, _ if isinstance(marker, Column) or marker in (float, str):
                parameters.append((parameter.name, marker))
            case _:
                raise PatternError(
                    f"predicate {name}: parameter {parameter} of {_origin(function)} must be annotated Numbers, Texts, "
                    "float or str, or be keyword-only and name a column"
                )
    return Definition(name, function, tuple(parameters), tuple(fixed), distance, thresholds, scalar)


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
        raise PatternError(f"cannot load predicates from the module {module_name!r}: {error!r}") from error


@cache
def load_entry_points() -> None:
    """Import every module that an installed package names in the entry-point group ``spst.predicates``; once."""
    for point in entry_points(group="spst.predicates"):
        load_predicates(point.module)


def checked(name: str, args: Iterable[float | str]) -> Predicate:
    """Make a predicate whose arguments fit its definition.

    Raises
    ------
    PatternError
        The predicate is unknown, or an argument is missing, left over, of the wrong kind or not finite.
    """
    known, given = definition(name), tuple(args)
    takes = f"{name} takes {', '.join(f'{p} ({_kind_text(k)})' for p, k in known.parameters) or 'no arguments'}"
    if len(given) != len(known.parameters):
        raise PatternError(f"{takes}; found {len(given)} arguments")
    for value, (parameter, kind) in zip(given, known.parameters, strict=True):
        if isinstance(value, str) if kind is float else not isinstance(value, str):
            raise PatternError(f"{takes}; found {value} as {parameter}")
        if not isinstance(value, str) and not math.isfinite(value):
            raise PatternError(f"{name}: {parameter} must be finite, found {value}")
    return Predicate(name, given)


def _kind_text(kind: Column | type) -> str:
    return f"a {kind.kind} attribute" if isinstance(kind, Column) else "a number" if kind is float else "a text"


def needed_columns(predicates: Iterable[Predicate]) -> dict[str, Kind]:
    """Tell which columns some predicates need, and of which kind, before anything is read.

    Returns
    -------
    dict
        Column name to ``"number"`` or ``"text"``, in order of appearance. A name ``a|b`` is the first that there is.

    Raises
    ------
    PatternError
        One predicate needs a column as numbers and another as texts.
    """
    needed: dict[str, tuple[Kind, Predicate]] = {}
    for p in predicates:
        for name, kind in predicate_columns(p):
            before = needed.setdefault(name, (kind, p))
            if before[0] != kind:
                raise PatternError(
                    f"attribute {name} cannot be both a {before[0]} for {before[1]} and a {kind} for {p}"
                )
    return {name: kind for name, (kind, _) in needed.items()}


def predicate_columns(p: Predicate) -> Iterator[tuple[str, Kind]]:
    """Yield the columns that a predicate needs, with their kinds."""
    known = definition(p.name)
    for (_, kind), value in zip(known.parameters, p.args, strict=True):
        if isinstance(kind, Column):
            yield column_name(str(value)), kind.kind
    for _, column in known.fixed:
        yield column.name, column.kind
    if known.distance:
        yield from POSITION.items()


def predicate_constants(p: Predicate) -> Iterator[float | str]:
    """Yield the arguments of a predicate that are no attributes."""
    for (_, kind), value in zip(definition(p.name).parameters, p.args, strict=True):
        if not isinstance(kind, Column):
            yield value


def bind(p: Predicate) -> Callable[[Columns], Any]:
    """Make the function that gives a predicate's truth: bool, shape (n_events,), or one bool for one event's values."""
    known = definition(p.name)
    columns_of = [(name, column.name) for name, column in known.fixed]
    constants: dict[str, float | str] = {}
    for (name, kind), value in zip(known.parameters, p.args, strict=True):
        if isinstance(kind, Column):
            columns_of.append((name, column_name(str(value))))
        else:
            constants[name] = value
    function, distance = partial(known.function, **constants), known.distance

    def truth(columns: Columns) -> Any:
        values = {name: columns[column] for name, column in columns_of}
        if distance:
            values[distance] = columns.distance_to
        return function(**values)

    return truth


def bind_scalar(p: Predicate) -> Callable[[Columns], bool]:
    """Make the function that gives a predicate's truth for one event whose columns hold plain values."""
    truth = bind(p)
    if definition(p.name).scalar:
        return lambda columns: bool(truth(columns))
    names = [name for name, _ in predicate_columns(p)]
    return lambda columns: bool(truth(Columns({name: np.array([columns[name]]) for name in names}))[0])
