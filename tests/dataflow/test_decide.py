"""What the table does not show: waiting and release, what a decision carries, every code, the diagram."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from dataflow.decide import LEADS_TO, TRANSITIONS, decide, releasable
from dataflow.decisions import Assemble, Decision, Fit, Lock, Reject, Repeat, Silence, Sweep, Wait
from dataflow.diagram import state_diagram
from dataflow.errors import Code, RequestRejected
from dataflow.messages import (
    Command,
    Malformed,
    Message,
    OptAbort,
    OptFinalise,
    OptInitialise,
    OptStep,
    OptSweep,
    Train,
)
from dataflow.settings import Limits, LineSettings
from dataflow.state import Closed, LineState
from tests.dataflow.pure import (
    SETTINGS,
    Volume,
    command,
    dataset,
    handle,
    handle_all,
    notice,
    point,
    ready,
    session,
    step,
    values,
    waiting,
)

GATED = LineSettings(wait_for_dataset_seconds=50, limits=Limits(waiting=3))
AT_100 = ready(dataset=dataset(timestamp=100))
UNTIL_100 = ready(dataset=msgspec.structs.replace(dataset(), last_timestamp=100))
OPEN_AT_151 = ready(session=session(timestamp=151), dataset=dataset(timestamp=100))


def test_fit_carries_what_performing_it_needs() -> None:
    state = ready(session=session(step(0, 3), locked=dataset(4)))
    assert decide(state, command(OptStep, id=7, params=values(1)), SETTINGS) == Fit(
        model_id=10, purpose="step", dataset=dataset(4), hyperparameters=point(1), key="k", command_id=7, timestamp=100
    )
    assert decide(state, command(Train, id="t"), SETTINGS) == Fit(
        model_id=10, purpose="train", dataset=dataset(5), hyperparameters=SETTINGS.baseline, key="k", command_id="t",
        timestamp=100,
    )  # fmt: skip
    assert decide(state, command(OptFinalise, id="f", best_i=0), SETTINGS) == Fit(
        model_id=10, purpose="finalise", dataset=dataset(4), hyperparameters=point(0), key="k", command_id="f",
        timestamp=100,
    )  # fmt: skip


def test_assembly_must_not_touch_what_is_held() -> None:
    assert decide(LineState(), notice(), SETTINGS) == Assemble(notice=notice())
    assert decide(ready(session=session()), notice(), SETTINGS) == Assemble(notice=notice(), held=(dataset(5),))
    both = ready(session=session(locked=dataset(4)))
    assert decide(both, notice(), SETTINGS) == Assemble(notice=notice(), held=(dataset(5), dataset(4)))


@pytest.mark.parametrize("best_i", [-1, 2, 99, None, "0", 0.0, True, [0], {}])
def test_best_i_that_is_no_index_is_invalid(best_i: Any) -> None:
    state = ready(session=session(step(0, 3), step(1, 4)))
    decision = decide(state, command(OptFinalise, best_i=best_i), SETTINGS)
    assert isinstance(decision, Reject)
    assert decision.code is Code.INVALID_BEST_I
    assert decision.text.startswith("Invalid best_i")


@pytest.mark.parametrize(("rows", "usable"), [(49, False), (50, True)])
def test_min_events_is_the_least_that_is_enough(rows: int, usable: bool) -> None:
    state = ready(dataset=dataset(rows=rows))
    for message in (command(Train), command(OptInitialise), command(OptSweep, params=[values(0)])):
        assert isinstance(decide(state, message, SETTINGS), Fit | Lock | Sweep) is usable


def test_repeat_without_a_kept_answer_is_silent() -> None:
    """A step recorded while repeats were silent has no answer to give."""
    state = ready(session=session(step(0, 3), highest_id=9))
    for settings in (LineSettings(repeats="silent"), LineSettings(repeats="answer")):
        assert decide(state, command(OptStep, params=values(0)), settings) == Repeat()


# -- waiting for a dataset that covers a command


@pytest.mark.parametrize(
    ("state", "message", "waits"),
    [
        (AT_100, command(Train, timestamp=150), False),
        (AT_100, command(Train, timestamp=151), True),
        (AT_100, command(Train, timestamp=None), False),
        (AT_100, command(OptInitialise, timestamp=151), True),
        (AT_100, command(OptSweep, timestamp=151, params=[values(0)]), True),
        (AT_100, command(OptStep, timestamp=151), False),  # of no session: an error, whatever the dataset
        (AT_100, command(OptAbort, timestamp=151), False),
        (AT_100, command(Malformed, timestamp=151, problem="unknown"), False),
        (LineState(), command(Train), True),
        (ready(), command(Train, timestamp=10**9), False),  # a dataset without a time covers everything
        (UNTIL_100, command(Train, timestamp=150), False),
        (UNTIL_100, command(Train, timestamp=151), True),
        (OPEN_AT_151, command(OptInitialise, timestamp=151), False),
        (OPEN_AT_151, command(Train, timestamp=151), True),
        (waiting(command(Train, offset=1), dataset=dataset()), command(OptStep, offset=2, timestamp=1), True),
    ],
)  # fmt: skip
def test_command_waits_if_it_is_newer_than_the_dataset_or_others_wait(
    state: LineState, message: Command, waits: bool
) -> None:
    assert (decide(state, message, GATED) == Wait()) is waits
    if not state.waiting:
        assert decide(state, message, SETTINGS) != Wait()


def test_waiting_commands_are_released_in_order_one_by_one() -> None:
    state, volume = LineState(), Volume()
    line: list[Command] = [
        command(OptInitialise, offset=0, timestamp=100),
        command(OptStep, offset=1, timestamp=100, params=values(0)),
        command(Train, offset=2, timestamp=300),
    ]
    for message in line:
        state, outputs = handle_all(state, message, volume, GATED)
        assert outputs == ()
    assert state.waiting == tuple(line)
    assert releasable(state, GATED) is None

    state, outputs = handle(state, notice(timestamp=60), volume, GATED)
    assert [type(output).__name__ for output in outputs] == ["Ack"]
    released = []
    while (head := releasable(state, GATED)) is not None:
        released.append(head)
        state, _ = handle(state, head, volume, GATED)
    assert released == line[:2]
    assert state.waiting == (line[2],)
    assert state.session is not None
    assert [entry.id for entry in state.session.steps] == ["cmd-1"]
    assert state.marks == {"commands/0": 2, "datasets/0": 0}

    state, outputs = handle_all(state, notice(offset=1, version=6, timestamp=250), volume, GATED)
    assert [output.source_id for output in outputs] == ["k/7/0", "k/8/0", "k/8/1"]
    assert state.waiting == ()


def test_release_goes_on_after_a_crash_between_two_entries() -> None:
    first, second = command(Train, offset=0, timestamp=100), command(Train, offset=1, timestamp=100)
    state, volume = waiting(first, second), Volume()
    state, _ = handle(state, notice(timestamp=100), volume, GATED)
    resumed = msgspec.json.decode(msgspec.json.encode(state), type=LineState)
    assert releasable(resumed, GATED) == first
    resumed, _ = handle(resumed, first, volume, GATED)
    assert releasable(resumed, GATED) == second


def test_everything_is_released_where_waiting_is_switched_off() -> None:
    head = command(Train, offset=0, timestamp=900)
    assert releasable(waiting(head, dataset=dataset(timestamp=1)), SETTINGS) == head
    assert releasable(LineState(), SETTINGS) is None


def test_command_that_finds_no_place_to_wait_changes_nothing_but_itself() -> None:
    others = session(step(0, 3), timestamp=90)
    full = waiting(
        *(command(Train, offset=offset) for offset in range(3)), dataset=dataset(), session=others, next_model_id=10
    )
    state, outputs = handle(full, command(OptInitialise, offset=3, timestamp=200), Volume(full), GATED)
    assert [output.error_code for output in outputs if hasattr(output, "error_code")] == [Code.WAITING_FULL]
    assert (state.session, state.waiting, state.failed) == (others, full.waiting, (200,))


# -- codes

SMALL = ready(dataset=dataset(rows=1))
REJECTED: list[tuple[Code, LineState, Message, LineSettings]] = [
    (Code.BAD_MESSAGE, ready(), command(Malformed, problem="unknown"), SETTINGS),
    (Code.BAD_PARAMS, ready(), command(Train, params=[1]), SETTINGS),
    (Code.SWEEP_TOO_LARGE, ready(), command(OptSweep, params=[{}] * 2), LineSettings(limits=Limits(sweep=1))),
    (Code.INVALID_BEST_I, ready(session=session()), command(OptFinalise), SETTINGS),
    (Code.NO_SESSION, ready(), command(OptStep), SETTINGS),
    (Code.NO_DATASET, LineState(), command(Train), SETTINGS),
    (Code.TOO_FEW_EVENTS, SMALL, command(Train), SETTINGS),
    (Code.WAITING_FULL, waiting(command(Train)), command(Train, offset=1), LineSettings(limits=Limits(waiting=1))),
]
ONLY_PERFORMED = {
    Code.BAD_PATTERN,
    Code.BAD_DATASET,
    Code.DATASET_CHANGED,
    Code.MISSING_BUCKET,
    Code.UNSTABLE_BUCKET,
    Code.BAD_BUCKET,
    Code.UNTRUSTED_PATH,
}
"""Codes that only the volume and the library can give; `perform` has their tests."""


@pytest.mark.parametrize(("code", "state", "message", "settings"), REJECTED, ids=[row[0].value for row in REJECTED])
def test_rejection_has_its_code(code: Code, state: LineState, message: Message, settings: LineSettings) -> None:
    decision = decide(state, message, settings)
    assert isinstance(decision, Reject)
    assert decision.code is code
    assert decision.text


def test_every_code_is_produced_somewhere_and_explained() -> None:
    decided = {row[0] for row in REJECTED}
    assert decided | ONLY_PERFORMED | {Code.UNREADABLE} == set(Code)
    assert all(code.explanation and str(code) == code.value for code in Code)


def test_code_that_is_not_listed_is_a_bug() -> None:
    assert RequestRejected("no_dataset", "none").code is Code.NO_DATASET
    with pytest.raises(ValueError, match="no_such_code"):
        RequestRejected("no_such_code", "none")


@pytest.mark.parametrize(
    "decision",
    [
        decide(ready(), notice(text="{}", origin="f:1"), SETTINGS),
        decide(ready(), command(OptInitialise), SETTINGS),
        decide(ready(), command(Train), SETTINGS),
        decide(ready(), command(OptSweep, params=[values(0)]), SETTINGS),
        decide(ready(session=session()), command(OptAbort), SETTINGS),
        decide(ready(), command(OptAbort), SETTINGS),
        Silence(why="answered"),
        Repeat(),
        Wait(),
    ],
    ids=lambda decision: type(decision).__name__,
)
def test_decision_survives_a_journal(decision: Decision) -> None:
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision


# -- the diagram


def test_diagram_names_every_pair() -> None:
    lines = state_diagram().splitlines()
    for (situation, kind), rule in TRANSITIONS.items():
        action = rule.__name__.strip("_").replace("_", " ")
        tag = str(kind.__struct_config__.tag)
        source = {"own_session": "session_open", "other_session": "session_open"}.get(situation.value, situation.value)
        found = [line for line in lines if line.strip().startswith(f"{source} --> ") and line.endswith(f"/ {action}")]
        assert any(tag in line for line in found), f"{source}: {tag} / {action}"
    assert LEADS_TO.keys() <= TRANSITIONS.keys()


def test_diagram_is_printed_by_its_module() -> None:
    shown = subprocess.run([sys.executable, "-m", "dataflow.diagram"], capture_output=True, text=True, check=True)
    assert shown.stdout == state_diagram() + "\n"
    assert shown.stdout.startswith("stateDiagram-v2\n    [*] --> no_dataset\n")


def test_closed_session_is_remembered_beside_another_that_is_open() -> None:
    state = ready(session=session(timestamp=200), closed=Closed(timestamp=100))
    assert decide(state, command(OptFinalise, best_i=0), SETTINGS) == Repeat()
    assert isinstance(decide(state, command(OptStep, params=values(0)), SETTINGS), Reject)
