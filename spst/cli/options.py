"""The options that several commands share, and what they mean: patterns, events, hyperparameters."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import spst
from spst.blocks import is_pipe
from spst.cli.output import end_progress, progress, warn_of_skipped
from spst.errors import HyperparameterError, PatternError
from spst.events import Events
from spst.hyperparameters import Hyperparameters
from spst.model import Model, load_model
from spst.pattern import Pattern
from spst.table import as_number
from spst.training import TrainingSet

DEFAULTS = {field.name: field.default for field in fields(Hyperparameters) if field.default is not MISSING}
"""What a hyperparameter is if the command line does not say; the order has no such default."""

_MEANINGS = {
    "order": (int, "longest context, in events (default: the pattern's {order:N})"),
    "p_min": (float, "least probability of a context"),
    "gamma": (float, "least probability of a symbol after smoothing"),
    "alpha": (float, "with gamma, how probable a symbol must be to justify a context"),
    "r": (float, "how much a longer context must change a probability"),
    "threshold": (float, "probability from which on a forecast is positive"),
    "k": (int, "a forecast speaks about the next K events"),
}


def add_pattern(parser: ArgumentParser) -> None:
    """Add what describes the pattern and its automaton."""
    group = parser.add_argument_group("pattern")
    group.add_argument("--pattern", required=True, metavar="FILE|TEXT", help="the pattern (.sre)")
    group.add_argument("--declarations", default="", metavar="FILE|TEXT", help="extra and exclusive predicates")
    group.add_argument(
        "--partition-by", metavar="COLUMN", help="default: the pattern's {partitionBy:COLUMN}, else none"
    )
    group.add_argument(
        "--policy", choices=("overlap", "nonoverlap"), help="default: the pattern's {policy:..}, else overlap"
    )
    group.add_argument("--alphabet", choices=("declared", "satisfiable"), default="declared", help="default: declared")
    add_predicates(parser)


def add_predicates(parser: ArgumentParser) -> None:
    """Add where predicates of the user's own come from."""
    parser.add_argument(
        "--predicates", action="append", default=[], metavar="MODULE", help="module with your predicates"
    )


def add_events(parser: ArgumentParser) -> None:
    """Add where events come from."""
    group = parser.add_argument_group("events")
    group.add_argument(
        "--events", required=True, metavar="FILE", help="CSV or JSON lines, also .gz; - is standard input"
    )
    group.add_argument(
        "--columns", type=names, metavar="A,B,..", help="names of the columns of a CSV file without header"
    )
    group.add_argument(
        "--max-bad-rows",
        type=_share,
        default=0.5,
        metavar="SHARE",
        help="rows that may lack a needed value, 0..1; they are skipped and counted (default: 0.5)",
    )


def add_hyperparameters(parser: ArgumentParser, *, lists: bool = False) -> None:
    """Add the hyperparameters; `lists`: each may be several values, separated by commas."""
    group = parser.add_argument_group("hyperparameters")
    for name, (kind, meaning) in _MEANINGS.items():
        default = f" (default: {DEFAULTS[name]})" if name in DEFAULTS else ""
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=partial(_values, kind) if lists else kind,
            metavar="X,Y,.." if lists else "X",
            help=meaning + default,
        )


def add_evaluation(parser: ArgumentParser) -> None:
    """Add how the score is measured."""
    group = parser.add_argument_group("evaluation")
    group.add_argument("--evaluation", default="in-sample", metavar="MODE", help="in-sample (default) or holdout:SHARE")
    group.add_argument("--no-forecast-at-detection", action="store_true", help="make no forecast at a detection")


def add_json(parser: ArgumentParser) -> None:
    """Add the output for machines."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def names(text: str) -> list[str]:
    """Split a list of names."""
    return text.split(",")


def _share(text: str) -> float:
    share = as_number(text)
    if share is None or not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not {text!r}")
    return share


def _values(kind: Callable[[str], Any], text: str) -> list[Any]:
    try:
        return [kind(value) for value in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {kind.__name__} values separated by commas, not {text!r}") from None


def read_pattern(args: Namespace) -> Pattern:
    """Parse the pattern that the options name, with the partition that they name."""
    _load_predicates(args)
    pattern = spst.parse_pattern(_text(args.pattern), _text(args.declarations))
    return pattern if args.partition_by is None else replace(pattern, partition_by=args.partition_by or None)


def read_model(args: Namespace) -> Model:
    """Load the model that the options name, and the predicates that it may need."""
    _load_predicates(args)
    return load_model(args.model)


def _load_predicates(args: Namespace) -> None:
    for module in args.predicates:
        spst.load_predicates(module)


def _text(value: str) -> str:
    """Content of a file, or the text itself if it looks like a pattern."""
    if os.path.isfile(value):
        try:
            return Path(value).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise PatternError(f"{value}: is no text in UTF-8: {error.reason} at byte {error.start}") from error
    if value and "(" not in value:
        raise PatternError(f"no such file: {value} (and it is no pattern: it has no parenthesis)")
    return value


def policy(args: Namespace, pattern: Pattern) -> Any:
    """Give the count policy: the option's, else the pattern's, else overlap."""
    return args.policy or pattern.policy or "overlap"


def open_events(args: Namespace, *, twice: bool = False) -> Callable[[], Events]:
    """Give a function that opens the events; those of a pipe only once, unless `twice` keeps them in memory."""
    is_input = args.events == "-"
    if not (twice and (is_input or is_pipe(Path(args.events)))):
        return lambda: spst.read_events(sys.stdin.buffer if is_input else args.events, args.columns)
    content = sys.stdin.buffer.read() if is_input else Path(args.events).read_bytes()
    return lambda: spst.read_events(io.BytesIO(content), args.columns)


def hyperparameters(args: Namespace, pattern: Pattern) -> Hyperparameters:
    """Give the hyperparameters of the options."""
    return Hyperparameters(**chosen_values(args, pattern))


def chosen_values(args: Namespace, pattern: Pattern) -> dict[str, Any]:
    """Give every hyperparameter: the option's value or list of values, else the pattern's order, else the default."""
    order = pattern.order if args.order is None else args.order
    if order is None:
        raise HyperparameterError("the order is not known: give --order N, or the pattern the suffix {order:N}")
    given = {name: getattr(args, name) for name in DEFAULTS}
    return {"order": order} | {name: DEFAULTS[name] if value is None else value for name, value in given.items()}


def prepare(args: Namespace, pattern: Pattern, events: Events, order: int, k_max: int) -> TrainingSet:
    """Read the events once, with progress for a person."""
    try:
        prepared = TrainingSet.prepare(
            events,
            pattern,
            order=order,
            k_max=k_max,
            evaluation=args.evaluation,
            alphabet=args.alphabet,
            policy=policy(args, pattern),
            forecast_at_detection=not args.no_forecast_at_detection,
            max_bad_rows=args.max_bad_rows,
            progress=progress(),
        )
    finally:
        end_progress()
    warn_of_skipped(prepared.rows_skipped, prepared.rows)
    return prepared


def provenance(args: Namespace, prepared: TrainingSet) -> dict[str, Any]:
    """Say where a model comes from: the data, what was done with it, and the libraries."""
    source = Path(args.events)
    return {
        "made_by": "python -m spst train",
        "events": {
            "file": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else None,
            "rows": prepared.rows,
            "rows_skipped": prepared.rows_skipped,
            "first_timestamp": prepared.first_timestamp,
            "last_timestamp": prepared.last_timestamp,
        },
        "alphabet": args.alphabet,
        "policy": policy(args, prepared.pattern),
        "evaluation": args.evaluation,
        "versions": versions(("rtcef-model-factory", "numpy", "scipy", "pyarrow")),
    }


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Give the installed versions of some packages; None for one that is not installed."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
