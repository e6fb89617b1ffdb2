"""What a line remembers: repeats within a session, the files it holds, and every rule that a state can break."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from dataflow.errors import Code, FactoryFault, ImpossibleTransition
from dataflow.messages import OptStep, Position, Report, Train
from dataflow.state import (
    FAILED_REMEMBERED,
    SCHEMA,
    Closed,
    LineState,
    Session,
    Step,
    impossible,
    number_of,
    read_state,
)
from tests.dataflow.pure import command, dataset, final, point, ready, session, step, waiting

FULL = ready(
    seq=12,
    session=session(step(0, 3), step(1), step(2, 5), locked=dataset(4), cursor=1, highest_id=9),
    failed=(70, 80),
    closed=Closed(timestamp=90, answer=Report(reply_id="cmd-1", status="success", key="k")),
    models=(final(1), final(2)),
    marks={"commands/0": 20, "datasets/0": 3},
    waiting=(command(Train, offset=18), command(OptStep, offset=20, params={"params": [0.1, 0.2]})),
)


def test_state_survives_a_journal() -> None:
    assert msgspec.json.decode(msgspec.json.encode(FULL), type=LineState) == FULL


def test_state_survives_a_snapshot() -> None:
    assert pickle.loads(pickle.dumps(FULL)) == FULL


def test_state_writes_its_schema_even_if_it_is_the_default() -> None:
    assert msgspec.json.decode(msgspec.json.encode(LineState()))["schema"] == SCHEMA


def test_state_of_an_older_writer_has_defaults_for_what_it_lacks() -> None:
    assert msgspec.json.decode(b'{"schema":1,"seq":4,"a_field_of_the_future":1}', type=LineState) == LineState(seq=4)


def test_files_are_what_current_session_and_models_hold() -> None:
    assert FULL.files() == {
        "datasets/dataset_version_5.csv",
        "datasets/dataset_version_5.csv.json",
        "datasets/dataset_version_4.csv",
        "datasets/dataset_version_4.csv.json",
        "datasets/dataset_version_4.csv.lock",
        "models/model_1.spst",
        "models/model_2.spst",
        "models/model_3.spst",
        "models/model_5.spst",
    }
    assert LineState().files() == set()


def test_state_knows_what_lies_at_or_below_its_marks() -> None:
    known = [Position("commands", "0", offset) for offset in (0, 19, 20)]
    unknown = [Position("commands", "0", 21), Position("commands", "1", 0), Position("datasets", "0", 4)]
    assert all(map(FULL.knows, known))
    assert not any(map(FULL.knows, unknown))


BROKEN: dict[str, LineState] = {
    "schema": replace(FULL, schema=SCHEMA + 1),
    "entry": replace(FULL, seq=-1),
    "a current dataset": replace(FULL, dataset=None),
    "the cursor": replace(FULL, session=session(step(0, 3), cursor=1)),
    "the cursor on": replace(FULL, session=session(cursor=0)),
    "a model or a code": replace(FULL, session=session(replace(step(0, 3), code=Code.BAD_PARAMS))),
    "a model or a": replace(FULL, session=session(replace(step(0, 3), file=None))),
    "hyperparameters": replace(FULL, session=session(replace(step(0, 3), asked="digest"))),
    "rising model numbers": replace(FULL, session=session(step(0, 4), step(1, 3))),
    "rising model": replace(FULL, models=(final(2), final(1))),
    "below the next": replace(FULL, models=(final(10),)),
    "a file for every model": replace(FULL, models=(replace(final(1), file="model_3.spst"),)),
    "an open session": replace(FULL, failed=(100,)),
    "an open session that has not ended": replace(FULL, closed=Closed(timestamp=100)),
    "few and different": replace(FULL, failed=(1, 1)),
    "few and": replace(FULL, failed=tuple(range(FAILED_REMEMBERED + 1))),
    "known and different": replace(FULL, waiting=(command(Train, offset=21),)),
    "known and": replace(FULL, waiting=(command(Train, offset=18), command(OptStep, offset=18))),
}


@pytest.mark.parametrize(("rule", "state"), BROKEN.items(), ids=list(BROKEN))
def test_state_that_breaks_a_rule_is_impossible(rule: str, state: LineState) -> None:
    FULL.validate()
    with pytest.raises(ImpossibleTransition, match=f"expected .*{rule}.*, came LineState"):
        state.validate()


def test_fresh_state_is_valid() -> None:
    LineState().validate()
    waiting(command(Train, offset=3)).validate()


@pytest.mark.parametrize(
    ("command_id", "number"),
    [
        (7, 7), (-1, -1), ("cmd-12", 12), ("12", 12), ("a1b22", 22), ("cmd-007", 7), ("cmd-", None), ("", None),
        ("12-a", None), ("12\n", None), ("٣", None), ("cmd-1234567890123456789", 234567890123456789),
    ],
)  # fmt: skip
def test_number_of_an_id_is_what_it_ends_with(command_id: Any, number: int | None) -> None:
    assert number_of(command_id) == number


RECORD = session(step(0, 3, id="cmd-4"), step(1, id="cmd-5"), step(0, 6, id="again"), highest_id=5)
BY_CURSOR = replace(RECORD, cursor=1)


@pytest.mark.parametrize(
    ("open_session", "command_id", "asked", "index"),
    [
        (RECORD, "cmd-4", point(0), 0),
        (RECORD, "cmd-0", point(0), 0),
        (RECORD, 5, point(0), 0),
        (RECORD, "cmd-5", point(1), 1),
        (RECORD, "cmd-6", point(0), None),  # asked for before, under an id that is new
        (RECORD, "cmd-4", point(9), None),  # an old id that asks for something new
        (RECORD, "again", point(0), 2),
        (RECORD, "again", point(1), None),
        (RECORD, "first", point(0), None),
        (replace(RECORD, highest_id=None), 0, point(0), None),
        (session(), 0, point(0), None),
        (BY_CURSOR, "cmd-99", point(1), 1),
        (BY_CURSOR, "cmd-4", point(0), None),
        (session(step(1, asked="digest"), highest_id=5), 1, "digest", 0),
    ],
)
def test_session_tells_repeats_from_what_is_new(
    open_session: Session, command_id: Any, asked: Any, index: int | None
) -> None:
    expected = None if index is None else open_session.steps[index]
    assert open_session.first_of(command_id, asked) is expected


def test_cursor_walks_the_record_and_ends_behind_it() -> None:
    walk = session(step(0, 3), step(1), highest_id=9).rewound("cmd-2")
    assert (walk.cursor, walk.highest_id) == (0, 2)
    walk = walk.advanced()
    assert walk.cursor == 1
    walk = walk.advanced()
    assert walk.cursor is None
    assert walk.advanced() == walk
    assert session().rewound("cmd-2").cursor is None


def test_new_step_cuts_the_record_at_the_cursor() -> None:
    new = Step(id=1, asked=point(7), code=Code.BAD_PARAMS)
    assert BY_CURSOR.recorded(new) == replace(RECORD, steps=(RECORD.steps[0], new))
    assert RECORD.recorded(new).steps == (*RECORD.steps, new)
    assert replace(RECORD, cursor=0).recorded(new).steps == (new,)


@pytest.mark.parametrize(
    ("highest", "command_id", "expected"), [(None, "a", None), (None, 3, 3), (5, 3, 5), (5, "x", 5), (5, "cmd-6", 6)]
)
def test_highest_id_only_rises(highest: int | None, command_id: Any, expected: int | None) -> None:
    assert session(highest_id=highest).saw(command_id).highest_id == expected


def test_impossible_tells_key_entry_message_and_state() -> None:
    story = str(impossible(FULL, command(Train, key="harbour"), "a train cannot do this"))
    for part in (
        "line 'harbour' after entry 12: a train cannot do this",
        "message Train(position=",
        "state LineState(",
    ):
        assert part in story


def test_state_in_a_recovery_store_names_a_function_and_no_class() -> None:
    function, (content, where) = FULL.__reduce__()
    assert (function.__module__, function.__qualname__) == ("dataflow.state", "read_state")
    assert isinstance(content, bytes)
    assert (function(content, where), where) == (FULL, "the recovery store")


def test_state_of_a_newer_factory_is_refused_by_name() -> None:
    content = b'{"schema":2,"seq":3,"invented":1}'
    with pytest.raises(FactoryFault, match=r"^the recovery store has a line's state of schema 2, this factory knows 1"):
        read_state(content, "the recovery store")
