"""Two minutes of what `tests/bench/soak.py` does for half an hour: what a process holds must not grow with its work.

Samples are taken by rounds, not by the clock: after each whole session of every line, when files are alike.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.soak import SESSION, Sample, Soak

LINES = 50
SESSIONS = 7
WARM = 3
"""Sessions after which every journal has been compacted, every cache is full, and a snapshot holds every line."""


def grown(first: Sample, last: Sample) -> dict[str, float]:
    """Return how much more the last sample has, as a share."""
    names = ("resident", "open_files", "lines", "recovery")
    return {name: getattr(last, name) / getattr(first, name) - 1 for name in names}


@pytest.mark.slow
def test_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    soak = Soak(tmp_path, LINES, entries=SESSION)
    samples = []
    try:
        for number in soak.rounds():
            session, rest = divmod(number + 1, SESSION)
            if rest == 0 and session >= WARM:
                samples.append(soak.sample())
            if session == SESSIONS:
                break
        assert soak.factory.terminate() == 0
    finally:
        soak.factory.kill()
    shares = grown(samples[0], samples[-1])
    assert samples[-1].commands > 5_000
    assert shares["open_files"] <= 0, samples
    assert shares["lines"] < 0.05, samples
    assert shares["recovery"] < 0.5, samples  # SQLite's log grows to its checkpoint, and begins anew
    assert shares["resident"] < 0.1, samples
