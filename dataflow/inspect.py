"""What every model line holds, read from the volume while the factory runs or is down: for people and for scripts.

Reads journals and looks at files; changes nothing, takes no lease. `python -m dataflow.inspect ROOT`.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from dataflow.errors import FactoryFault
from dataflow.journal import NAME, read_journal
from dataflow.messages import Number
from dataflow.state import Dataset, LineState, Session
from dataflow.storage import LineFiles

HEADINGS = ("KEY", "ENTRIES", "DATASET", "LOCK", "SESSION", "MODELS", "JOURNAL")
ALL_ENTRIES = sys.maxsize
"""Entries to check without keeping them: only the last state is wanted."""


class DatasetView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An assembled dataset and, while a session holds it, when its lock was taken (UTC)."""

    version: int
    file: str
    rows: int
    bytes: int
    buckets: tuple[int, ...]
    locked_since: str | None = None


class SessionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An open session; `best_f_val` is the least among its steps."""

    timestamp: Number
    dataset: str
    steps: int
    failed: int
    best_f_val: float | None = None


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """One model line.

    Attributes
    ----------
    key : str
    entries : int
        Number of the newest journal entry: messages handled so far.
    datasets : tuple of DatasetView
        The current one first, then a locked one that is not current.
    session : SessionView or None
    models : tuple of str
        Announced models, oldest first.
    intermediates : tuple of str
        Models of the open session's steps.
    journal_bytes : int
    problems : tuple of str
        Files that are missing, swapped, or that the line does not know; a journal that cannot be read.
    """

    key: str
    entries: int = 0
    datasets: tuple[DatasetView, ...] = ()
    session: SessionView | None = None
    models: tuple[str, ...] = ()
    intermediates: tuple[str, ...] = ()
    journal_bytes: int = 0
    problems: tuple[str, ...] = ()


def views(root: Path) -> list[LineView]:
    """Return every line below a data root, by key."""
    return [_view(folder) for folder in sorted((root / "lines").glob("*")) if folder.is_dir()]


def table(lines: list[LineView]) -> str:
    """Return the lines as an aligned table, and the problems below it."""
    rows = [HEADINGS, *(_row(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    aligned = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*aligned, *(f"{line.key}: {problem}" for line in lines for problem in line.problems)])


def _view(folder: Path) -> LineView:
    journal = folder / NAME
    if not journal.exists():
        return LineView(key=folder.name, problems=("it has no journal yet",))
    try:
        files = LineFiles(folder.parents[1], folder.name)
        content = read_journal(journal, folder.name, beyond=ALL_ENTRIES)
    except FactoryFault as fault:
        return LineView(key=folder.name, journal_bytes=journal.stat().st_size, problems=(str(fault),))
    state = content.last.line_state() if content.last else LineState()
    steps = state.session.steps if state.session else ()
    return LineView(
        key=folder.name,
        entries=content.seq,
        datasets=tuple(_dataset(files, dataset) for dataset in _held(state)),
        session=_session(state.session) if state.session else None,
        models=tuple(model.file for model in state.models),
        intermediates=tuple(step.file for step in steps if step.file),
        journal_bytes=journal.stat().st_size,
        problems=_problems(files, state),
    )


def _held(state: LineState) -> list[Dataset]:
    datasets = [state.dataset, state.session.dataset if state.session else None]
    return list({dataset.file: dataset for dataset in datasets if dataset}.values())


def _dataset(files: LineFiles, dataset: Dataset) -> DatasetView:
    locked = files.written_at(dataset.lock)
    since = None if locked is None else datetime.fromtimestamp(locked, timezone.utc).isoformat("T", "seconds")
    return DatasetView(dataset.version, dataset.file, dataset.rows, dataset.bytes, dataset.buckets_range, since)


def _session(session: Session) -> SessionView:
    scores = [step.f_val for step in session.steps if step.f_val is not None]
    failed = sum(step.model_id is None for step in session.steps)
    return SessionView(session.timestamp, session.dataset.file, len(session.steps), failed, min(scores, default=None))


def _problems(files: LineFiles, state: LineState) -> tuple[str, ...]:
    """Return what is missing, what nobody holds (for a moment a file that is being written), and what was swapped.

    The factory itself verifies datasets and locks before it uses them, and uses no model: those are verified here.
    """
    there = {str(path.relative_to(files.folder)) for path in files.folder.glob("*/*")}
    held = state.files()
    announced = {f"models/{model.file}": model.sha256 for model in state.models}
    swapped = [name for name, sha256 in announced.items() if name in there and not files.is_intact(name, sha256)]
    return (
        *(f"{name} is missing" for name in sorted(held - there)),
        *(f"{name} belongs to nothing" for name in sorted(there - held)),
        *(f"{name} is not what was announced: its hash differs" for name in swapped),
    )


def _row(line: LineView) -> tuple[str, ...]:
    current, *_ = [*line.datasets, None]
    locked = next((dataset for dataset in line.datasets if dataset.locked_since), None)
    session = line.session
    best = "" if session is None or session.best_f_val is None else f", best f_val {session.best_f_val:.3f}"
    models = ", ".join(name.removeprefix("model_").removesuffix(".spst") for name in line.models)
    return (
        line.key,
        str(line.entries),
        f"v{current.version}: {current.rows} rows, {_size(current.bytes)}" if current else "-",
        f"v{locked.version} since {locked.locked_since}" if locked else "-",
        f"{session.timestamp}: {session.steps} steps, {session.failed} failed{best}" if session else "-",
        (models or "-") + (f" and {len(line.intermediates)} of steps" if line.intermediates else ""),
        _size(line.journal_bytes),
    )


def _size(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def main(arguments: list[str] | None = None) -> int:
    """Print what the volume holds; 0 if all is well, 1 with problems, 2 if there is nothing to look at."""
    parser = argparse.ArgumentParser(
        prog="python -m dataflow.inspect",
        description="Print every model line's datasets, locks, sessions and models from the volume.",
        epilog="Exit status: 0 all is well, 1 a line has problems (named below the table), 2 nothing to look at.",
    )
    parser.add_argument("root", type=Path, help="the factory's data root")
    parser.add_argument("--json", action="store_true", help="print JSON, one object per line, instead of a table")
    options = parser.parse_args(arguments)
    if not (options.root / "lines").is_dir():
        print(f"{options.root}: expected a factory's data root with a folder `lines`", file=sys.stderr)
        return 2
    lines = views(options.root)
    print(b"\n".join(map(msgspec.json.encode, lines)).decode() if options.json else table(lines))
    return int(any(line.problems for line in lines))


if __name__ == "__main__":
    sys.exit(main())
