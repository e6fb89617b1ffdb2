"""The wire: golden bytes both ways, what is refused and why, and no exception for anything that a peer can send."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataflow.decoding import decode, parse_json
from dataflow.errors import Code
from dataflow.messages import (
    COMMANDS,
    DATASETS,
    Ack,
    Command,
    CommandBase,
    DatasetNotice,
    DeadLetter,
    Malformed,
    Message,
    ModelVersion,
    OptFinalise,
    OptStep,
    Output,
    Position,
    Raw,
    Report,
    Train,
    Unreadable,
    dead_letter,
    encode,
    line_source_id,
    split_source_id,
    topic_of,
)
from dataflow.settings import Limits
from dataflow.state import LineState
from tests.dataflow.pure import Volume, handle

GOLDEN = Path(__file__).with_name("golden_wire")
LIMITS = Limits()
NOTICE = {"path_prefix": "/data/b_", "buckets_range": [1, 2], "version": 5}


def raw(value: bytes | dict[str, Any], stream: str = COMMANDS, **fields: Any) -> Raw:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Raw(Position(stream, "0", 7), data, origin="topic.jsonl:3", **fields)


def decoded(value: bytes | dict[str, Any], stream: str = COMMANDS, **fields: Any) -> Command | DatasetNotice:
    message = decode(raw(value, stream, **fields), LIMITS)
    assert not isinstance(message, Unreadable), message.reason
    return message


def reason(value: bytes | dict[str, Any], stream: str = COMMANDS, limits: Limits = LIMITS, **fields: Any) -> str:
    message = decode(raw(value, stream, **fields), limits)
    assert isinstance(message, Unreadable), message
    assert (message.position, message.origin) == (Position(stream, "0", 7), "topic.jsonl:3")
    return message.reason


def run_golden() -> tuple[list[Message | Unreadable], list[Output]]:
    state, volume = LineState(), Volume()
    read: list[Message | Unreadable] = []
    outputs: list[Output] = []
    for offset, line in enumerate((GOLDEN / "scenario.txt").read_text().splitlines()):
        stream, text = line.split(" ", 1)
        message = decode(Raw(Position(stream, "0", offset), text.encode(), origin=f"{stream}.jsonl:{offset}"), LIMITS)
        read.append(message)
        if isinstance(message, Unreadable):
            outputs.append(dead_letter(message))
            continue
        state, more = handle(state, message, volume)
        outputs += more
    return read, outputs


def test_messages_are_read_as_they_always_were() -> None:
    read, _ = run_golden()
    assert b"".join(msgspec.json.encode(message) + b"\n" for message in read) == (GOLDEN / "read.jsonl").read_bytes()


@pytest.mark.parametrize("topic", ["reports", "models", "acks", "dead_letters"])
def test_outputs_have_the_bytes_they_always_had(topic: str) -> None:
    _, outputs = run_golden()
    lines = b"".join(encode(output) + b"\n" for output in outputs if topic_of(output) == topic)
    assert lines == (GOLDEN / f"{topic}.jsonl").read_bytes()


def test_error_report_stands_as_the_protocol_shows_it() -> None:
    text = "no optimisation session is open for timestamp 1443700000"
    report = Report(
        reply_id="cmd-4", status="error", error=text, error_code=Code.NO_SESSION, key="k", source_id="k/1/0"
    )
    shown = f'{{"reply_id":"cmd-4","status":"error","error":"{text}","error_code":"no_session"'
    assert encode(report).decode() == f'{shown},"key":"k","source_id":"k/1/0"}}'


@pytest.mark.parametrize(
    "output",
    [
        Report(reply_id=1, status="success", table=[{"params": {"k": 1}}], key="k"),
        ModelVersion(
            id=1, path="/m", creation_method="retrain", model_params={"k": 1}, pt=3, key="k", sha256="s",
            dataset_version=5, timestamp=None,
        ),
        Ack(version=1, buckets_range=(1, 2), key="k", path="/d", rows=3, bytes=4, sha256="s"),
        DeadLetter(
            reason="why", error_code=Code.UNREADABLE, origin="o", stream="s", partition="0", offset=1, original="\n",
            encoding="utf-8", size=1,
        ),
    ],
)  # fmt: skip
def test_output_survives_a_journal(output: Output) -> None:
    """A journal keeps outputs as tagged structs; the wire shows no tag and never a newline."""
    again = msgspec.json.decode(msgspec.json.encode(output), type=Output)
    assert again == output
    assert encode(again) == encode(output)
    wire = json.loads(encode(output))
    assert not wire.keys() & {"type", "schema"}
    assert b"\n" not in encode(output)


@pytest.mark.parametrize("name", ["train", "Train", "TRAIN"])
@pytest.mark.parametrize("field", ["type", "command"])
def test_type_is_read_in_any_case_and_from_either_field(field: str, name: str) -> None:
    assert isinstance(decoded({field: name, "id": 1}), Train)


def test_type_leads_and_command_is_the_fallback() -> None:
    assert isinstance(decoded({"type": "train", "command": "opt_step", "id": 1}), Train)
    assert isinstance(decoded({"type": None, "command": "opt_step", "id": 1, "timestamp": 5}), OptStep)


@pytest.mark.parametrize("command_id", ["cmd-4", "", 0, -3, 2**63 - 1])
def test_id_keeps_its_own_type(command_id: Any) -> None:
    message = decoded({"type": "train", "id": command_id})
    assert isinstance(message, CommandBase)
    assert (message.id, type(message.id)) == (command_id, type(command_id))


def test_params_and_best_i_stay_as_they_came() -> None:
    message = decoded({"type": "opt_finalise", "id": 1, "timestamp": 5, "params": "{]", "best_i": "2", "extra": {}})
    assert message == OptFinalise(
        position=Position(COMMANDS, "0", 7), key="default", id=1, timestamp=5, params="{]", best_i="2"
    )


def test_whole_timestamps_are_equal_however_written() -> None:
    first = decoded({"type": "opt_step", "id": 1, "timestamp": 1443700000.0})
    assert first == decoded({"type": "opt_step", "id": 1, "timestamp": 1443700000})
    assert isinstance(first.timestamp, int)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"type": "opt_rewind"}, 'type: expected one of train, .*, came "opt_rewind"'),
        ({"type": "opt_step"}, "timestamp: expected a number, .* came null"),
        ({"type": "opt_step", "timestamp": "5"}, 'timestamp: .* came "5"'),
        ({"type": "train", "timestamp": True}, "timestamp: .* came true"),
    ],
)
def test_command_that_can_be_answered_is_malformed(fields: dict[str, Any], problem: str) -> None:
    message = decoded({"id": 1} | fields)
    assert isinstance(message, Malformed)
    assert re.search(problem, message.problem)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"train", "malformed"),
        (b"[1]", r"expected a JSON object, came \[1\]"),
        (b'"train"', "expected a JSON object"),
        (b"\xff\xfe{}", "malformed"),
        (b'{"id":"\xff"}', "utf-8"),
        (b'{"type":"train","id":1,"params":NaN}', "malformed"),
        (b'{"type":"train","id":1,"params":1e400}', "out of range"),
        (b'{"type":"train","id":1,"params":-Infinity}', "malformed|invalid"),
        (b'{"type":"train","id":9223372036854775808}', "a whole number beyond"),
        (b'{"type":"train","id":1,"x":' + b"[" * 17 + b"]" * 17 + b"}", "nested too deep"),
        (b'{"type":"train","id":1,"x":' + b"[" * 9999 + b"]" * 9999 + b"}", "nested deeper"),
        (b'{"type":"train","id":1} {}', "trailing"),
        ({"id": 1}, "type: expected one of train, .*, came null"),
        ({"type": 5, "id": 1}, "type: expected one of .* came 5"),
        ({"type": "train"}, "id: expected text or a whole number, came null"),
        ({"type": "train", "id": True}, "id: .* came true"),
        ({"type": "train", "id": 1.5}, "id: .* came 1.5"),
        ({"type": "train", "id": ["x" * 99]}, r"id: .* came \[\"x+\.\.\."),
        ({"type": "train", "id": "x" * 257}, "id: expected at most 256 characters, came 257"),
    ],
)
def test_command_that_cannot_be_answered_is_unreadable(value: bytes | dict[str, Any], expected: str) -> None:
    assert re.search(expected, reason(value))


@pytest.mark.parametrize("key", ["", ".", "..", "../x", "a/b", "a b", "-a", "_a", "a" * 65, "a\n", "ä", 5, ["a"], {}])
def test_key_that_could_build_a_file_name_is_unreadable(key: Any) -> None:
    assert reason({"type": "train", "id": 1, "key": key}).startswith("key: expected")
    assert reason(NOTICE | {"key": key}, DATASETS).startswith("key: expected")
    if isinstance(key, str):
        assert reason({"type": "train", "id": 1}, record_key=key).startswith("key: expected")


@pytest.mark.parametrize(
    ("named", "record", "key"),
    [
        ("a", "b", "a"),
        (None, "b", "b"),
        (None, None, "default"),
        ("A.b-c_9", None, "A.b-c_9"),
        ("a" * 64, None, "a" * 64),
    ],
)
def test_key_is_the_messages_then_the_records_then_the_default(named: Any, record: Any, key: str) -> None:
    assert decoded({"type": "train", "id": 1, "key": named}, record_key=record).key == key
    assert decoded(NOTICE | {"key": named}, DATASETS, record_key=record).key == key


def test_topic_of_several_partitions_needs_record_keys() -> None:
    message = {"type": "train", "id": 1, "key": "a"}
    assert reason(message, partitions=2).startswith("expected a record key")
    assert decoded(message, partitions=2, record_key="b").key == "a"


def test_message_over_the_limit_is_cut_and_counted() -> None:
    limits = Limits(message_bytes=20)
    message = decode(raw(b"{" + b" " * 20 + b"}"), limits)
    assert isinstance(message, Unreadable)
    assert message.reason == "expected at most 20 bytes, came more"
    assert (len(message.value), message.size) == (20, 22)


def test_limits_are_inclusive() -> None:
    text = json.dumps({"type": "train", "id": "x" * 256}).encode()
    limits = Limits(message_bytes=len(text))
    assert isinstance(decode(raw(text), limits), Train)
    assert isinstance(decode(raw(text + b" "), limits), Unreadable)
    notice = decoded(NOTICE | {"buckets_range": list(range(1000)), "path_prefix": "a" * 4096}, DATASETS)
    assert isinstance(notice, DatasetNotice)
    assert len(notice.buckets_range) == 1000
    nested = b'{"type":"train","id":1,"x":' + b"[" * 15 + b"]" * 15 + b"}"
    assert isinstance(decoded(nested), Train)


def test_notice_is_read_with_every_bucket_once_in_order() -> None:
    fields = NOTICE | {"buckets_range": [3, 1, 3, 2, 1], "dataset_id": 5, "timestamp": 9.0, "bucket_count": 5}
    text = json.dumps(fields)
    assert decoded(text.encode(), DATASETS, time=8) == DatasetNotice(
        position=Position(DATASETS, "0", 7), key="default", path_prefix="/data/b_", buckets_range=(3, 1, 2), version=5,
        dataset_id="5", timestamp=9, bucket_count=5, text=text, origin="topic.jsonl:3", time=8,
    )  # fmt: skip


def test_smallest_notice_is_enough() -> None:
    assert decoded({"path_prefix": "a", "buckets_range": [0], "version": 0}, DATASETS) == DatasetNotice(
        position=Position(DATASETS, "0", 7), key="default", path_prefix="a", buckets_range=(0,), version=0,
        text='{"path_prefix": "a", "buckets_range": [0], "version": 0}', origin="topic.jsonl:3",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"path_prefix": ""}, "path_prefix"),
        ({"path_prefix": None}, "path_prefix"),
        ({"path_prefix": "a\0b"}, "NUL"),
        ({"path_prefix": "a" * 4097}, "path_prefix"),
        ({"buckets_range": []}, "buckets_range"),
        ({"buckets_range": "1-2"}, "buckets_range"),
        ({"buckets_range": ["../1"]}, "buckets_range"),
        ({"buckets_range": [1.5]}, "buckets_range"),
        ({"buckets_range": [True]}, "buckets_range"),
        ({"buckets_range": list(range(1001))}, "buckets_range: expected at most 1000 ids, came 1001"),
        ({"version": -1}, "version"),
        ({"version": "5"}, "version"),
        ({"version": None}, "version"),
        ({"timestamp": "now"}, "timestamp"),
        ({"bucket_count": {}}, "bucket_count"),
    ],
)
def test_notice_that_cannot_be_used_is_unreadable(fields: dict[str, Any], expected: str) -> None:
    assert expected in reason(NOTICE | fields, DATASETS)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner))
names = st.sampled_from(["type", "command", *CommandBase.__struct_fields__, *DatasetNotice.__struct_fields__])
plausible = values | st.sampled_from(["train", "OPT_STEP", "opt_sweep", "k", 5, [1, 2], "/data/b_", '{"params": [1]}'])
near_messages = st.dictionaries(names | st.text(max_size=9), plausible).map(lambda fields: json.dumps(fields).encode())


def mutated(data: tuple[bytes, int, bytes]) -> bytes:
    value, at, patch = data
    return value[: at % (len(value) + 1)] + patch + value[at % (len(value) + 1) + len(patch) :]


mutations = st.tuples(near_messages, st.integers(0, 999), st.binary(max_size=4)).map(mutated)


@given(
    st.one_of(st.binary(), near_messages, mutations),
    st.sampled_from([COMMANDS, DATASETS]),
    st.none() | st.text(max_size=70),
    st.sampled_from([Limits(), Limits(message_bytes=40, json_depth=1, id_chars=2, params_chars=3, buckets=1)]),
)
@example(b"[" * 100_000, COMMANDS, None, LIMITS)
@example(b'{"a":' * 50_000, DATASETS, None, LIMITS)
@example(b'{"id":"\\ud800","type":"train"}', COMMANDS, None, LIMITS)
@example(b"9" * 5_000, COMMANDS, None, LIMITS)
def test_no_exception_leaves_the_decoders(value: bytes, stream: str, record_key: str | None, limits: Limits) -> None:
    message = decode(Raw(Position(stream, "0", 1), value, record_key), limits)
    if isinstance(message, Unreadable):
        letter = dead_letter(message)
        assert letter.reason
        assert json.loads(encode(letter))["source_id"] == f"@{stream}/0/1"
    else:
        kind = DatasetNotice if stream == DATASETS else CommandBase
        assert isinstance(message, kind)
        assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message


@pytest.mark.parametrize(
    ("value", "original", "encoding"),
    [
        (b'{"id": "\xc3\xa4"', '{"id": "ä"', "utf-8"),
        (b"", "", "utf-8"),
        (b"\xff\x00", "/wA=", "base64"),
        (b"\x01" * 9, "AQEBAQEBAQEB", "base64"),
    ],
)
def test_dead_letter_holds_the_original_bytes(value: bytes, original: str, encoding: Any) -> None:
    unreadable = Unreadable(Position("commands", "3", 9), "why", value, origin="t.jsonl:4", size=len(value), time=5)
    assert dead_letter(unreadable) == DeadLetter(
        reason="why", error_code=Code.UNREADABLE, origin="t.jsonl:4", stream="commands", partition="3", offset=9,
        original=original, encoding=encoding, size=len(value), time=5, source_id="@commands/3/9",
    )  # fmt: skip


@given(st.binary(min_size=1, max_size=300))
def test_dead_letter_is_not_much_longer_than_its_message(value: bytes) -> None:
    letter = dead_letter(Unreadable(Position("commands", "0", 0), "", value))
    assert len(json.dumps(letter.original, ensure_ascii=False).encode()) <= 2 * len(value) + 8


def test_dead_letter_has_a_time_only_if_it_came_with_the_message() -> None:
    assert "time" not in json.loads(encode(dead_letter(Unreadable(Position("commands", "0", 0), "why", b""))))


@pytest.mark.parametrize(
    ("source_id", "owner", "rank"),
    [
        (line_source_id("harbour", 12, 3), "harbour", (12, 3)),
        (line_source_id("commands", 1, 0), "commands", (1, 0)),
        ("@commands/0/512", "@commands/0", (512,)),
        ("@datasets/a/b/7", "@datasets/a/b", (7,)),
    ],
)
def test_source_id_splits_into_owner_and_rank(source_id: str, owner: str, rank: tuple[int, ...]) -> None:
    assert split_source_id(source_id) == (owner, rank)


def test_depth_counts_every_level() -> None:
    assert parse_json("[[1]]", 2) == [[1]]
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json("[[1]]", 1)
