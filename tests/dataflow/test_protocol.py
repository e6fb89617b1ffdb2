"""Random histories: the pure factory against the protocol written again, and against itself resumed anywhere."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dataflow.decide import LEADS_TO, TRANSITIONS, Situation, situation_of
from dataflow.messages import (
    COMMANDS,
    DATASETS,
    Ack,
    DeadLetter,
    Message,
    ModelVersion,
    Output,
    Report,
    encode,
    split_source_id,
)
from dataflow.settings import Limits, LineSettings
from dataflow.state import LineState
from tests.dataflow import protocol_model
from tests.dataflow.pure import Volume, handle, handle_all, read

Wire = protocol_model.Wire

POINTS = [0.1, 0.2, 0.3]
"""Few values, so that params come again by chance."""

points = st.lists(st.sampled_from(POINTS), min_size=2, max_size=2)
odd_params = st.sampled_from([None, [0.1], [0.1, 2.0], {"pMin": 0.2}, {"p_MIN": 0.2, "gamma": 0.9}, {"speed": 1}, "[]"])
params = st.one_of(
    points.map(lambda point: json.dumps({"params": point})),
    points.map(lambda point: {"params": point}),
    points,
    odd_params,
)
ids = st.one_of(st.integers(0, 12).map("cmd-{}".format), st.integers(0, 12), st.sampled_from(["first", "again"]))
timestamps = st.sampled_from([100, 200, 300])
commands = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["opt_step"] * 6 + ["opt_initialise", "opt_finalise"] * 3 + ["train", "opt_abort"]),
        "id": ids,
        "timestamp": timestamps,
        "params": params,
        "best_i": st.sampled_from([0, 0, 1, 2, 3, -1, True, None, "0"]),
    }
)
sweeps = st.fixed_dictionaries(
    {
        "type": st.just("opt_sweep"),
        "id": ids,
        "timestamp": timestamps,
        "params": st.one_of(st.lists(points, min_size=1, max_size=3), st.just([])),
    }
)


def notices_of(*prefixes: str) -> st.SearchStrategy[Wire]:
    return st.fixed_dictionaries(
        {
            "path_prefix": st.sampled_from(prefixes),
            "buckets_range": st.lists(st.integers(1, 3), min_size=1, max_size=3),
            "version": st.integers(0, 3),
            "timestamp": timestamps,
        }
    )


good_notices = notices_of("/data/a_", "/data/b_")
notices = notices_of("/data/a_", "/data/b_", "/data/small_", "/nowhere_")
messages = st.one_of(commands, commands, commands, commands, sweeps, notices)


@st.composite
def whole_sessions(draw: st.DrawFn) -> list[Wire]:
    """Return a session as a controller sends it: ids rise, params are mostly usable, the best step exists."""
    timestamp, first = draw(timestamps), draw(st.integers(0, 5))
    steps = draw(st.lists(st.one_of(points, points, points, odd_params), min_size=1, max_size=5))
    kinds = ["opt_initialise", *["opt_step"] * len(steps), "opt_finalise"]
    best = draw(st.integers(0, len(steps) - 1))
    asked = [None, *[{"params": point} for point in steps], None]
    return [
        {"type": kind, "id": f"cmd-{first + index}", "timestamp": timestamp, "params": params, "best_i": best}
        for index, (kind, params) in enumerate(zip(kinds, asked, strict=True))
    ]


@st.composite
def stories(draw: st.DrawFn) -> list[Wire]:
    """Return what one line hears: sessions and whatever else, and at times a stretch of it once more."""
    story: list[Wire] = draw(st.lists(good_notices, max_size=1))
    for _ in range(draw(st.integers(1, 6))):
        again = story[draw(st.integers(0, len(story))) :]
        story += draw(st.one_of(whole_sessions(), whole_sessions(), st.lists(messages, max_size=3), st.just(again)))
    return story[:60]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Wire]]:
    """Return the messages of two lines, in the order in which they are handled."""
    rest = {key: list(reversed(draw(stories()))) for key in ("harbour", "glucose")}
    history = []
    while any(rest.values()):
        key = draw(st.sampled_from([key for key in rest if rest[key]]))
        history.append((key, rest[key].pop()))
    return history


configurations = st.builds(
    LineSettings,
    repeats=st.sampled_from(["silent", "answer"]),
    wait_for_dataset_seconds=st.sampled_from([None, None, 50]),
    keep_models=st.integers(1, 3),
    limits=st.builds(Limits, waiting=st.integers(1, 4)),
)


def seen(outputs: Sequence[Output]) -> list[protocol_model.Seen]:
    """Return what the protocol says about outputs, without what only a volume can say."""
    return [_seen(output) for output in outputs]


def _seen(output: Output) -> protocol_model.Seen:
    wire: dict[str, Any] = json.loads(encode(output))
    match output:
        case Report():
            return ("report", wire["reply_id"], wire.get("error_code", wire["status"]), wire.get("model_id"))
        case ModelVersion():
            return ("model", wire["id"])
        case Ack():
            return ("ack", wire["version"])
        case DeadLetter():
            return ("dead", wire["error_code"])


def read_all(history: Sequence[tuple[str, Wire]], settings: LineSettings) -> list[Message]:
    """Return the messages of a history, each with its position in its stream."""
    streams = [COMMANDS if "type" in fields else DATASETS for _, fields in history]
    return [
        read(stream, offset, {"key": key, **fields}, settings)
        for offset, (stream, (key, fields)) in enumerate(zip(streams, history, strict=True))
    ]


@settings(max_examples=120)
@given(histories(), configurations)
def test_factory_answers_as_the_protocol_says(history: list[tuple[str, Wire]], configured: LineSettings) -> None:
    compare_with_the_model(history, configured)


@pytest.mark.slow
@settings(max_examples=5_000)
@given(histories(), configurations)
def test_factory_answers_as_the_protocol_says_at_length(
    history: list[tuple[str, Wire]], configured: LineSettings
) -> None:
    compare_with_the_model(history, configured)


def compare_with_the_model(history: list[tuple[str, Wire]], configured: LineSettings) -> None:
    lines: dict[str, LineState] = defaultdict(LineState)
    volumes: dict[str, Volume] = defaultdict(Volume)
    models: dict[str, protocol_model.Line] = defaultdict(
        lambda: protocol_model.Line(
            answers_repeats=configured.repeats == "answer",
            slack=None if configured.wait_for_dataset_seconds is None else int(configured.wait_for_dataset_seconds),
            queue_limit=configured.limits.waiting,
        )
    )
    for message, (key, fields) in zip(read_all(history, configured), history, strict=True):
        lines[key], outputs = handle_all(lines[key], message, volumes[key], configured)
        model = models[key]
        fields = {"params": None, "best_i": None} | fields
        expected = model.command(fields) if "type" in fields else model.dataset(fields)
        assert seen(outputs) == expected, f"{message} after {lines[key].seq} entries"
        for outcome in seen(outputs):
            event(f"{outcome[0]} {outcome[2] if outcome[0] == 'report' else ''}")


@settings(max_examples=60)
@given(histories(), configurations, st.data())
def test_factory_resumes_from_any_snapshot(
    history: list[tuple[str, Wire]], configured: LineSettings, data: st.DataObject
) -> None:
    state, volume = LineState(), Volume()
    snapshots, said = [(state, frozenset(volume.files))], []
    messages = read_all(history, configured)
    for message in messages:
        state, outputs = handle_all(state, message, volume, configured)
        snapshots.append((state, frozenset(volume.files)))
        said.append(outputs)
    start = data.draw(st.integers(0, len(messages)))
    resumed = msgspec.json.decode(msgspec.json.encode(snapshots[start][0]), type=LineState)
    again = Volume()
    again.files = set(snapshots[start][1])
    for message, outputs in zip(messages[start:], said[start:], strict=True):
        resumed, repeated = handle_all(resumed, message, again, configured)
        assert repeated == outputs
    assert resumed == state
    assert again.files == volume.files


@settings(max_examples=60)
@given(histories(), configurations)
def test_factory_gives_each_output_its_place_in_the_line(
    history: list[tuple[str, Wire]], configured: LineSettings
) -> None:
    state, volume, ranks = LineState(), Volume(), []
    for message in read_all([("harbour", fields) for _, fields in history], configured):
        assert not state.knows(message.position)
        state, outputs = handle_all(state, message, volume, configured)
        assert state.knows(message.position)
        owners = {split_source_id(output.source_id)[0] for output in outputs}
        assert owners <= {"harbour"}
        ranks += [split_source_id(output.source_id)[1] for output in outputs]
    assert ranks == sorted(set(ranks))


@settings(max_examples=60)
@given(histories(), configurations)
def test_line_moves_only_where_the_diagram_says(history: list[tuple[str, Wire]], configured: LineSettings) -> None:
    state, volume = LineState(), Volume()
    for message in read_all([("harbour", fields) for _, fields in history], configured):
        pair = (situation_of(state, message, configured), type(message))
        assert pair in TRANSITIONS
        stood = _stands(state)
        state, _ = handle(state, message, volume, configured)
        targets = {_node(target) for target in LEADS_TO.get(pair, ())} | {stood}
        assert _stands(state) in targets, f"{pair} led from {stood} to {_stands(state)}"
        event(f"{pair[0].value} {pair[1].__name__} {stood} -> {_stands(state)}")


def _stands(state: LineState) -> str:
    if state.session is not None:
        return "session"
    return "ready" if state.dataset is not None else "no dataset"


def _node(situation: Situation) -> str:
    return {Situation.OWN_SESSION: "session", Situation.READY: "ready"}[situation]


def test_model_finds_a_repeat_that_is_answered_twice() -> None:
    """The twin is no echo: where the factory would answer a silent repeat, the two differ."""
    start = {"type": "opt_initialise", "id": 0, "timestamp": 100}
    ask = {"type": "opt_step", "id": 1, "timestamp": 100, "params": [0.1, 0.2]}
    notice = {"path_prefix": "/data/a_", "buckets_range": [1], "version": 1, "timestamp": 100}
    history = [("k", notice), ("k", start), ("k", ask), ("k", start), ("k", ask)]
    answering, model = LineSettings(repeats="answer"), protocol_model.Line()
    state, volume, answers = LineState(), Volume(), []
    for message in read_all(history, answering):
        state, outputs = handle_all(state, message, volume, answering)
        answers.append(seen(outputs))
    expected = [model.command(fields) if "type" in fields else model.dataset(fields) for _, fields in history]
    assert answers[:4] == expected[:4]
    assert (answers[4], expected[4]) == ([("report", 1, "success", 1)], [])
