"""Two minutes of what `tests/bench/soak.py` does for half an hour, and the record of the half hour.

What a process holds must not grow with its work. The short run takes samples by rounds, not by the clock: after each
whole session of every line, when files are alike.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec
import pytest

from tests.bench.soak import RECORD, SESSION, Record, Sample, Soak

LINES = 50
SESSIONS = 7
WARM = 3
"""Sessions after which every journal has been compacted, every cache is full, and a snapshot holds every line."""


def grown(first: Sample, last: Sample) -> dict[str, float]:
    """Return how much more the last sample has, as a share."""
    names = ("resident", "open_files", "lines", "recovery")
    return {name: getattr(last, name) / getattr(first, name) - 1 for name in names}


def test_record_is_level_after_its_first_minutes() -> None:
    """The second half holds what the first held, from the fifth minute on; SQLite's log has found its size by then."""
    record = msgspec.json.decode(RECORD.read_bytes(), type=Record)
    level = [sample for sample in record.samples if sample.seconds >= 300]
    assert len(level) > 20
    assert level[-1].commands / level[-1].seconds == pytest.approx(record.rate, rel=0.2)
    half = len(level) // 2
    for name in ("resident", "open_files", "lines", "recovery", "snapshot_ms"):
        early, late = (
            statistics.median(getattr(sample, name) for sample in part) for part in (level[:half], level[half:])
        )
        assert late <= 1.1 * early, name


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
