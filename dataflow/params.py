"""What the `params` of a command mean: hyperparameters by name or by place, completed from the line's baseline.

Pure. Never a silent default: what cannot be used is refused with what was expected, and what a command does not name
comes from the configured baseline.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NoReturn

import msgspec

from dataflow.decoding import is_number, parse_json, shown
from dataflow.errors import Code, RequestRejected
from dataflow.messages import Number
from dataflow.settings import LineSettings
from dataflow.state import Asked
from spst.errors import HyperparameterError
from spst.hyperparameters import Hyperparameters

WIRE_NAMES = {
    "p_min": "pMin",
    "gamma": "gamma",
    "alpha": "alpha",
    "r": "r",
    "order": "order",
    "threshold": "confidence",
    "k": "k",
}
"""Field of `Hyperparameters` -> its name in reports."""

_FIELDS = {
    "pmin": "p_min",
    "gamma": "gamma",
    "alpha": "alpha",
    "r": "r",
    "order": "order",
    "confidence": "threshold",
    "threshold": "threshold",
    "k": "k",
    "spread": "k",
}
"""Name in commands and configuration, lower case and without underscores -> field of `Hyperparameters`."""

_WHOLE = frozenset({"order", "k"})


def field_of(name: str) -> str | None:
    """Return the field that a name means, without regard to case and underscores; None if it means none."""
    return _FIELDS.get(name.lower().replace("_", ""))


def wire_params(hyperparameters: Hyperparameters) -> dict[str, Number]:
    """Return every hyperparameter under its wire name."""
    return {wire: getattr(hyperparameters, field) for field, wire in WIRE_NAMES.items()}


def resolve(params: Any, settings: LineSettings) -> Hyperparameters:
    """Return the hyperparameters that a command's params name.

    Parameters
    ----------
    params : str, dict or list
        As it came: `{"params": X}` as JSON text or as an object, or X itself; X is a list in the order of the
        search space, or an object of names.
    settings : LineSettings
        Search space, baseline and bounds.

    Raises
    ------
    RequestRejected
        `bad_params`, saying what was expected.
    """
    return _complete(_named(_unwrapped(params, settings), settings), settings)


def resolve_or_baseline(params: Any, settings: LineSettings) -> Hyperparameters:
    """Return what the params name, or the baseline if there are none.

    Raises
    ------
    RequestRejected
        `bad_params`.
    """
    given = _unwrapped(params, settings)
    return settings.baseline if given is None else _complete(_named(given, settings), settings)


def resolve_grid(params: Any, settings: LineSettings) -> tuple[Hyperparameters, ...]:
    """Return the hyperparameters of a sweep: a list of lists or objects, or a grid, an object of lists.

    Raises
    ------
    RequestRejected
        `bad_params`, or `sweep_too_large`.
    """
    given = _unwrapped(params, settings)
    if isinstance(given, dict):
        axes = {name: values if isinstance(values, list) else [values] for name, values in given.items()}
        size = math.prod(map(len, axes.values()))
        rows: Iterable[Any] = (dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))
    elif isinstance(given, list):
        size, rows = len(given), given
    else:
        _refuse(f"expected a grid (an object of lists) or a list of lists or objects, came {shown(given)}")
    if size == 0:
        _refuse("expected at least one set of hyperparameters, came an empty grid or list")
    if size > settings.limits.sweep:
        text = f"expected at most {settings.limits.sweep} sets of hyperparameters, came {size}"
        raise RequestRejected(Code.SWEEP_TOO_LARGE, text)
    return tuple(_complete(_named(row, settings), settings) for row in rows)


def asked(params: Any, settings: LineSettings) -> Asked:
    """Return what identifies a step's params: their hyperparameters, or a digest where they cannot be used."""
    try:
        return resolve(params, settings)
    except RequestRejected:
        return hashlib.sha256(msgspec.json.encode(params, order="sorted")).hexdigest()


def _refuse(text: str) -> NoReturn:
    raise RequestRejected(Code.BAD_PARAMS, f"params: {text}")


def _unwrapped(params: Any, settings: LineSettings) -> Any:
    """Return the X of `{"params": X}`, which may come as JSON text, as an object, or bare."""
    limits = settings.limits
    text = params if isinstance(params, str) else msgspec.json.encode(params)
    if len(text) > limits.params_chars:
        _refuse(f"expected at most {limits.params_chars} characters, came {len(text)}")
    if isinstance(params, str):
        try:
            params = parse_json(params, limits.json_depth)
        except ValueError as error:
            _refuse(f"expected JSON text: {error}, came {shown(text)}")
    return params["params"] if isinstance(params, dict) and params.keys() == {"params"} else params


def _named(given: Any, settings: LineSettings) -> dict[str, Any]:
    """Return values by field, from a list in the order of the search space or from an object of names."""
    space = settings.search_space
    if isinstance(given, list):
        if len(given) != len(space):
            names = ", ".join(WIRE_NAMES[field] for field in space)
            _refuse(f"expected {len(space)} values ({names}), came {len(given)}: {shown(given)}")
        return dict(zip(space, given, strict=True))
    if not isinstance(given, dict):
        _refuse(f"expected a list of {len(space)} values or an object of names, came {shown(given)}")
    values: dict[str, Any] = {}
    for name, value in given.items():
        field = field_of(name)
        if field is None:
            _refuse(f"expected names out of {', '.join(WIRE_NAMES.values())}, came {shown(name)}")
        if field in values:
            _refuse(f"expected {WIRE_NAMES[field]} once, came twice: {shown(given)}")
        values[field] = value
    return values


def _complete(values: dict[str, Any], settings: LineSettings) -> Hyperparameters:
    """Return the baseline with these values in their places, all within their bounds."""
    numbers: dict[str, Any] = {field: _number(field, value) for field, value in values.items()}
    try:
        hyperparameters = replace(settings.baseline, **numbers)
    except HyperparameterError as error:
        _refuse(str(error))
    for field, bound in (("order", settings.max_order), ("k", settings.k_max)):
        if getattr(hyperparameters, field) > bound:
            _refuse(f"{field}: expected at most {bound} on this line, came {getattr(hyperparameters, field)}")
    return hyperparameters


def _number(field: str, value: Any) -> Number:
    """Return the value as the number it is; a whole float stands for an int where one is needed."""
    if not is_number(value):
        _refuse(f"{WIRE_NAMES[field]}: expected a number, came {shown(value)}")
    number: Number = value
    return int(number) if field in _WHOLE and float(number).is_integer() else number
