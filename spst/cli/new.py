"""The command `new`: from a file of events to a pattern that can be edited, and a first score."""

from __future__ import annotations

import math
import re
from argparse import ArgumentParser, Namespace
from dataclasses import asdict, replace
from pathlib import Path

import spst
from spst.cli import options
from spst.cli.output import end_progress, pairs, progress, say, say_json, score_lines, table
from spst.cli.suggest import Suggestion, configuration_text, declarations_text, pattern_text, suggest
from spst.cli.survey import Survey, survey
from spst.errors import EventsError
from spst.hyperparameters import Hyperparameters
from spst.scoring import Score
from spst.training import TrainingSet

ABOUT = """\
Look at a file of events, write a pattern, declarations and a configuration to edit, and give a first score.

  python -m spst new glucose.csv.gz
  python -m spst new readings.csv --columns timestamp,sensor,temperature --output study
"""
_ENDINGS = re.compile(r"(\.(csv|tsv|txt|json|jsonl|ndjson))?(\.gz)?$", re.IGNORECASE)
ORDER = 2
_EXACT = 2**53  # whole numbers below this are exact


def add(parser: ArgumentParser) -> None:
    """Define `new`."""
    parser.add_argument("data", metavar="DATA", help="CSV or JSON lines, also .gz")
    parser.add_argument(
        "--columns", type=options.names, metavar="A,B,..", help="names of the columns of a CSV file without header"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="FOLDER", help="where the files go (default: here)"
    )
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    options.add_json(parser)
    parser.set_defaults(run=new)


def new(args: Namespace) -> None:
    """Survey, suggest, score, write, tell."""
    events = spst.read_events(args.data, args.columns)
    found = survey(events)
    suggestion = suggest(found)
    name = _name(args.data)
    command = f"python -m spst new {Path(args.data).name}"
    texts = {
        f"{name}.sre": pattern_text(suggestion, found, ORDER, command),
        f"{name}.declarations.sre": declarations_text(suggestion, command),
    }
    chosen, prepared, score = _first_score(events, *texts.values())
    texts[f"{name}.toml"] = configuration_text(name, events.names, chosen, command)
    paths = _write(args.output, texts, force=args.force)
    if args.json:
        files = [str(path) for path in paths]
        say_json(
            {**asdict(found), "meaning": suggestion.meaning, "files": files, **chosen.as_dict(), **score.as_dict()}
        )
    else:
        _tell(args, found, suggestion, paths, chosen, prepared, score)


def _name(data: str) -> str:
    """A name for files and for the model line, made of the data's file name."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", _ENDINGS.sub("", Path(data).name)).strip("_-")
    return name[:64] or "events"


def _first_score(events: spst.Events, pattern: str, declarations: str) -> tuple[Hyperparameters, TrainingSet, Score]:
    """Score with the defaults, at the threshold that turns out best."""
    chosen = Hyperparameters(ORDER)
    try:
        prepared = TrainingSet.prepare(
            events,
            spst.parse_pattern(pattern, declarations),
            order=chosen.order,
            k_max=chosen.k,
            max_bad_rows=1.0,
            progress=progress(),
        )
    finally:
        end_progress()
    best, _ = prepared.threshold_curve(prepared.fit(chosen)).best()
    if best is not None:
        chosen = replace(chosen, threshold=math.floor(best * 1e4) / 1e4)
    return chosen, prepared, prepared.score(prepared.fit(chosen))


def _write(folder: Path, texts: dict[str, str], *, force: bool) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in texts]
    present = [str(path) for path in paths if path.exists()]
    if present and not force:
        raise EventsError(f"there is {', '.join(present)} already; give --force to write over, or another --output")
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def _tell(
    args: Namespace,
    found: Survey,
    suggestion: Suggestion,
    paths: list[Path],
    chosen: Hyperparameters,
    prepared: TrainingSet,
    score: Score,
) -> None:
    rows = [
        (
            column.name,
            column.kind,
            _role(found, column.name),
            _range(column.low, column.high),
            column.distinct,
            column.missing,
            ", ".join(column.examples[:3]),
        )
        for column in found.columns
    ]
    say(f"{args.data}: the first {found.rows:,} rows", "")
    say(*table(("column", "kind", "taken as", "range", "distinct", "missing", "most frequent"), rows), "")
    say(
        f"To begin with, a pattern: {suggestion.meaning}.",
        f"Written, for you to edit: {', '.join(map(str, paths))}",
        "",
    )
    say(
        pairs(
            [
                ("events", prepared.n_events),
                ("rows skipped", prepared.rows_skipped),
                ("symbols", len(prepared.alphabet)),
            ]
        )
    )
    say(*score_lines(score, chosen.k), pairs(chosen.as_dict().items()), "")
    pattern, declarations, _ = paths
    columns = f" --columns {','.join(args.columns)}" if args.columns else ""
    say(
        "Next:",
        f"  python -m spst score --pattern {pattern} --declarations {declarations} --events {args.data}{columns}",
    )


def _role(found: Survey, name: str) -> str:
    return {found.time: "time", found.entity: "entity"}.get(name, "attribute")


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_plain(low)} .. {_plain(high)}"


def _plain(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else f"{value:.6g}"
