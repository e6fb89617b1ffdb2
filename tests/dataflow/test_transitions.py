"""Every pair of situation and message, once at least: the whole output list and the whole next state.

A case says what changes; everything else must stay as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from dataflow.decide import TRANSITIONS, Situation, decide, situation_of
from dataflow.decisions import Decision, Done, Fitted, Reject
from dataflow.errors import Code, ImpossibleTransition
from dataflow.evolve import EFFECTS, evolve
from dataflow.messages import (
    Ack,
    DatasetNotice,
    DeadLetter,
    Malformed,
    Message,
    ModelVersion,
    OptAbort,
    OptFinalise,
    OptInitialise,
    OptStep,
    OptSweep,
    Output,
    Report,
    Train,
)
from dataflow.settings import Limits, LineSettings
from dataflow.state import Closed, LineState, Step, mark_of
from tests.dataflow.pure import (
    NOWHERE,
    ROOT,
    SETTINGS,
    UNFIT_GAMMA,
    Volume,
    command,
    dataset,
    final,
    handle,
    notice,
    point,
    ready,
    session,
    step,
    values,
    waiting,
)

NO_DATASET, READY, OWN, OTHER, WAITING = Situation
ANSWERING = LineSettings(repeats="answer")
GATED = LineSettings(wait_for_dataset_seconds=50, limits=Limits(waiting=1))

BASELINE_TEXT = '{"pMin":0.001,"gamma":0.0005,"alpha":0.001,"r":1.05,"order":2,"confidence":0.3,"k":5}'
STEP_TEXT = BASELINE_TEXT.replace('"pMin":0.001', '"pMin":0.01')
BASELINE_DICT = {"pMin": 0.001, "gamma": 0.0005, "alpha": 0.001, "r": 1.05, "order": 2, "confidence": 0.3, "k": 5}
STEP_DICT = BASELINE_DICT | {"pMin": 0.01}


class Case(NamedTuple):
    situation: Situation
    what: str
    state: LineState
    message: Message
    outputs: list[Output]
    changes: Mapping[str, Any] = MappingProxyType({})
    deletions: tuple[str, ...] = ()
    settings: LineSettings = SETTINGS


def error(code: Code, text: str) -> Report:
    return Report(reply_id="cmd-0", status="error", error=text, error_code=code, key="k", source_id="k/1/0")


def no_session(timestamp: int = 100, rest: str = "") -> Report:
    return error(Code.NO_SESSION, f"no optimisation session is open for timestamp {timestamp}{rest}")


NOTHING = error(
    Code.NO_DATASET, "no dataset has been assembled yet: announce buckets on the datasets topic and wait for the ACK"
)
TOO_FEW = error(Code.TOO_FEW_EVENTS, "expected at least 50 events, dataset 4 has 10")
NOT_UNDERSTOOD = error(Code.BAD_MESSAGE, "type: expected another")
MALFORMED = command(Malformed, problem="type: expected another")
OTHERS = session(step(0, 7), step(1), step(2, 9), timestamp=90)
OTHERS_FILES = ("datasets/dataset_version_5.csv.lock", "models/model_7.spst", "models/model_9.spst")


def announced(
    model_id: int, method: Any, params: str = BASELINE_TEXT, model_params: Any = BASELINE_DICT
) -> list[Output]:
    path = f"{ROOT}/models/model_{model_id}.spst"
    report = Report(
        reply_id="cmd-0", status="success", model_id=model_id, model_path=path, params_dict=params, metrics="",
        creation_method=method, pt=41, key="k", dataset_version=5, source_id="k/1/0",
    )  # fmt: skip
    model = ModelVersion(
        id=model_id, path=path, creation_method=method, model_params=model_params, pt=41, key="k",
        sha256=f"sha-{model_id}", dataset_version=5, timestamp=100, source_id="k/1/1",
    )  # fmt: skip
    return [report, model]


def scored(model_id: int) -> Report:
    return Report(
        reply_id="cmd-0", status="success", model_id=model_id, params_dict=STEP_TEXT,
        metrics='{"mcc":0.01,"f_val":-0.01}', key="k", dataset_version=5, source_id="k/1/0",
    )  # fmt: skip


def swept(table: list[dict[str, Any]], best: int) -> Report:
    return Report(
        reply_id="cmd-0", status="success", params_dict=STEP_TEXT, metrics='{"mcc":0.01,"f_val":-0.01}', pt=7,
        table=table, best=best, key="k", dataset_version=5, source_id="k/1/0",
    )  # fmt: skip


def acked(version: int) -> Ack:
    file = f"datasets/dataset_version_{version}.csv"
    return Ack(
        version=version, buckets_range=(1, 2), key="k", path=f"{ROOT}/{file}", rows=100, bytes=1000,
        sha256="/data/b_(1, 2)", source_id="k/1/0",
    )  # fmt: skip


def assembled(version: int) -> dict[str, Any]:
    return {"dataset": dataset(version, sha256="/data/b_(1, 2)")}


SMALL = ready(dataset=dataset(4, rows=10))
SWEEP = [values(0), [0.001, UNFIT_GAMMA]]
SWEEP_TABLE: list[dict[str, Any]] = [
    {"params": STEP_DICT, "metrics": {"mcc": 0.01, "f_val": -0.01}},
    {"params": BASELINE_DICT | {"gamma": UNFIT_GAMMA}, "error": "n_symbols * gamma must not exceed 1"},
]
FIRST = step(0, 7)
UNFIT = dataclasses.replace(point(0), gamma=UNFIT_GAMMA)
FAILED_STEP = Step(id="cmd-0", asked=point(0), code=Code.BAD_PARAMS)
REPORTED = Report(reply_id="first", status="success", key="k", source_id="")
HEAD = command(Train, offset=3, timestamp=300)

CASES = [
    # -- a notice
    Case(NO_DATASET, "assembles", LineState(), notice(), [acked(5)], assembled(5)),
    Case(
        NO_DATASET, "missing bucket", LineState(),
        notice(path_prefix=NOWHERE, text='{"version": 5}', origin="datasets.jsonl:1", time=9),
        [
            DeadLetter(
                reason="bucket /nowhere_1 does not exist", error_code=Code.MISSING_BUCKET, origin="datasets.jsonl:1",
                stream="datasets", partition="0", offset=0, original='{"version": 5}', encoding="utf-8", size=14,
                time=9, key="k", source_id="k/1/0",
            )
        ],
    ),
    Case(
        READY, "the newer is current, the older is deleted", ready(), notice(version=6), [acked(6)], assembled(6),
        ("datasets/dataset_version_5.csv", "datasets/dataset_version_5.csv.json"),
    ),
    Case(
        READY, "the same again is acknowledged again", ready(dataset=dataset(sha256="/data/b_(1, 2)")), notice(),
        [acked(5)],
    ),
    Case(
        READY, "the latest is current, whatever its number", ready(dataset=dataset(9)), notice(version=2), [acked(2)],
        assembled(2), ("datasets/dataset_version_9.csv", "datasets/dataset_version_9.csv.json"),
    ),
    Case(OTHER, "the locked one stays", ready(session=session()), notice(version=6), [acked(6)], assembled(6)),
    # -- train
    Case(NO_DATASET, "train", LineState(), command(Train), [NOTHING]),
    Case(
        READY, "train on the baseline", ready(), command(Train), announced(10, "retrain"),
        {"next_model_id": 11, "models": (final(10),)},
    ),
    Case(READY, "train on too few events", SMALL, command(Train), [TOO_FEW]),
    Case(
        READY, "train that cannot be fitted takes its number", ready(), command(Train, params={"gamma": UNFIT_GAMMA}),
        [error(Code.BAD_PARAMS, "n_symbols * gamma must not exceed 1")], {"next_model_id": 11},
    ),
    Case(
        READY, "only the newest models are kept", ready(models=(final(3), final(4))), command(Train),
        announced(10, "retrain"), {"next_model_id": 11, "models": (final(4), final(10))}, ("models/model_3.spst",),
        LineSettings(keep_models=2),
    ),
    Case(
        OWN, "train in a session leaves it alone", ready(session=session(FIRST)), command(Train),
        announced(10, "retrain"), {"next_model_id": 11, "models": (final(10),)},
    ),
    Case(
        OTHER, "train beside a session", ready(session=OTHERS), command(Train), announced(10, "retrain"),
        {"next_model_id": 11, "models": (final(10),)},
    ),
    # -- opt_initialise
    Case(NO_DATASET, "initialise fails once", LineState(), command(OptInitialise), [NOTHING], {"failed": (100,)}),
    Case(READY, "initialise is not answered", ready(), command(OptInitialise), [], {"session": session(highest_id=0)}),
    Case(READY, "initialise on too few events", SMALL, command(OptInitialise), [TOO_FEW], {"failed": (100,)}),
    Case(
        READY, "initialise after a failure and a finalise", ready(failed=(90, 100), closed=Closed(timestamp=100)),
        command(OptInitialise), [], {"session": session(highest_id=0), "failed": (90,), "closed": None},
    ),
    Case(
        OWN, "initialise again rewinds", ready(session=session(FIRST, highest_id=8)), command(OptInitialise), [],
        {"session": session(FIRST, cursor=0, highest_id=0)},
    ),
    Case(
        OWN, "initialise again before any step", ready(session=session(highest_id=8)), command(OptInitialise), [],
        {"session": session(highest_id=0)},
    ),
    Case(
        OTHER, "initialise replaces the other session", ready(session=OTHERS), command(OptInitialise), [],
        {"session": session(highest_id=0)}, OTHERS_FILES[1:],
    ),
    Case(
        OTHER, "initialise on too few events aborts too", ready(session=OTHERS, dataset=dataset(4, rows=10)),
        command(OptInitialise), [TOO_FEW], {"session": None, "failed": (100,)},
        ("datasets/dataset_version_5.csv", "datasets/dataset_version_5.csv.json", *OTHERS_FILES),
    ),
    # -- opt_step
    Case(NO_DATASET, "step", LineState(), command(OptStep, params=values(0)), [no_session()]),
    Case(NO_DATASET, "step of a failed session", LineState(failed=(100,)), command(OptStep), []),
    Case(READY, "step of a closed session", ready(closed=Closed(timestamp=100)), command(OptStep), [no_session()]),
    Case(
        OWN, "step", ready(session=session()), command(OptStep, params=values(0)), [scored(10)],
        {"next_model_id": 11, "session": session(replace(step(0, 10), f_val=-0.01), highest_id=0)},
    ),
    Case(
        OWN, "step keeps its answer where repeats are answered", ready(session=session()),
        command(OptStep, params=values(0)), [scored(10)],
        {
            "next_model_id": 11,
            "session": session(
                replace(step(0, 10), f_val=-0.01, answer=replace(scored(10), source_id="")), highest_id=0
            ),
        },
        settings=ANSWERING,
    ),
    Case(
        OWN, "step with bad params takes its index", ready(session=session()), command(OptStep, params=[1]),
        [error(Code.BAD_PARAMS, "params: expected 2 values (pMin, gamma), came 1: [1]")],
        {
            "session": session(
                Step(
                    id="cmd-0", code=Code.BAD_PARAMS,
                    asked="080a9ed428559ef602668b4c00f114f1a11c3f6b02a435f0bdc154578e4d7f22",
                ),
                highest_id=0,
            )
        },
    ),
    Case(
        OWN, "step that cannot be fitted takes its index", ready(session=session()),
        command(OptStep, params=[0.01, UNFIT_GAMMA]), [error(Code.BAD_PARAMS, "n_symbols * gamma must not exceed 1")],
        {
            "next_model_id": 11,
            "session": session(
                Step(id="cmd-0", code=Code.BAD_PARAMS, asked=UNFIT), highest_id=0
            ),
        },
    ),
    Case(
        OWN, "step at the cursor is a repeat", ready(session=session(FIRST, step(1), cursor=0)),
        command(OptStep, params=values(0)), [], {"session": session(FIRST, step(1), cursor=1, highest_id=0)},
    ),
    Case(
        OWN, "step at the cursor's end", ready(session=session(FIRST, cursor=0)), command(OptStep, params=values(0)),
        [], {"session": session(FIRST, highest_id=0)},
    ),
    Case(
        OWN, "step that differs cuts the record", ready(session=session(step(5, 6), step(1, 7), step(2, 8), cursor=1)),
        command(OptStep, params=values(0)), [scored(10)],
        {
            "next_model_id": 11,
            "session": session(step(5, 6), replace(step(0, 10), f_val=-0.01), highest_id=0),
        },
        ("models/model_7.spst", "models/model_8.spst"),
    ),
    Case(
        OWN, "step known by its params and number", ready(session=session(FIRST, highest_id=4)),
        command(OptStep, params=values(0)), [],
    ),
    Case(
        OWN, "repeat is answered as at first", ready(session=session(replace(FIRST, answer=REPORTED), highest_id=4)),
        command(OptStep, params=values(0)), [replace(REPORTED, source_id="k/1/0")], settings=ANSWERING,
    ),
    Case(
        OTHER, "step of no session", ready(session=OTHERS), command(OptStep, params=values(0)),
        [no_session(100, "; open is 90")],
    ),
    # -- opt_finalise
    Case(NO_DATASET, "finalise", LineState(), command(OptFinalise, best_i=0), [no_session()]),
    Case(READY, "finalise of a failed session", ready(failed=(100,)), command(OptFinalise, best_i=0), []),
    Case(READY, "finalise again", ready(closed=Closed(timestamp=100)), command(OptFinalise, best_i=0), []),
    Case(
        READY, "finalise again, answered", ready(closed=Closed(timestamp=100, answer=REPORTED)),
        command(OptFinalise, best_i=0), [replace(REPORTED, source_id="k/1/0")], settings=ANSWERING,
    ),
    Case(
        OWN, "finalise", ready(session=session(FIRST, step(1), step(2, 9))), command(OptFinalise, best_i=0),
        announced(10, "optimisation", STEP_TEXT, STEP_DICT),
        {"next_model_id": 11, "session": None, "closed": Closed(timestamp=100), "models": (final(10),)}, OTHERS_FILES,
    ),
    Case(
        OWN, "finalise of a failed step", ready(session=session(FIRST, step(1))), command(OptFinalise, best_i=1),
        [
            error(
                Code.INVALID_BEST_I,
                "Invalid best_i: expected the index of a step that succeeded, from 0 to 1; step 1 failed (bad_params)",
            )
        ],
        {"session": session(FIRST, step(1), highest_id=0)},
    ),
    Case(
        OWN, "finalise without a step", ready(session=session(highest_id=0)), command(OptFinalise, best_i=0),
        [error(Code.INVALID_BEST_I, "Invalid best_i: no step yet, came 0")],
    ),
    Case(
        OTHER, "finalise of no session", ready(session=OTHERS), command(OptFinalise, best_i=0),
        [no_session(100, "; open is 90")],
    ),
    # -- opt_sweep
    Case(NO_DATASET, "sweep", LineState(), command(OptSweep, params=SWEEP), [NOTHING]),
    Case(READY, "sweep", ready(), command(OptSweep, params=SWEEP), [swept(SWEEP_TABLE, 0)]),
    Case(READY, "sweep on too few events", SMALL, command(OptSweep, params=SWEEP), [TOO_FEW]),
    Case(
        READY, "sweep too large", ready(), command(OptSweep, params={"pMin": [0.1, 0.2]}),
        [error(Code.SWEEP_TOO_LARGE, "expected at most 1 sets of hyperparameters, came 2")],
        settings=LineSettings(limits=Limits(sweep=1)),
    ),
    Case(
        OWN, "sweep on the locked dataset", ready(session=session(), dataset=dataset(6)),
        command(OptSweep, params=[SWEEP[1], SWEEP[0]]), [swept(SWEEP_TABLE[::-1], 1)],
        {"session": session(highest_id=0)},
    ),
    Case(
        OTHER, "sweep on the current dataset", ready(session=OTHERS), command(OptSweep, params=SWEEP),
        [swept(SWEEP_TABLE, 0)],
    ),
    # -- opt_abort
    Case(NO_DATASET, "abort", LineState(), command(OptAbort), [no_session()]),
    Case(READY, "abort of a failed session", ready(failed=(100,)), command(OptAbort), [no_session()]),
    Case(
        OWN, "abort", ready(session=replace(OTHERS, timestamp=100)), command(OptAbort),
        [Report(reply_id="cmd-0", status="success", key="k", dataset_version=5, source_id="k/1/0")],
        {"session": None}, OTHERS_FILES,
    ),
    Case(OTHER, "abort of no session", ready(session=OTHERS), command(OptAbort), [no_session(100, "; open is 90")]),
    # -- what cannot be understood
    Case(NO_DATASET, "malformed", LineState(), MALFORMED, [NOT_UNDERSTOOD]),
    Case(READY, "malformed", ready(), MALFORMED, [NOT_UNDERSTOOD]),
    Case(OTHER, "malformed", ready(session=OTHERS), MALFORMED, [NOT_UNDERSTOOD]),
    # -- waiting
    *(
        Case(
            WAITING, f"{message.__class__.__name__} stands in line", waiting(HEAD), message, [],
            {"waiting": (HEAD, message)}, settings=LineSettings(wait_for_dataset_seconds=50),
        )
        for message in (
            command(Train, offset=4), command(OptInitialise, offset=4), command(OptStep, offset=4),
            command(OptFinalise, offset=4), command(OptSweep, offset=4), command(OptAbort, offset=4),
            command(Malformed, offset=4, problem="unknown"),
        )
    ),
    Case(
        WAITING, "newer than the dataset", ready(dataset=dataset(timestamp=100)), command(Train, timestamp=151), [],
        {"waiting": (command(Train, timestamp=151),)}, settings=GATED,
    ),
    Case(
        WAITING, "no place to wait", waiting(HEAD, session=OTHERS, dataset=dataset(), next_model_id=10),
        command(OptInitialise, id="cmd-0", offset=4),
        [
            error(
                Code.WAITING_FULL,
                "1 commands already wait for a dataset, and more are not kept; send it again after the next ACK",
            )
        ],
        {"failed": (100,)}, settings=GATED,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.situation.value}: {case.what}")
def test_transition_answers_and_changes(case: Case) -> None:
    assert situation_of(case.state, case.message, case.settings) is case.situation
    volume = Volume(case.state)
    before = set(volume.files)
    following, outputs = handle(case.state, case.message, volume, case.settings)
    position = case.message.position
    expected = {"seq": 1, "marks": case.state.marks | {mark_of(position): position.offset}} | dict(case.changes)
    assert list(outputs) == case.outputs
    assert following == replace(case.state, **expected)
    assert before - volume.files == set(case.deletions)


def test_cases_name_every_pair_of_the_table() -> None:
    assert {(case.situation, type(case.message)) for case in CASES} == TRANSITIONS.keys()


def test_every_pair_outside_the_table_is_impossible_for_the_situation() -> None:
    kinds: set[type[Message]] = {kind for _, kind in TRANSITIONS}
    impossible = {(situation, kind) for situation in Situation for kind in kinds} - TRANSITIONS.keys()
    assert impossible == {(WAITING, DatasetNotice), (OWN, DatasetNotice), (OWN, Malformed)}


def test_impossible_pair_tells_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TRANSITIONS, (READY, Train))
    with pytest.raises(
        ImpossibleTransition, match=r"line 'k' after entry 0: Train cannot meet .* ready; message Train.*"
    ):
        decide(ready(), command(Train), SETTINGS)


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        (Reject(code=Code.NO_SESSION, text="none"), Fitted(file="m", path="/m", sha256="s", pt=1)),
        (decide(ready(), command(Train), SETTINGS), Done()),
    ],
)
def test_outcome_that_cannot_come_of_the_decision_is_impossible(decision: Decision, outcome: Any) -> None:
    assert (type(decision), type(outcome)) not in EFFECTS
    with pytest.raises(ImpossibleTransition, match="cannot come of"):
        evolve(ready(), command(Train), decision, outcome, SETTINGS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.situation.value}: {case.what}")
def test_transition_leaves_its_input_alone(case: Case) -> None:
    state, message = str(case.state), str(case.message)
    handle(case.state, case.message, Volume(case.state), case.settings)
    assert (str(case.state), str(case.message)) == (state, message)
