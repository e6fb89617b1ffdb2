"""The factory under fire: whatever happens to it, its consumers and its volume cannot tell.

Every test plays the whole scenario, does something to the factory on the way, and compares with the undisturbed run and
with the pure functions. No test knows what the factory was doing when it happened.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow.inspect import views
from tests.e2e.clocks import Clock
from tests.e2e.conftest import Begin
from tests.e2e.history import History, history_of
from tests.e2e.moments import moment
from tests.e2e.replay import deviations, unheard
from tests.e2e.run import Run
from tests.e2e.volumes import FragileVolume, fill, small_volume

Report = Callable[[str], None]


def finish(run: Run, undisturbed: History) -> str:
    """Play to the end, stop the factory, and compare; return what it was like."""
    run.play(until=run.is_finished)
    assert run.factory.terminate() == 0
    run.check_outputs()
    differences = history_of(run).differences(undisturbed) + deviations(run)
    differences += [f"{line.key}: {problem}" for line in views(run.root) for problem in line.problems]
    assert differences == []
    known = len(run.factory.events("known"))
    backlog = sum(int(str(event["backlog"])) for event in run.factory.events("opened"))
    return (
        f"{run.factory.starts} starts, {run.outputs} outputs read, {known} known messages, {backlog} backlog outputs, "
        f"differences: {len(differences)}"
    )


def play_on(run: Run, outputs: int) -> None:
    """Go on until so many further outputs have been read."""
    target = run.outputs + outputs
    run.play(until=lambda: run.outputs >= target)


def test_factory_survives_kills(begin: Begin, undisturbed: History, report: Report) -> None:
    _kills(begin(), 1, 5, undisturbed, report)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_factory_survives_many_kills(seed: int, begin: Begin, undisturbed: History, report: Report) -> None:
    _kills(begin(), seed, 12, undisturbed, report)


def _kills(run: Run, seed: int, kills: int, undisturbed: History, report: Report) -> None:
    """Kill and start again at random moments; every fourth time the recovery store is gone."""
    rng, lost = random.Random(seed), 0
    run.factory.start()
    for kill in range(kills):
        run.play(until=moment(rng, run))
        run.factory.kill()
        if kill % 4 == 3:
            run.factory.lose_recovery_store()
            lost += 1
        run.factory.start()
    report(f"seed {seed}: {kills} kills, {lost} recovery stores deleted, {finish(run, undisturbed)}")


def test_sigterm_finishes_the_message_in_hand(begin: Begin, undisturbed: History, report: Report) -> None:
    run, rng, slowest = begin(), random.Random(30), 0.0
    run.factory.start()
    for _ in range(2):
        play_on(run, rng.randint(8, 16))  # outputs show that the handler is installed
        run.play(until=moment(rng, run))
        asked = time.monotonic()
        assert run.factory.terminate() == 0
        slowest = max(slowest, time.monotonic() - asked)
        run.listen()
        assert unheard(run) == []
        run.factory.start()
    report(f"2 SIGTERMs, exits within {slowest:.2f} s: {finish(run, undisturbed)}")


def test_clock_set_back_changes_nothing(begin: Begin, undisturbed: History, tmp_path: Path, report: Report) -> None:
    clock = Clock(tmp_path)
    run = begin(clock.environment)
    run.factory.start()
    play_on(run, 10)
    clock.set_back()
    play_on(run, 20)
    run.factory.kill()
    run.factory.start()
    report(f"clock set back by an hour, then a kill: {finish(run, undisturbed)}")


def test_full_disk_stops_the_factory_until_it_is_emptied(
    begin: Begin, undisturbed: History, root: Path, tmp_path: Path, report: Report
) -> None:
    with small_volume(root):
        _topics_elsewhere(root, tmp_path)
        run = begin()
        run.factory.start()
        play_on(run, 12)
        filler = fill(root)
        _stops(run, "No space left on device")
        run.factory.start()
        _stops(run, "No space left on device")
        filler.unlink()
        run.factory.start()
        report(f"disk full, emptied later: {finish(run, undisturbed)}")


def test_read_only_volume_stops_the_factory_until_it_is_mended(
    begin: Begin, undisturbed: History, root: Path, tmp_path: Path, report: Report
) -> None:
    volume = FragileVolume(root, tmp_path / "volume.img")
    try:
        _topics_elsewhere(root, tmp_path)
        run = begin()
        volume.flush()
        run.factory.start()
        play_on(run, 12)
        volume.break_down()
        _stops(run, "Read-only file system", "Input/output error")  # the latter where a write was on its way
        run.factory.start()
        _stops(run, "Read-only file system")
        volume.mend()
        run.factory.start()
        report(f"volume read-only, mended later: {finish(run, undisturbed)}")
    finally:
        volume.unmount()


def _topics_elsewhere(root: Path, folder: Path) -> None:
    """Keep the topics off the failing volume: there the neighbours could not write either."""
    (folder / "topics").mkdir()
    (root / "topics").symlink_to(folder / "topics")


def _stops(run: Run, *reasons: str) -> None:
    """Wait for the factory to end by itself, and for the reason that it gives in one line."""
    assert run.play_to_the_end_of_the_factory() != 0
    given = str(run.factory.events("stopped")[-1]["text"])
    assert any(reason in given for reason in reasons), given
