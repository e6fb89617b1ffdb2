"""Sections of the configuration file -> the settings of model lines: names, paths and what must fit together.

`config` reads the file and says which section stands over which; a section is a plain table until it is whole.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from dataflow.errors import ConfigError
from dataflow.params import WIRE_NAMES, field_of
from dataflow.settings import Limits, LineSettings
from spst.errors import HyperparameterError

Section: TypeAlias = dict[str, Any]

_EVALUATION = re.compile(r"in-sample|last-bucket|holdout:0?\.[0-9]*[1-9][0-9]*")


def canonical(section: Section, folder: Path, where: str) -> Section:
    """Return a section with fields of `Hyperparameters` as names and with absolute paths.

    Raises
    ------
    ConfigError
        A name is unknown or comes twice.
    """
    if "limits" in section:
        raise ConfigError(f"{where}: limits: they hold for all lines and stand in [limits]")
    fields = dict(section)
    for name in ("pattern", "declarations"):
        if isinstance(fields.get(name), str):
            fields[name] = str(folder / fields[name])
    if isinstance(space := fields.get("search_space"), list):
        fields["search_space"] = _named(space, f"{where}: search_space")
    if "baseline" in fields:
        baseline = fields["baseline"]
        if not isinstance(baseline, dict):
            raise ConfigError(f"{where}: baseline: expected a table of names and values, came {baseline!r}")
        fields["baseline"] = dict(zip(_named(list(baseline), f"{where}: baseline"), baseline.values(), strict=True))
    return fields


def over(defaults: Section, section: Section) -> Section:
    """Return a line's section over the defaults: field by field, the baseline too; declarations follow a pattern."""
    below = {name: value for name, value in defaults.items() if name != "declarations" or "pattern" not in section}
    return below | section | {"baseline": defaults.get("baseline", {}) | section.get("baseline", {})}


def line_settings(section: Section, limits: Limits, where: str) -> LineSettings:
    """Return the settings that a canonical section describes.

    Raises
    ------
    ConfigError
        Naming the field and what was expected.
    """
    baseline = LineSettings().baseline.as_dict() | section.get("baseline", {})
    try:
        settings = msgspec.convert(section | {"baseline": baseline}, LineSettings)
    except (msgspec.ValidationError, HyperparameterError) as error:
        raise ConfigError(f"{where}: {error}") from error
    for problem in _problems(settings):
        raise ConfigError(f"{where}: {problem}")
    return msgspec.structs.replace(settings, limits=limits)


def _named(names: list[Any], where: str) -> list[str]:
    """Return the fields that names mean, each of them once."""
    fields: list[str] = []
    for name in names:
        field = field_of(name) if isinstance(name, str) else None
        if field is None or field in fields:
            raise ConfigError(f"{where}: expected names out of {', '.join(WIRE_NAMES.values())}, once, came {name!r}")
        fields.append(field)
    return fields


def _problems(settings: LineSettings) -> list[str]:
    """Return what is well-formed and cannot work."""
    files = {"pattern": settings.pattern, "declarations": settings.declarations}
    bounds = {"order": ("max_order", settings.max_order), "k": ("k_max", settings.k_max)}
    problems = [f"{name}: expected a file, found none at {path}" for name, path in files.items() if _is_missing(path)]
    problems += [
        f"baseline: {field}: expected at most {bound} = {most}, came {getattr(settings.baseline, field)}"
        for field, (bound, most) in bounds.items()
        if getattr(settings.baseline, field) > most
    ]
    if not settings.search_space:
        problems.append("search_space: expected at least one name")
    if not _EVALUATION.fullmatch(settings.evaluation):
        expected = "expected in-sample, last-bucket or holdout:SHARE with a share between 0 and 1"
        problems.append(f"evaluation: {expected}, came {settings.evaluation!r}")
    if settings.declarations and not settings.pattern:
        problems.append("declarations: expected a pattern beside them")
    return problems


def _is_missing(path: str | None) -> bool:
    return path is not None and not Path(path).is_file()
