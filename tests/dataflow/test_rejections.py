"""Every rejection, crossed with both orders of arrival: what was decided stays, whichever comes first in a replay.

What was wrong is put right before the replay, so that whatever was decided anew would show.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from dataflow import perform
from dataflow.config import Config
from dataflow.errors import Code
from dataflow.journal import Emission
from dataflow.lines import Lines
from dataflow.messages import Message
from dataflow.state import LineState
from tests.dataflow.workshop import HEADER, Workshop, make_workshop, rows

GOOD, BAD = {"params": [0.01, 0.001]}, {"params": [7, 7]}
GRID = {"params": [GOOD["params"]]}
FEW, UNUSABLE, STRANGE, GONE = 3, 4, 5, 6
"""Buckets: too few events; values that no pattern can use; no table at all; not there."""


@dataclass(frozen=True)
class Case:
    """A message that is rejected after others; `more` goes into the configuration, `spoil` happens before it comes."""

    code: Code
    rejected: Callable[[Workshop], Message]
    before: Callable[[Workshop], list[Message]] = lambda workshop: []
    more: str = ""
    spoil: Callable[[Workshop], object] = lambda workshop: None


def told(kind: str, params: object = None, **fields: object) -> Callable[[Workshop], Message]:
    return lambda workshop: workshop.command(kind, params, **fields)


def announced(bucket: int) -> Callable[[Workshop], list[Message]]:
    return lambda workshop: [workshop.notice(0, (bucket,))]


def opened(bucket: int) -> Callable[[Workshop], list[Message]]:
    return lambda workshop: [workshop.notice(0, (bucket,)), workshop.command("opt_initialise")]


def one_waits(workshop: Workshop) -> list[Message]:
    return [workshop.command("train")]


def broken_pattern(workshop: Workshop) -> None:
    (workshop.root / "pattern.sre").write_text("(")


def swapped_dataset(workshop: Workshop) -> None:
    (workshop.root / "lines/k/datasets/dataset_version_0.csv").write_text("somebody else's")


CASES = [
    Case(Code.BAD_MESSAGE, told("guess")),
    *(Case(Code.NO_DATASET, told(kind, GRID)) for kind in ("train", "opt_initialise", "opt_sweep")),
    *(Case(Code.NO_SESSION, told(kind, GOOD, best_i=0)) for kind in ("opt_step", "opt_finalise", "opt_abort")),
    *(
        Case(Code.TOO_FEW_EVENTS, told(kind, params), announced(FEW))
        for kind, params in (("train", None), ("opt_initialise", None), ("opt_sweep", GRID))
    ),
    Case(Code.BAD_DATASET, told("train"), announced(UNUSABLE)),
    Case(Code.BAD_DATASET, told("opt_sweep", GRID), announced(UNUSABLE)),
    Case(Code.BAD_DATASET, told("opt_step", GOOD), opened(UNUSABLE)),
    Case(Code.BAD_PARAMS, told("train", BAD), announced(0)),
    Case(Code.BAD_PARAMS, told("opt_step", BAD), opened(0)),
    Case(Code.SWEEP_TOO_LARGE, told("opt_sweep", {"params": [[0.01, 0.001]] * 2}), announced(0), "[limits]\nsweep = 1"),
    Case(Code.INVALID_BEST_I, told("opt_finalise", best_i=0), opened(0)),
    Case(Code.WAITING_FULL, told("train"), one_waits, "wait_for_dataset_seconds = 0\n[limits]\nwaiting = 1"),
    Case(Code.WAITING_FULL, told("opt_initialise"), one_waits, "wait_for_dataset_seconds = 0\n[limits]\nwaiting = 1"),
    Case(Code.BAD_PATTERN, told("train"), announced(0), spoil=broken_pattern),
    Case(Code.BAD_PATTERN, told("opt_step", GOOD), opened(0), spoil=broken_pattern),
    Case(Code.DATASET_CHANGED, told("train"), announced(0), spoil=swapped_dataset),
    Case(Code.DATASET_CHANGED, told("opt_initialise"), announced(0), spoil=swapped_dataset),
    Case(Code.DATASET_CHANGED, told("opt_step", GOOD), opened(0), spoil=swapped_dataset),
    Case(Code.MISSING_BUCKET, lambda workshop: workshop.notice(1, (GONE,)), announced(0)),
    Case(Code.BAD_BUCKET, lambda workshop: workshop.notice(1, (STRANGE,)), opened(0)),
    Case(Code.UNTRUSTED_PATH, lambda workshop: workshop.notice(1, (GONE,), path_prefix="../b_"), announced(0)),
]


@pytest.fixture(autouse=True)
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every stage take no time, so that outputs are equal to the byte; only a loss of power would tell a flush."""
    monkeypatch.setattr(perform, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    workshop = make_workshop(tmp_path / "root")
    workshop.bucket(FEW, HEADER + rows(0, number=5))
    workshop.bucket(UNUSABLE, HEADER + "1,A,\n" * 50 + rows(0))
    workshop.bucket(STRANGE, HEADER + "1,A\n")
    return workshop


def play(
    config: Config, messages: Sequence[Message], state: LineState | None = None
) -> tuple[list[Emission], LineState | None]:
    """Start a worker on a snapshot, and give it messages."""
    lines = Lines(config)
    outputs: list[Emission] = []
    for message in messages:
        state, new = lines(state, message)
        outputs += new
    return outputs, state


def files(workshop: Workshop) -> dict[str, bytes]:
    folder = workshop.root / "lines"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_right(workshop: Workshop, pattern: bytes, datasets: dict[str, bytes]) -> None:
    """Undo what was spoilt, and provide every bucket."""
    (workshop.root / "pattern.sre").write_bytes(pattern)
    for name, content in datasets.items():
        if Path(name).exists() and name.endswith(".csv"):
            Path(name).write_bytes(content)
    for bucket in (FEW, UNUSABLE, STRANGE, GONE):
        workshop.bucket(bucket)


@pytest.mark.parametrize("dataset_first", [False, True], ids=["then the dataset", "after the dataset"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.code))
def test_rejection_stays_what_it_was_whichever_comes_first_in_the_replay(
    workshop: Workshop, case: Case, dataset_first: bool
) -> None:
    before = case.before(workshop)
    pair = [case.rejected(workshop), workshop.notice(5, (0, 1, 2), timestamp=7)]
    config = workshop.config(case.more)
    said, snapshot = play(config, before)
    pattern, datasets = (workshop.root / "pattern.sre").read_bytes(), files(workshop)
    case.spoil(workshop)
    new, _ = play(config, reversed_if(dataset_first, pair), snapshot)
    codes = [msgspec.json.decode(each.content).get("error_code") for each in new]
    assert dataset_first or codes[0] == case.code
    put_right(workshop, pattern, datasets)
    left = files(workshop)
    for replay in itertools.permutations(pair):
        assert play(config, replay, snapshot)[0] == new
        assert play(config, [*before, *replay])[0] == said + new
    assert files(workshop) == left


def reversed_if(condition: bool, pair: list[Message]) -> list[Message]:
    return pair[::-1] if condition else pair


def test_cases_have_every_rejection_of_a_line() -> None:
    """Without a line: what is unreadable. Without a cause that lasts: a bucket that changes while it is read."""
    assert {case.code for case in CASES} == set(Code) - {Code.UNREADABLE, Code.UNSTABLE_BUCKET}
