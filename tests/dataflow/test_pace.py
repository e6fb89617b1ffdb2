"""Idle sources rest, and never hold up a busy one."""

from __future__ import annotations

import time

import pytest

from dataflow.connectors.pace import Pace


@pytest.mark.parametrize(
    ("looks", "rests"),
    [("i", 0), ("ii", 0), ("iii", 1), ("iiiiii", 2), ("bii", 0), ("biibiibii", 0), ("biiib", 1), ("iiibiii", 2)],
)
def test_pace_rests_only_when_every_source_is_idle(looks: str, rests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[float] = []
    monkeypatch.setattr(time, "sleep", rested.append)
    pace = Pace(0.5)
    for _ in range(3):
        pace.join()
    for look in looks:
        pace.busy() if look == "b" else pace.idle()
    assert rested == [0.5] * rests
