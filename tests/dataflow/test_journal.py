"""Journals torn at every byte, damaged, foreign, newer and compacted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow import journal
from dataflow.config import JournalSettings
from dataflow.decisions import Done, Reject
from dataflow.errors import Code, FactoryFault
from dataflow.journal import (
    NAME,
    Content,
    Entry,
    Journal,
    create_journal,
    entry_of,
    read_journal,
)
from dataflow.messages import Ack, DeadLetter, ModelVersion, Output, Report, Train, encode, topic_of
from dataflow.state import LineState
from tests.dataflow import pure
from tests.dataflow.workshop import held_open

KEEP = JournalSettings()


@pytest.fixture(scope="module", autouse=True)
def unflushed() -> Iterator[None]:
    """Leave out what only a loss of power could tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    create_journal(path, "k")
    return path


def opened(path: Path, keep: JournalSettings = KEEP) -> Journal:
    return Journal(path, read_journal(path, "k"), keep)


def entry(seq: int, *outputs: Output, at: float = 0.0, deletions: tuple[str, ...] = ()) -> Entry:
    decision = Reject(code=Code.NO_DATASET, text="none yet")
    state = LineState(seq=seq, marks={"commands/0": seq})
    return entry_of(pure.command(Train, offset=seq), decision, Done(), (state, outputs, deletions), at)


def filled(path: Path, number: int) -> list[Entry]:
    entries = [entry(seq, report(seq)) for seq in range(1, number + 1)]
    writer = opened(path)
    for each in entries:
        writer.append(each)
    return entries


def report(number: int) -> Report:
    return Report(reply_id=number, status="error", error="none yet", key="k", source_id=f"k/{number}/0")


def test_journal_gives_back_what_was_written(path: Path) -> None:
    entries = filled(path, 5)
    content = read_journal(path, "k")
    assert content == Content(tuple(entries), entries[-1], 5, path.stat().st_size)
    assert content.seq == 5
    assert entries[-1].line_state() == LineState(seq=5, marks={"commands/0": 5})


def test_new_journal_is_empty(path: Path) -> None:
    assert read_journal(path, "k") == Content((), None, 0, path.stat().st_size)


@pytest.mark.parametrize("beyond", range(7))
def test_reading_beyond_an_entry_gives_the_later_ones_and_the_last(path: Path, beyond: int) -> None:
    entries = filled(path, 5)
    content = read_journal(path, "k", beyond)
    assert (content.entries, content.last) == (tuple(entries[beyond:]), entries[-1])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
OUTPUTS: st.SearchStrategy[Output] = st.one_of(
    st.builds(Report, reply_id=st.integers(0, 9) | TEXT, status=st.just("success"), metrics=TEXT, key=TEXT),
    st.builds(
        Report,
        reply_id=TEXT,
        status=st.just("success"),
        table=st.lists(st.dictionaries(TEXT, NUMBER | st.none(), max_size=3), max_size=3),
        key=TEXT,
    ),
    st.builds(
        ModelVersion,
        id=st.integers(0, 9),
        path=TEXT,
        creation_method=st.just("retrain"),
        model_params=st.dictionaries(TEXT, NUMBER, max_size=3),
        pt=st.integers(0, 9),
        key=TEXT,
        sha256=TEXT,
        dataset_version=st.integers(0, 9),
        timestamp=NUMBER | st.none(),
    ),
    st.builds(Ack, path=TEXT, key=TEXT),
    st.builds(DeadLetter, reason=TEXT, original=TEXT, encoding=st.just("utf-8"), key=TEXT),
)


@given(st.lists(OUTPUTS, max_size=4))
def test_outputs_come_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, outputs: list[Output]) -> None:
    path = tmp_path_factory.mktemp("journal") / NAME
    create_journal(path, "k")
    opened(path).append(entry(1, *outputs))
    (read,) = read_journal(path, "k").entries
    assert [(each.topic, bytes(each.content)) for each in read.outputs] == [
        (topic_of(each), encode(each)) for each in outputs
    ]


# --- damage


def test_torn_tail_is_cut_wherever_it_was_torn(path: Path) -> None:
    entries = filled(path, 3)
    whole = path.read_bytes()
    start = len(whole) - len(whole.splitlines(keepends=True)[-1])
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        content = read_journal(path, "k")
        assert (content.entries, content.size) == (tuple(entries[:2]), start)
        opened(path).append(entries[2])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("tail", [b"\0" * 5000, b'{"seq":4' + b"\0" * 90 + b'}\n{"seq', b"\0" * 40 + b"\n"])
def test_tail_of_nuls_that_a_loss_of_power_leaves_is_cut(path: Path, tail: bytes) -> None:
    entries = filled(path, 3)
    whole = path.read_bytes()
    if tail.count(b"\n") and not tail.endswith(b"\n"):
        tail = tail.replace(b"\n", b"")  # one torn line, however many entries it was meant to be
    path.write_bytes(whole + tail)
    assert read_journal(path, "k").entries == tuple(entries)
    opened(path)
    assert path.read_bytes() == whole


@given(st.data())
def test_damage_before_the_last_line_is_named(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("journal") / NAME
    create_journal(path, "k")
    filled(path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    place = data.draw(st.integers(0, 3))
    offset = data.draw(st.integers(0, len(lines[place]) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (lines[place][offset], ord("\n"))))
    lines[place] = lines[place][:offset] + bytes([byte]) + lines[place][offset + 1 :]
    path.write_bytes(b"".join(lines))
    with pytest.raises(FactoryFault, match=f"{path}, line {place + 1}: "):
        read_journal(path, "k")


def test_damage_of_a_whole_last_line_is_no_torn_tail(path: Path) -> None:
    filled(path, 2)
    path.write_bytes(path.read_bytes().replace(b'"seq":2', b'"seq":9'))
    with pytest.raises(FactoryFault, match="line 3: damaged"):
        read_journal(path, "k")


@pytest.mark.parametrize("kept", [(0, 2, 1, 3), (0, 1, 3), (0, 1, 1, 2)])
def test_lines_that_do_not_follow_each_other_are_refused(path: Path, kept: tuple[int, ...]) -> None:
    filled(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[place] for place in kept))
    with pytest.raises(FactoryFault, match="expected entry"):
        read_journal(path, "k")


@pytest.mark.parametrize("content", [b"", b"half a hea"])
def test_journal_without_a_header_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FactoryFault, match="line 1: damaged"):
        read_journal(path, "k")


def test_journal_of_another_line_is_refused(path: Path) -> None:
    with pytest.raises(FactoryFault, match="expected the journal of K, found that of k"):
        read_journal(path, "K")


def test_newer_journal_is_refused_by_name_and_an_older_one_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = filled(path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "SCHEMA", journal.SCHEMA + 1)
        assert read_journal(path, "k").entries == tuple(entries)
        create_journal(path, "k")
    with pytest.raises(FactoryFault, match=f"{path} has journal schema 2, this factory knows 1"):
        read_journal(path, "k")


def test_newer_state_is_refused_by_name_and_an_older_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    written = entry(3)
    newer = msgspec.structs.replace(written, state=msgspec.Raw(b'{"schema":2,"seq":3,"invented":1}'))
    with pytest.raises(FactoryFault, match="schema 2, this factory knows 1"):
        newer.line_state()
    monkeypatch.setattr("dataflow.state.SCHEMA", 2)
    assert written.line_state().schema == 2


def test_whole_line_that_is_no_entry_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(FactoryFault, match=r"line 2: damaged .*seq"):
        read_journal(path, "k")


# --- writing


def test_file_that_somebody_else_wrote_to_stops_the_line(path: Path) -> None:
    first, second = opened(path), opened(path)
    first.append(entry(1))
    with pytest.raises(FactoryFault, match="another factory works on this line"):
        second.append(entry(1))


def test_file_that_is_gone_stops_the_line(path: Path) -> None:
    writer = opened(path)
    path.unlink()
    with pytest.raises(FactoryFault, match="No such file"):
        writer.append(entry(1))


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_refused_entry_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    filled(path, 2)
    writer, before = opened(path), path.read_bytes()
    really_write = os.write

    def refuse(fd: int, content: bytes = b"") -> int:
        if len(content) > 100:
            return really_write(fd, content[:-100])  # a disk that is filling up
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(FactoryFault, match="No space left"):
            writer.append(entry(3))
    assert path.read_bytes() == before
    writer.append(entry(3))
    assert read_journal(path, "k").seq == 3


@pytest.mark.parametrize(("durable", "flushes"), [(True, 1), (False, 0)])
def test_entry_is_flushed_if_it_must_last(
    path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, flushes: int
) -> None:
    flushed: list[int] = []
    writer = opened(path)
    monkeypatch.setattr(os, "fsync", flushed.append)
    writer.append(entry(1), durable=durable)
    assert len(flushed) == flushes


def test_any_number_of_journals_holds_no_file_open(tmp_path: Path) -> None:
    writers = []
    for number in range(50):
        create_journal(tmp_path / f"{number}", "k")
        writers.append(opened(tmp_path / f"{number}"))
        writers[-1].append(entry(1))
    assert held_open(tmp_path) == []
    with (tmp_path / "0").open():
        assert held_open(tmp_path) == [str(tmp_path / "0")]


# --- compaction


def compacted(path: Path, ages: list[float], keep: JournalSettings, now: float) -> list[int]:
    """Write an entry of each age, compact, and return the numbers of those that are left."""
    writer = opened(path, keep)
    for seq, age in enumerate(ages, start=1):
        writer.append(entry(seq, report(seq), at=now - age))
    writer.compact(now)
    assert writer.size == path.stat().st_size
    writer.append(entry(len(ages) + 1, at=now))
    return [each.seq for each in read_journal(path, "k").entries][:-1]


DAY = 86_400.0


@pytest.mark.parametrize(
    ("ages", "kept"),
    [
        ([2 * DAY] * 10, range(7, 11)),  # none is young: the newest four
        ([2 * DAY] * 4 + [DAY / 2] * 6, range(5, 11)),  # six are young
        ([DAY / 2] * 10, range(1, 11)),  # all are young
        ([2 * DAY] * 4, range(1, 5)),  # no more than must be kept
        ([2 * DAY] * 2 + [DAY / 2] + [2 * DAY] * 7, range(3, 11)),  # the clock was set forward and back
    ],
)
def test_compaction_keeps_the_newest_by_number_or_by_age(path: Path, ages: list[float], kept: range) -> None:
    assert compacted(path, ages, JournalSettings(entries=4, hours=24), now=10 * DAY) == list(kept)


def test_compaction_leaves_the_bytes_of_what_it_keeps(path: Path) -> None:
    filled(path, 8)
    lines = path.read_bytes().splitlines(keepends=True)
    opened(path, JournalSettings(entries=3, hours=1)).compact(DAY)
    assert path.read_bytes() == b"".join([lines[0], *lines[-3:]])
    assert read_journal(path, "k").entries[0].seq == 6


def test_compaction_waits_for_a_quarter_more_than_is_kept(path: Path) -> None:
    writer = opened(path, JournalSettings(entries=8, hours=0))
    sizes = []
    for seq in range(1, 25):
        writer.append(entry(seq))
        writer.compact(1.0)
        sizes.append(read_journal(path, "k").number)
    assert sizes == [*range(1, 10), *[8, 9] * 7, 8]


def test_compaction_that_fails_leaves_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = filled(path, 8)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(FactoryFault, match="No space left"):
        opened(path, JournalSettings(entries=3, hours=1)).compact(DAY)
    assert read_journal(path, "k").entries == tuple(entries)
    assert [each.name for each in path.parent.iterdir()] == [NAME]
