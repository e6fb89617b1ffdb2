"""What the commands write: lines and JSON on standard output, progress on standard error if a person watches."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spst.scoring import Score

PROGRESS_ROWS = 100_000
WORTH_A_LOOK = 0.01  # share of bad rows


def say(*lines: str) -> None:
    """Write lines to standard output."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def say_json(value: Any, indent: int | None = 1) -> None:
    """Write one JSON value to standard output."""
    say(json.dumps(value, indent=indent, allow_nan=False))


def progress() -> Callable[[int], None] | None:
    """Give a function that shows a growing number of rows, or None if standard error is no terminal."""
    if not sys.stderr.isatty():
        return None
    shown = 0

    def show(rows: int) -> None:
        nonlocal shown
        if rows >= shown + PROGRESS_ROWS:
            shown = rows
            sys.stderr.write(f"\r{rows:,} rows read\033[K")
            sys.stderr.flush()

    return show


def end_progress() -> None:
    """Clear the line of the progress."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def warn_of_skipped(skipped: int, rows: int) -> None:
    """Say on standard error that a share of the rows that is worth a look was bad."""
    if skipped > WORTH_A_LOOK * rows:
        sys.stderr.write(
            f"warning: {skipped:,} of {rows:,} rows lack a value that is needed, and were skipped; "
            "--max-bad-rows 0 shows the first\n"
        )


def number(value: float | None) -> str:
    """Write a number as a person wants it: four significant digits, thousands apart, a dash for what is undefined."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def pairs(entries: Iterable[tuple[str, float | str | None]]) -> str:
    """Write names with their values on one line."""
    return "   ".join(f"{name} {value if isinstance(value, str) else number(value)}" for name, value in entries)


def table(header: Sequence[str], rows: Iterable[Sequence[float | str | None]]) -> list[str]:
    """Write rows as lines of right-aligned columns."""
    cells = [list(header), *([cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def score_lines(score: Score, k: int) -> list[str]:
    """Explain a score to a person."""
    return [
        pairs([("detections", score.detections), ("forecasts", score.forecasts)]),
        "",
        *table(
            ("forecast", f"detection within {k}", "none"),
            [
                ("positive", f"{score.tp:,} tp", f"{score.fp:,} fp"),
                ("negative", f"{score.fn:,} fn", f"{score.tn:,} tn"),
            ],
        ),
        "",
        pairs([("mcc", score.mcc), ("precision", score.precision), ("recall", score.recall), ("f1", score.f1)]),
        f"the best threshold here is {number(score.best_threshold)}: mcc {number(score.best_mcc)}",
    ]
