"""What a release leaves to the next one: a volume, a recovery store and a configuration, in the middle of the work.

`python -m tests.e2e.release VERSION` writes `tests/e2e/releases/VERSION.tar.gz` with the code as it is: once for every
release, right before it. The factory is killed, so the journals know more than the recovery store.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

from dataflow.inspect import views
from tests.e2e.run import Run
from tests.e2e.scenario import KEYS

RELEASES = Path(__file__).parent / "releases"
PARTS = ("root", "recovery", "settings")
STEPS = 2
"""Least number of steps in every line's open session."""


def record(version: str) -> Path:
    """Play the scenario until every line has a session with steps; kill, pack."""
    archive = RELEASES / f"{version}.tar.gz"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Run(folder / "root", folder)
        run.factory.start()
        try:
            run.play(until=lambda: _is_in_the_middle(run.root))
            assert _is_in_the_middle(run.root), "the scenario ended first"
        finally:
            run.factory.kill()
        RELEASES.mkdir(exist_ok=True)
        with tarfile.open(archive, "w:gz", compresslevel=9) as packed:
            for part in PARTS:
                packed.add(folder / part, part)
    return archive


def _is_in_the_middle(root: Path) -> bool:
    if not (root / "lines").exists():
        return False
    open_steps = [line.session.steps for line in views(root) if line.session]
    return len(open_steps) == len(KEYS) and min(open_steps) >= STEPS


if __name__ == "__main__":
    sys.stdout.write(f"{record(sys.argv[1])}\n")
