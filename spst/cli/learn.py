"""The commands that learn from events: score, train, sweep."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from spst.cli import options
from spst.cli.output import number, pairs, say, say_json, score_lines, table
from spst.errors import HyperparameterError
from spst.model import Model
from spst.replica import replay
from spst.scoring import Score
from spst.symbols import encode
from spst.training import TrainingSet

SCORE = """\
Learn a model from events, let it forecast the same events, and say how good the forecasts are.

  python -m spst score --pattern onset.sre --declarations onset.declarations.sre --events glucose.csv.gz
  python -m spst score --pattern onset.sre --events glucose.csv.gz --evaluation holdout:0.3 --json
  zcat glucose.csv.gz | python -m spst score --pattern onset.sre --events - --threshold 0.2 --k 6
"""
TRAIN = """\
Learn a model from events and save it.

  python -m spst train --pattern onset.sre --events glucose.csv.gz --model onset.spst
  python -m spst show onset.spst
"""
SWEEP = """\
Score every combination of some hyperparameters; the events are read once.

  python -m spst sweep --pattern onset.sre --events glucose.csv.gz --order 1,2,3 --p-min 0.01,0.001 --k 3,5
  python -m spst sweep --pattern onset.sre --events glucose.csv.gz --k 3,5,10 --json > sweep.json
"""


def add_score(parser: ArgumentParser) -> None:
    """Define `score`."""
    _add_learning(parser)
    parser.add_argument(
        "--start",
        choices=("first", "leaf"),
        default="first",
        help="first (default): a partition's first event; leaf: its first leaf of the tree, event by event, to compare",
    )
    parser.set_defaults(run=score)


def add_train(parser: ArgumentParser) -> None:
    """Define `train`."""
    _add_learning(parser)
    parser.add_argument("--model", required=True, metavar="FILE", help="where the model goes (.spst)")
    parser.set_defaults(run=train)


def add_sweep(parser: ArgumentParser) -> None:
    """Define `sweep`."""
    _add_learning(parser, lists=True)
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="how many are shown (default: 10); all with --json"
    )
    parser.set_defaults(run=sweep)


def _add_learning(parser: ArgumentParser, *, lists: bool = False) -> None:
    options.add_pattern(parser)
    options.add_events(parser)
    options.add_hyperparameters(parser, lists=lists)
    options.add_evaluation(parser)
    options.add_json(parser)


def score(args: Namespace) -> None:
    """Learn, score, and tell the score."""
    pattern = options.read_pattern(args)
    chosen = options.hyperparameters(args, pattern)
    leaf = args.start == "leaf"
    if leaf and args.evaluation != "in-sample":
        raise HyperparameterError("--start leaf compares whole runs: it goes with --evaluation in-sample only")
    events = options.open_events(args, twice=leaf)
    prepared = options.prepare(args, pattern, events(), chosen.order, chosen.k)
    model = prepared.fit(chosen)
    if leaf:
        stream = encode(events(), prepared.alphabet, pattern.partition_by)
        at_detection = not args.no_forecast_at_detection
        result = replay(model, stream, start="leaf", forecast_at_detection=at_detection).score
    else:
        result = prepared.score(model)
    _tell(args, prepared, model, result, {"start": args.start})


def train(args: Namespace) -> None:
    """Learn, save, and tell what was saved and how it scores."""
    pattern = options.read_pattern(args)
    chosen = options.hyperparameters(args, pattern)
    prepared = options.prepare(args, pattern, options.open_events(args)(), chosen.order, chosen.k)
    model = prepared.fit(chosen, options.provenance(args, prepared))
    digest = model.save(args.model)
    _tell(args, prepared, model, prepared.score(model), {"model": args.model, "sha256": digest})


def _tell(args: Namespace, prepared: TrainingSet, model: Model, result: Score, more: dict[str, str]) -> None:
    sizes = {"symbols": len(prepared.alphabet), "states": len(prepared.automaton.finals), "nodes": len(model.tree)}
    read = {"events": prepared.n_events, "rows": prepared.rows, "rows_skipped": prepared.rows_skipped}
    tried = model.hyperparameters.as_dict()
    if args.json:
        say_json({**sizes, **read, **result.as_dict(), "hyperparameters": tried, "evaluation": args.evaluation, **more})
        return
    say(pairs(read.items()), pairs(sizes.items()), *score_lines(result, model.hyperparameters.k))
    say(f"log-loss {number(result.log_loss)} nats a forecast", "", pairs(tried.items()), pairs(more.items()))


def sweep(args: Namespace) -> None:
    """Score a grid, best first."""
    pattern = options.read_pattern(args)
    grid = options.chosen_values(args, pattern)
    orders, horizons = (value if isinstance(value, list) else [value] for value in (grid["order"], grid["k"]))
    prepared = options.prepare(args, pattern, options.open_events(args)(), max(orders), max(horizons))
    found = prepared.sweep(grid)
    rows = found.rows()
    if args.json:
        say_json(
            {"events": prepared.n_events, "rows_skipped": prepared.rows_skipped, "best": rows[found.best], "rows": rows}
        )
        return
    varied = [name for name, value in grid.items() if isinstance(value, list) and len(value) > 1]
    shown = [*varied, "mcc", "precision", "recall", "f1", "best_threshold", "best_mcc"]
    best = sorted(rows, key=_by_mcc)[: args.top]
    say(
        f"{len(rows)} combinations over {prepared.n_events:,} events; the best {len(best)} by mcc ({args.evaluation}):",
        "",
    )
    say(*table(shown, [[row[name] for name in shown] for row in best]))
    fixed = {name: value for name, value in grid.items() if name not in varied}
    say("", pairs((name, value[0] if isinstance(value, list) else value) for name, value in fixed.items()))


def _by_mcc(row: dict[str, Any]) -> float:
    return -float(row["mcc"])
