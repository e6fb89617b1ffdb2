"""The event-by-event run repeats the reference, and agrees with the fast path."""

from __future__ import annotations

import numpy as np
import pytest

from spst.replica import PartitionReplay, replay
from spst.symbols import Symbols
from tests import golden_cases

COUNTS = ("detections", "forecasts", "tp", "tn", "fp", "fn")


@pytest.mark.parametrize("name", golden_cases.NAMES)
def test_leaf_start_reproduces_the_reference(name: str) -> None:
    golden = golden_cases.case(name)
    done = replay(
        golden_cases.model(name),
        golden_cases.stream(name),
        start="leaf",
        forecast_at_detection=golden.meta["forecast_at_detection"],
    )
    assert {key: getattr(done.score, key) for key in COUNTS} == {key: golden.evaluation[key] for key in COUNTS}
    assert done.score.mcc == pytest.approx(golden.evaluation["mcc"], abs=1e-9)
    for key in ("precision", "recall", "f1"):
        ours = getattr(done.score, key)
        assert (-1 if ours is None else ours) == pytest.approx(golden.evaluation[key], abs=1e-9)
    ours_by_value = {partition.value: partition for partition in done.partitions}
    for value, *expected in golden.evaluation["partitions"]:
        ours = ours_by_value[value] if golden.meta["partition_attribute"] else done.partitions[0]
        assert [
            ours.events,
            ours.skipped,
            ours.first_processed,
            len(ours.detections),
            list(ours.detections),
        ] == expected


@pytest.mark.parametrize("name", golden_cases.NAMES)
def test_first_start_agrees_with_the_fast_path_to_the_last_count(name: str) -> None:
    slow = replay(
        golden_cases.model(name),
        golden_cases.stream(name),
        forecast_at_detection=golden_cases.case(name).meta["forecast_at_detection"],
    )
    assert slow.score == golden_cases.training_set(name).score(golden_cases.model(name))


def stream_of(symbols: list[int], n_symbols: int) -> Symbols:
    marks = np.array(symbols, dtype=np.uint8)
    return Symbols(marks, None, (), n_symbols, int((marks < n_symbols).sum()), len(marks), 0, None, None)


def test_first_start_processes_every_event_and_detects_across_no_reset() -> None:
    trained = golden_cases.model("seq2_tiny")  # detects B after A
    a, b = (trained.alphabet.truth.tolist().index(truth) for truth in ([True, False], [False, True]))
    whole = replay(trained, stream_of([a, b, a, b], 4))
    cut = replay(trained, stream_of([a, 4, b, a, b], 4))
    assert whole.partitions == (PartitionReplay("", 4, 0, 1, (2, 4)),)
    assert cut.partitions == (PartitionReplay("", 4, 0, 1, (4,)),)


def test_empty_stream_has_no_forecasts() -> None:
    done = replay(golden_cases.model("seq2_tiny"), stream_of([], 4))
    assert (done.score.forecasts, done.score.detections, done.score.precision) == (0, 0, None)
    assert done.partitions == (PartitionReplay("", 0, 0, None, ()),)
