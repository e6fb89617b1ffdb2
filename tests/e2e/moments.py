"""When to kill: at any moment of a start, when a file appears, when a journal grows, around an output.

Every moment comes at the latest after a few outputs, so a scenario has room for a known number of them. What the
factory is doing then is anyone's guess, and must not matter.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.e2e.run import Run

START_SECONDS = 1.5
"""About what a start takes here, imports included."""

LATEST = 3
"""Outputs after which a moment has come in any case."""


def moment(rng: random.Random, run: Run) -> Callable[[], bool]:
    """Return the condition that ends one stretch of undisturbed work."""
    outputs, files, journals = run.outputs, _files(run), _journal_bytes(run)
    due = time.monotonic() + rng.uniform(0, START_SECONDS)
    conditions: dict[str, Callable[[], bool]] = {
        "time": lambda: time.monotonic() >= due,
        "output": lambda: run.outputs > outputs,
        "file": lambda: not _files(run) <= files,
        "journal": lambda: _journal_bytes(run) > journals,
    }
    condition = conditions[rng.choice(sorted(conditions))]
    return lambda: condition() or run.outputs >= outputs + LATEST


def _files(run: Run) -> set[str]:
    return {str(path) for path in (run.root / "lines").glob("*/*/*")}


def _journal_bytes(run: Run) -> int:
    return sum(path.stat().st_size for path in (run.root / "lines").glob("*/journal.jsonl"))
