"""Whole sessions through the pure core: what is kept, what is deleted, what is said, over several messages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dataflow.decide import decide
from dataflow.decisions import Decision, Outcome, Refused
from dataflow.errors import Code
from dataflow.evolve import evolve
from dataflow.messages import (
    Message,
    OptAbort,
    OptFinalise,
    OptInitialise,
    OptStep,
    OptSweep,
    Output,
    Report,
    Train,
    encode,
)
from dataflow.settings import LineSettings
from dataflow.state import FAILED_REMEMBERED, LineState
from tests.dataflow.pure import SETTINGS, Volume, command, handle, notice, ready, session, step, values


class Line:
    """A line and its volume; messages take the next offset."""

    def __init__(self, settings: LineSettings = SETTINGS) -> None:
        self.state, self.volume, self.settings, self.offset = LineState(), Volume(), settings, 0

    def tell(self, kind: Any, **fields: Any) -> list[Output]:
        self.offset += 1
        return self.take(command(kind, offset=self.offset, **fields))

    def announce(self, **fields: Any) -> list[Output]:
        self.offset += 1
        return self.take(notice(offset=self.offset, **fields))

    def take(self, message: Message) -> list[Output]:
        self.state, outputs = handle(self.state, message, self.volume, self.settings)
        return list(outputs)

    @property
    def files(self) -> list[str]:
        return sorted(name.split("/")[1] for name in self.volume.files)


def wire(output: Output) -> dict[str, Any]:
    """Return what stands on the wire, without what belongs to the place of the output."""
    fields: dict[str, Any] = json.loads(encode(output))
    del fields["source_id"]
    return fields


def test_locked_dataset_outlives_its_successors_until_the_session_ends() -> None:
    line = Line()
    line.announce(version=1)
    line.tell(OptInitialise)
    line.announce(version=2)
    line.announce(version=3)
    first = ["dataset_version_1.csv", "dataset_version_1.csv.json", "dataset_version_1.csv.lock"]
    third = ["dataset_version_3.csv", "dataset_version_3.csv.json"]
    assert line.files == first + third
    assert wire(line.tell(OptStep, params=values(0))[0])["dataset_version"] == 1
    assert wire(line.tell(Train)[0])["dataset_version"] == 3
    assert wire(line.tell(OptFinalise, best_i=0)[0])["dataset_version"] == 1
    assert line.files == [*third, "model_2.spst", "model_3.spst"]


def test_session_on_the_dataset_of_the_session_it_replaces_keeps_the_lock() -> None:
    line = Line()
    line.announce(version=1)
    line.tell(OptInitialise, timestamp=100)
    line.tell(OptStep, timestamp=100, params=values(0))
    line.tell(OptInitialise, timestamp=200)
    assert line.files == ["dataset_version_1.csv", "dataset_version_1.csv.json", "dataset_version_1.csv.lock"]
    line.tell(OptAbort, timestamp=200)
    assert line.files == ["dataset_version_1.csv", "dataset_version_1.csv.json"]


def test_version_with_other_content_leaves_the_locked_one_alone() -> None:
    """A collector that restarts counts from 0 again."""
    line = Line()
    line.announce(version=0)
    line.tell(OptInitialise)
    (ack,) = line.announce(version=0, path_prefix="/data/other_")
    assert re.search(r"/datasets/dataset_version_0-[0-9a-f]{8}\.csv$", wire(ack)["path"])
    assert len([name for name in line.files if name.endswith(".csv")]) == 2
    line.tell(OptAbort)
    assert len([name for name in line.files if name.endswith(".csv")]) == 1


def test_same_dataset_again_is_acknowledged_again_and_nothing_else_changes() -> None:
    line = Line()
    (first,) = line.announce()
    before = line.state
    (again,) = line.announce()
    assert wire(first) == wire(again)
    assert (line.state.dataset, line.files) == (before.dataset, ["dataset_version_5.csv", "dataset_version_5.csv.json"])


def test_failed_assembly_leaves_the_previous_dataset_current() -> None:
    line = Line()
    line.announce(version=1)
    (letter,) = line.announce(version=2, path_prefix="/nowhere_", text="{}")
    assert wire(letter)["error_code"] == "missing_bucket"
    assert line.state.dataset is not None
    assert line.state.dataset.version == 1


def test_failed_initialise_is_answered_once_and_then_met_with_silence() -> None:
    line = Line()
    assert [wire(report)["error_code"] for report in line.tell(OptInitialise)] == ["no_dataset"]
    assert line.tell(OptStep, params=values(0)) == []
    assert line.tell(OptFinalise, best_i=0) == []
    line.announce()
    assert line.tell(OptStep, params=values(0)) == []
    assert line.tell(OptInitialise) == []
    assert [wire(report)["status"] for report in line.tell(OptStep, params=values(0))] == ["success"]


def test_failures_are_remembered_up_to_a_bound() -> None:
    line = Line()
    for timestamp in range(FAILED_REMEMBERED + 3):
        line.tell(OptInitialise, timestamp=timestamp)
    line.tell(OptInitialise, timestamp=5)
    assert line.state.failed == (*range(3, 5), *range(6, FAILED_REMEMBERED + 3), 5)
    assert wire(line.tell(OptStep, timestamp=0)[0])["error_code"] == "no_session"


def test_every_answered_step_takes_an_index() -> None:
    line = Line()
    line.announce()
    line.tell(OptInitialise)
    line.tell(OptStep, params="nonsense")
    line.tell(OptStep, params=[0.1, 0.9])
    line.tell(OptStep, params=values(3))
    for failed in (0, 1, 3):
        (report,) = line.tell(OptFinalise, best_i=failed)
        assert wire(report)["error"].startswith("Invalid best_i")
    report, model = line.tell(OptFinalise, best_i=2)
    assert json.loads(wire(report)["params_dict"])["pMin"] == values(3)[0] == wire(model)["model_params"]["pMin"]


def test_restarted_controller_is_met_with_silence_until_it_goes_its_own_way() -> None:
    line = Line()
    line.announce()
    asked = [values(0), "nonsense", values(2), values(3)]
    line.tell(OptInitialise, id=0)
    for index, params in enumerate(asked):
        line.tell(OptStep, id=index + 1, params=params)
    assert line.files[-3:] == ["model_1.spst", "model_2.spst", "model_3.spst"]
    line.tell(OptInitialise, id=0)
    assert [line.tell(OptStep, id=index + 1, params=params) for index, params in enumerate(asked[:2])] == [[], []]
    (report,) = line.tell(OptStep, id=3, params=values(7))
    assert wire(report)["model_id"] == 4
    assert line.files[-2:] == ["model_1.spst", "model_4.spst"]
    (report,) = line.tell(OptStep, id=4, params=values(3))  # cut from the record, so new again
    assert wire(report)["model_id"] == 5


def test_controller_whose_ids_go_on_asks_anew_even_for_equal_params() -> None:
    line = Line()
    line.announce()
    line.tell(OptInitialise, id="cmd-0")
    assert len(line.tell(OptStep, id="cmd-1", params=values(0))) == 1
    assert len(line.tell(OptStep, id="cmd-2", params=values(0))) == 1
    assert line.tell(OptStep, id="cmd-1", params=values(0)) == []
    assert line.state.session is not None
    assert line.state.session.highest_id == 2


def test_other_commands_of_a_session_raise_its_highest_id() -> None:
    line = Line()
    line.announce()
    line.tell(OptInitialise, id=0)
    line.tell(OptStep, id=1, params=values(0))
    line.tell(OptFinalise, id=7, best_i=9)
    line.tell(OptSweep, id=5, params=[values(0)])
    line.tell(Train, id=99)
    assert line.state.session is not None
    assert line.state.session.highest_id == 7


def test_repeats_are_answered_as_at_first_where_that_is_configured() -> None:
    line = Line(LineSettings(repeats="answer"))
    line.announce()
    line.tell(OptInitialise, id=0)
    (good,) = line.tell(OptStep, id=1, params=values(0))
    (bad,) = line.tell(OptStep, id=2, params=[])
    assert line.tell(OptInitialise, id=0) == []
    again = [*line.tell(OptStep, id=1, params=values(0)), *line.tell(OptStep, id=2, params=[])]
    assert [wire(output) for output in again] == [wire(good), wire(bad)]
    report, _ = line.tell(OptFinalise, id=3, best_i=0)
    (repeated,) = line.tell(OptFinalise, id=3, best_i=0)
    assert wire(repeated) == wire(report)
    assert repeated.source_id > report.source_id


def test_silent_lines_keep_no_answers() -> None:
    line = Line()
    line.announce()
    line.tell(OptInitialise)
    line.tell(OptStep, params=values(0))
    line.tell(OptStep, params=[])
    assert line.state.session is not None
    assert [entry.answer for entry in line.state.session.steps] == [None, None]
    line.tell(OptFinalise, best_i=0)
    assert line.state.closed is not None
    assert line.state.closed.answer is None


def test_finalised_timestamp_opens_anew() -> None:
    line = Line()
    line.announce()
    line.tell(OptInitialise)
    line.tell(OptStep, params=values(0))
    line.tell(OptFinalise, best_i=0)
    assert line.tell(OptFinalise, best_i=0) == []
    line.tell(OptInitialise)
    (report,) = line.tell(OptStep, params=values(0))
    assert wire(report)["status"] == "success"
    line.tell(OptAbort)
    assert wire(line.tell(OptFinalise, best_i=0)[0])["error_code"] == "no_session"


@pytest.mark.parametrize("keep", [1, 2, 20])
def test_newest_final_models_are_kept_and_intermediates_are_not_counted(keep: int) -> None:
    line = Line(LineSettings(keep_models=keep))
    line.announce()
    line.tell(OptInitialise)
    line.tell(OptStep, params=values(0))
    for _ in range(3):
        line.tell(Train)
    assert "model_1.spst" in line.files
    line.tell(OptFinalise, best_i=0)
    finals = ["model_2.spst", "model_3.spst", "model_4.spst", "model_5.spst"]
    assert line.files[2:] == finals[-keep:]


@pytest.mark.parametrize("code", [Code.BAD_PATTERN, Code.BAD_DATASET, Code.DATASET_CHANGED])
@pytest.mark.parametrize(
    ("state", "message", "session_after", "failed"),
    [
        (ready(), command(Train), None, ()),
        (ready(), command(OptInitialise), None, (100,)),
        (ready(session=session(timestamp=90)), command(OptInitialise), None, (100,)),
        (ready(session=session(step(0, 3))), command(OptFinalise, best_i=0), session(step(0, 3), highest_id=0), ()),
        (ready(session=session()), command(OptSweep, params=[[0.1, 0.1]]), session(highest_id=0), ()),
    ],
    ids=["train", "initialise", "replacing", "finalise", "sweep"],
)
def test_refusal_by_the_volume_is_reported_with_its_code(
    state: LineState, message: Message, session_after: Any, failed: tuple[int, ...], code: Code
) -> None:
    decision: Decision = decide(state, message, SETTINGS)
    refused: Outcome = Refused(code=code, text="why")
    following, outputs, _ = evolve(state, message, decision, refused, SETTINGS)
    assert outputs == (
        Report(reply_id="cmd-0", status="error", error="why", error_code=code, key="k", source_id="k/1/0"),
    )
    assert (following.session, following.failed, following.models) == (session_after, failed, ())


def test_marks_never_fall_when_a_waiting_command_is_handled() -> None:
    line = Line(LineSettings(wait_for_dataset_seconds=0))
    line.tell(Train, timestamp=100)
    line.tell(Train, timestamp=900)
    assert line.state.marks == {"commands/0": 2}
    line.announce(timestamp=100)
    line.take(line.state.waiting[0])
    assert line.state.marks == {"commands/0": 2, "datasets/0": 3}
