"""Buckets with anything in them, through a whole line: every message gets its answer, and no exception gets out."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dataflow.errors import Code
from dataflow.lines import Lines
from dataflow.messages import Message
from dataflow.state import LineState
from tests.dataflow.workshop import HEADER, make_workshop

CELLS = [
    "",
    "A",
    "B",
    "1",
    "-1",
    "70.5",
    "nan",
    "-inf",
    "1e400",
    "1e308",
    " 1",
    "0x10",
    "é",
    '"a,b"',
    '"q""q"',
    "\u2028",
]
PIECES = [
    b"", b"\n", b"\r\n", b"\r", b",", b'"', b"{", b"\xef\xbb\xbf", b"\0", b"\xff", b"\x1f\x8b", HEADER.encode(),
    b"type,entity,timestamp\n", b'1,"A\nB",e1\n', b"1,A\n", b'{"timestamp":1e400,"type":"A"}\n', b'{"timestamp":NaN}\n',
    b'{"timestamp":5,"type":"A","entity":"e1"}\n', b'{"type":"A","type":"B"}\n', b'{"type":"\\ud800"}\n',
]  # fmt: skip

rows = st.tuples(*[st.sampled_from(CELLS)] * 3).map(lambda cells: f"{','.join(cells)}\n".encode())
usual = st.builds(lambda kind, entity: f"7,{kind},e{entity}\n".encode(), st.sampled_from("AABC"), st.integers(1, 2))
content = st.lists(st.one_of(usual, usual, usual, rows), max_size=30).map(b"".join)
tables = st.tuples(st.sampled_from([HEADER.encode(), b"entity,type,timestamp\r\n", b""]), content).map(b"".join)
messes = st.lists(st.one_of(st.sampled_from(PIECES), usual), max_size=8).map(b"".join)
buckets = st.lists(st.one_of(tables, tables, messes), min_size=1, max_size=3)
patterns = st.sampled_from(
    [
        ";(IsEventTypePredicate(A),IsEventTypePredicate(B)){partitionBy:entity}",
        ";(GTE(timestamp,7),LT(timestamp,7)){partitionBy:type}",
        ";(TruePredicate(),!(IsEventTypePredicate(A)))",
        ";(",
    ]
)
lines = st.fixed_dictionaries(
    {
        "min_events": st.sampled_from([0, 1, 20]),
        "max_bad_rows": st.sampled_from([0.0, 0.5, 1.0]),
        "evaluation": st.sampled_from(['"in-sample"', '"holdout:0.3"', '"last-bucket"']),
        "columns": st.sampled_from(['["timestamp", "type", "entity"]', None]),
    }
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(buckets, patterns, lines)
def test_line_answers_whatever_buckets_hold(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    contents: list[bytes],
    pattern: str,
    line: dict[str, object],
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    workshop = make_workshop(tmp_path_factory.mktemp("garbage") / "root")
    (workshop.root / "pattern.sre").write_text(pattern)
    for number, each in enumerate(contents):
        (workshop.buckets / f"b_{number}").write_bytes(each)
    section = "".join(f"{name} = {value}\n" for name, value in line.items() if value is not None)
    notice = workshop.notice(0, tuple(range(len(contents))))
    grid = {"params": {"order": [0, 2], "gamma": [0, 0.2]}}
    commands = [
        workshop.command("train"),
        workshop.command("opt_sweep", grid),
        workshop.command("opt_initialise"),
        workshop.command("opt_step", {"params": [0, 0.01]}),
        workshop.command("opt_finalise", best_i=0),
    ]
    worker = Lines(workshop.config(f"[lines.k]\n{section}"))
    state: LineState | None = None
    for message in [notice, *commands]:
        state, outputs = worker(state, message)
        said = [msgspec.json.decode(each.content).get("error_code", each.topic) for each in outputs]
        assert _is_an_answer(message, said), said
        event(f"{type(message).__name__}: {said}")


def _is_an_answer(message: Message, said: list[str]) -> bool:
    """Tell whether a message is answered as it must be: not at all only in a session that is open, or was refused."""
    kind = type(message).__name__
    if kind == "OptInitialise":
        return said == [] or set(said) <= set(Code)
    silent = kind in ("OptStep", "OptFinalise") and said == []
    expected = {"DatasetNotice": ["acks"], "Train": ["reports", "models"], "OptFinalise": ["reports", "models"]}
    return silent or said == expected.get(kind, ["reports"]) or (len(said) == 1 and set(said) <= set(Code))
