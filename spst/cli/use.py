"""The commands that use a saved model: show, forecast."""

from __future__ import annotations

import hashlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spst.cli import options
from spst.cli.output import number, pairs, say, say_json, table, warn_of_skipped
from spst.errors import BadRowsError
from spst.events import Batch
from spst.forecaster import Forecasts
from spst.forecasts import METHODS
from spst.model import Model
from spst.plots import symbol_names

SHOW = """\
Say what is in a model file: the pattern, how it was trained, and the contexts that tell most.

  python -m spst show onset.spst
  python -m spst show onset.spst --top 20
  python -m spst show onset.spst --json
"""
FORECAST = """\
Let a model forecast a stream of events: one line for every row that is an event.

  python -m spst forecast --model onset.spst --events today.csv
  python -m spst forecast --model onset.spst --events today.csv --positive --json
  tail -n +1 -f live.csv | python -m spst forecast --model onset.spst --events -
  python -m spst forecast --model onset.spst --events today.csv --method smallest --max-spread 4 --horizon 12

Lines: row (from 1), partition, first and last event of the interval (counted from the next event of the partition),
its probability, whether the forecast is positive, whether this event is a detection.
"""
_FIELDS = ("row", "partition", "start", "end", "probability", "positive", "detection")
PARAMETERS = {
    "k": int,
    "threshold": float,
    "centre": int,
    "width": int,
    "max_spread": int,
    "spread": int,
    "horizon": int,
}


def add_show(parser: ArgumentParser) -> None:
    """Define `show`."""
    parser.add_argument("model", metavar="FILE", help="a model (.spst)")
    options.add_predicates(parser)
    parser.add_argument("--top", type=int, default=10, metavar="N", help="contexts shown (default: 10)")
    options.add_json(parser)
    parser.set_defaults(run=show)


def add_forecast(parser: ArgumentParser) -> None:
    """Define `forecast`."""
    parser.add_argument("--model", required=True, metavar="FILE", help="a model (.spst)")
    options.add_predicates(parser)
    options.add_events(parser)
    group = parser.add_argument_group("forecast", "threshold, k and horizon default to the model's threshold and k")
    group.add_argument("--method", choices=tuple(METHODS), default="next_k", help="default: next_k")
    for name, kind in PARAMETERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X")
    parser.add_argument("--positive", action="store_true", help="print positive forecasts only")
    options.add_json(parser)
    parser.set_defaults(run=forecast)


def show(args: Namespace) -> None:
    """Describe a model."""
    model = options.read_model(args)
    content = {
        "file": args.model,
        "sha256": hashlib.sha256(Path(args.model).read_bytes()).hexdigest(),
        "pattern": str(model.pattern),
        "declarations": model.pattern.declarations_text,
        "hyperparameters": model.hyperparameters.as_dict(),
        "symbols": len(model.alphabet),
        "states": len(model.automaton.finals),
        "nodes": len(model.tree),
        "provenance": model.provenance,
    }
    if args.json:
        say_json(content | {"minterms": [model.alphabet.minterm(symbol) for symbol in range(len(model.alphabet))]})
        return
    for name in ("file", "sha256", "pattern", "declarations"):
        say(f"{name}: {content[name]}")
    say(pairs(model.hyperparameters.as_dict().items()))
    say(pairs((name, content[name]) for name in ("symbols", "states", "nodes")), "", "provenance:")
    say(*_flat(model.provenance), "", "symbols, by what is true:")
    say(*(f"  {name}" for name in symbol_names(model.alphabet, width=100)), "")
    say(f"the {min(args.top, len(model.tree))} contexts that differ most from what follows in general:", "")
    say(*_telling_contexts(model, args.top))


def _flat(entries: Mapping[str, Any], above: str = "  ") -> Iterator[str]:
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}: {value}"


def _telling_contexts(model: Model, top: int) -> list[str]:
    """The contexts whose next-symbol probabilities are farthest from the root's, by total variation."""
    tree = model.tree
    far = np.abs(tree.distribution - tree.distribution[0]).sum(axis=1) / 2
    rows = [
        (" ".join(map(str, reversed(tree.labels[node]))) or "(any)", _likeliest(model, node), far[node].item())
        for node in np.argsort(-far, kind="stable")[:top].tolist()
    ]
    return table(("context (oldest first)", "likely next symbols", "distance"), rows)


def _likeliest(model: Model, node: int) -> str:
    chances = model.tree.distribution[node]
    return ", ".join(
        f"{symbol}: {number(chances[symbol].item())}" for symbol in np.argsort(-chances, kind="stable")[:3]
    )


def forecast(args: Namespace) -> None:
    """Forecast events, batch by batch as they come."""
    model = options.read_model(args)
    given = {name: getattr(args, name) for name in PARAMETERS if getattr(args, name) is not None}
    forecaster = model.forecaster(args.method, **given)
    rows = 0
    if not args.json:
        say(",".join(_FIELDS))
    first_bad = None
    for batch in options.open_events(args)().batches(forecaster.columns, model.pattern.partition_by):
        _print(args, rows, batch, forecaster.update_many(batch))
        sys.stdout.flush()  # whoever follows a live stream wants it now
        rows += batch.rows
        first_bad = first_bad or batch.first_bad
    if first_bad is not None and forecaster.rows_skipped > args.max_bad_rows * rows:
        raise BadRowsError(forecaster.rows_skipped, rows, first_bad.line, first_bad.text)
    warn_of_skipped(forecaster.rows_skipped, rows)


def _print(args: Namespace, rows_before: int, batch: Batch, forecasts: Forecasts) -> None:
    wanted = forecasts.positive if args.positive else forecasts.made
    partitions = _partitions(batch)
    for row in np.flatnonzero(wanted).tolist():
        one = forecasts[row]
        assert one is not None
        values = (
            rows_before + row + 1,
            partitions[row],
            one.start,
            one.end,
            one.probability,
            one.positive,
            one.detection,
        )
        if args.json:
            say_json(dict(zip(_FIELDS, values, strict=True)), indent=None)
        else:
            say(",".join(str(int(value) if isinstance(value, bool) else value) for value in values))


def _partitions(batch: Batch) -> list[str]:
    """The partition of every row; empty for bad rows and without partitions."""
    names = np.full(batch.rows, "", dtype=object)
    if batch.partition is not None:
        names[~batch.is_bad] = np.asarray(batch.partition)
    return [str(name) for name in names]
