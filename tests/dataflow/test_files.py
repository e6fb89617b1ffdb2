"""The embedded connector: the common contract, and what only files can suffer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from hypothesis import given
from hypothesis import strategies as st

from dataflow.config import load_config
from dataflow.connectors import Line, open_connectors
from dataflow.connectors.files import TopicFileSink, TopicFileSource
from dataflow.connectors.pace import Pace
from dataflow.connectors.tail import CHUNK, Place, Tail
from dataflow.disk import take_lease
from dataflow.errors import FactoryFault
from dataflow.messages import Raw
from dataflow.pulse import pulse
from tests.dataflow.connector_contract import SinkContract, SinkPartition, SourceContract, SourcePartition, line, take

MAX_BYTES = 100


def source_of(path: Path, **options: bool) -> TopicFileSource:
    return TopicFileSource(path, "commands", max_bytes=MAX_BYTES, pace=Pace(0.001), **options)


def open_source(path: Path, snapshot: tuple[int, int] | None = None) -> SourcePartition:
    return source_of(path).build_part("flow.commands", "0", snapshot)


def open_sink(path: Path, snapshot: object = None) -> SinkPartition:
    return TopicFileSink(path).build_part("flow.reports", "0", snapshot)  # type: ignore[arg-type]  # as Bytewax does


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


class TestFileSource(SourceContract):
    @pytest.fixture(autouse=True)
    def topic(self, tmp_path: Path) -> None:
        self.path = tmp_path / "factory_commands.jsonl"

    def source(self) -> TopicFileSource:
        return source_of(self.path)

    def send(self, *messages: bytes) -> None:
        append(self.path, b"".join(message + b"\n" for message in messages))

    def test_source_tells_file_and_line(self) -> None:
        self.send(b"one", b"two", b"three")
        partition = self.open()
        take(partition, 1)
        (second,) = take(self.open(partition.snapshot()), 1)
        assert (second.origin, second.position.offset) == (f"{self.path}:2", 4)

    def test_source_takes_no_line_without_its_newline(self) -> None:
        partition = self.open()
        for piece in (b'{"n"', b":1", b"}"):
            append(self.path, piece)
            assert list(partition.next_batch()) == []
        append(self.path, b'\n{"half')
        assert [message.value for message in take(partition, 1)] == [b'{"n":1}']
        assert list(partition.next_batch()) == []

    def test_source_reads_a_half_written_line_again_from_its_start(self) -> None:
        append(self.path, b"one\nhalf of tw")
        partition = self.open()
        take(partition, 1)
        os.truncate(self.path, len(b"one\n"))
        append(self.path, b"two\n")
        assert [message.value for message in take(partition, 1)] == [b"two"]

    @pytest.mark.parametrize("length", [MAX_BYTES + 1, MAX_BYTES + 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
    def test_source_cuts_a_line_over_the_limit(self, length: int) -> None:
        self.send(b"a" * MAX_BYTES, b"b" * length, b"next")
        first, long, following = take(self.open(), 3)
        assert first.value == b"a" * MAX_BYTES
        assert long.value == b"b" * (MAX_BYTES + 1)
        assert (following.value, following.position.offset) == (b"next", MAX_BYTES + length + 2)

    def test_source_waits_for_the_end_of_a_line_over_the_limit(self) -> None:
        partition = self.open()
        for _ in range(5):
            append(self.path, b"x" * CHUNK)
            assert list(partition.next_batch()) == []
        append(self.path, b"\nnext\n")
        long, following = take(partition, 2)
        assert (len(long.value), following.value, following.origin) == (MAX_BYTES + 1, b"next", f"{self.path}:2")

    def test_source_accepts_that_a_half_written_line_over_the_limit_is_cut(self) -> None:
        append(self.path, b"one\n" + b"x" * 2 * CHUNK)
        partition = self.open()
        take(partition, 1)
        assert list(partition.next_batch()) == []
        os.truncate(self.path, len(b"one\n"))
        append(self.path, b"two\n")
        assert [message.value for message in take(partition, 1)] == [b"two"]

    def test_source_ends_at_the_end_where_asked_to(self) -> None:
        self.send(b"one")
        partition = source_of(self.path, stop_at_end=True).build_part("flow.commands", "0", None)
        take(partition, 1)
        with pytest.raises(StopIteration):
            partition.next_batch()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda path: os.truncate(path, 3), "shrank to 3 bytes, but 8 bytes of it were read"),
        (lambda path: path.unlink(), "was removed or replaced"),
        (lambda path: path.with_suffix(".new").replace(path), "was removed or replaced"),
    ],
)
def test_source_notices_that_its_file_is_another(damage: object, text: str, tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    append(path, b"one\ntwo\n")
    append(path.with_suffix(".new"), b"one\ntwo\nthree\n")
    partition = open_source(path)
    take(partition, 2)
    damage(path)  # type: ignore[operator]
    with pytest.raises(FactoryFault, match=text):
        partition.next_batch()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "was removed"),
        (b"one\n", "has no line that ends at byte 8"),
        (b"longer lines\n", "has no line that ends"),
    ],
)
def test_source_notices_on_resume_that_its_file_is_another(content: bytes | None, text: str, tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    if content is not None:
        append(path, content)
    with pytest.raises(FactoryFault, match=text):
        open_source(path, (8, 2)).next_batch()


@given(
    pieces=st.lists(st.binary(max_size=12).map(lambda piece: piece.replace(b"\x00", b"\n"))),
    resume_after=st.integers(0, 40),
)
def test_source_agrees_with_splitting_the_file(
    pieces: list[bytes], resume_after: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("topic") / "commands.jsonl"
    partition = open_source(path)
    taken: list[Raw] = []
    for piece in pieces:
        append(path, piece)
        taken += partition.next_batch()
        if len(taken) == resume_after:
            snapshot = partition.snapshot()
            partition.close()
            partition = open_source(path, snapshot)
    *complete, _ = b"".join(pieces).split(b"\n")
    taken += take(partition, len(complete) - len(taken))
    assert [message.value for message in taken] == complete
    assert [message.origin for message in taken] == [f"{path}:{number + 1}" for number in range(len(complete))]
    partition.close()


def test_tail_holds_no_line_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "commands.jsonl"
    with path.open("wb") as file:
        file.truncate(200 * CHUNK)  # a hole: one long line of zeros
    append(path, b"\n")
    asked: list[int] = []
    pread = os.pread

    def watched(fd: int, size: int, offset: int) -> bytes:
        asked.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", watched)
    tail = Tail(path, Place(0, 0), MAX_BYTES)
    while not (lines := tail.read()):
        pass
    assert len(lines[0][1]) == MAX_BYTES + 1
    assert max(asked) <= CHUNK


class TestFileSink(SinkContract):
    @pytest.fixture(autouse=True)
    def topic(self, tmp_path: Path) -> None:
        self.path = tmp_path / "model_reports.jsonl"

    def sink(self) -> TopicFileSink:
        return TopicFileSink(self.path)

    def written(self) -> list[bytes]:
        return self.path.read_bytes().splitlines()

    def test_sink_makes_a_file_that_others_cannot_read(self) -> None:
        self.open()
        assert self.path.stat().st_mode & 0o777 & ~0o640 == 0  # or less, as the umask has it

    @pytest.mark.parametrize("with_snapshot", [True, False])
    @pytest.mark.parametrize("cut", [1, 5, 20])
    def test_sink_cuts_the_half_written_last_line(self, cut: int, with_snapshot: bool) -> None:
        lines = [line("a/1/0"), line("a/2/0"), line("a/3/0")]
        partition = self.open()
        partition.write_batch(lines[:1])
        snapshot = partition.snapshot() if with_snapshot else None
        append(self.path, lines[1][1][:cut])
        self.open(snapshot).write_batch(lines)
        self.assert_written(lines)

    def test_sink_refuses_a_file_shorter_than_its_snapshot(self) -> None:
        partition = self.open()
        partition.write_batch([line("a/1/0")])
        os.truncate(self.path, 3)
        with pytest.raises(FactoryFault, match=r"has 3 bytes, but 22 were written.*delete the recovery store"):
            self.open(partition.snapshot())

    @pytest.mark.parametrize("foreign", [b"\x00\x00\x00\n", b"{}\n", b'{"source_id":7}\n', b"\n"])
    def test_sink_refuses_lines_that_are_not_ours(self, foreign: bytes) -> None:
        first = line("a/1/0")
        self.open().write_batch([first])
        append(self.path, foreign)
        with pytest.raises(FactoryFault, match=rf"expected an output of this factory at byte {len(first[1]) + 1}"):
            self.open()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_sink_stops_on_a_full_disk() -> None:
    partition = open_sink(Path("/dev/full"))
    with pytest.raises(FactoryFault, match="/dev/full: cannot append to it: No space left on device"):
        partition.write_batch([line("a/1/0")])


def test_sink_stops_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(FactoryFault, match="cannot open it: No such file or directory"):
        open_sink(tmp_path / "no such folder" / "reports.jsonl")


@given(data=st.data())
def test_sink_writes_the_sequence_once_whatever_happens(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Crashes at any byte, old or lost snapshots, and replays from any output that the journal may start at."""
    path = tmp_path_factory.mktemp("topic") / "reports.jsonl"
    lines = [line(f"{'ab'[n % 2]}/{n}/{n % 3}") for n in range(12)]
    partition, snapshot, handed_in = open_sink(path), None, 0
    for _ in range(data.draw(st.integers(0, 12), label="events")):
        event = data.draw(st.sampled_from(["write", "snapshot", "crash", "lose the store"]), label="event")
        if event == "write":
            start = data.draw(st.integers(0, handed_in), label="from")
            handed_in = data.draw(st.integers(start, len(lines)), label="to")
            partition.write_batch(lines[start:handed_in])
        elif event == "snapshot":
            snapshot = partition.snapshot()
        else:
            partition.close()
            snapshot = None if event == "lose the store" else snapshot
            flushed = snapshot[0] if snapshot else 0
            os.truncate(path, data.draw(st.integers(flushed, path.stat().st_size), label="bytes that survive"))
            partition, handed_in = open_sink(path, snapshot), 0
    partition.write_batch(lines[:handed_in])
    partition.write_batch(lines)
    assert path.read_bytes().splitlines() == [text for _, text in lines]
    partition.close()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_sink_that_hangs_can_be_noticed(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    real = getattr(os, call)

    def look(*arguments: object) -> object:
        seen.append(pulse.silence())
        return real(*arguments)

    partition = TopicFileSink(tmp_path / "topic.jsonl").build_part("flow.reports", "0", None)
    monkeypatch.setattr(os, call, look)
    partition.write_batch([line("a/1/0")])
    partition.snapshot()
    assert seen
    assert all(silence > 0 for silence in seen)
    assert pulse.silence() == 0
    partition.close()


def test_files_carry_a_flow_across_starts(tmp_path: Path) -> None:
    """Bytewax itself: snapshots of both ends, a start without the recovery store, nothing twice."""
    source, sink, stores = tmp_path / "commands.jsonl", tmp_path / "reports.jsonl", tmp_path / "store"
    expected: list[bytes] = []
    for start in range(4):
        append(source, b"".join(b"%d\n" % number for number in range(10 * start, 10 * start + 10)))
        if start in (0, 2):
            shutil.rmtree(stores, ignore_errors=True)
            stores.mkdir()
            init_db_dir(stores, 1)
        flow = Dataflow("flow")
        messages = op.input("commands", flow, source_of(source, stop_at_end=True))
        op.output("reports", op.map("answer", messages, _answer), TopicFileSink(sink))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(stores))
        expected += [line(f"a/{number}/0")[1] for number in range(10 * start, 10 * start + 10)]
        assert sink.read_bytes().splitlines() == expected


def _answer(message: Raw) -> tuple[str, Line]:
    source_id = f"a/{message.value.decode()}/0"
    return source_id, line(source_id)


def test_connectors_are_the_configured_topics_below_the_root(tmp_path: Path) -> None:
    environment = {"FACTORY_DATA_ROOT": str(tmp_path / "root")}
    (tmp_path / "factory.toml").write_text('[topics]\nacks = "promises"\n[limits]\nmessage_bytes = 77\n')
    connectors = open_connectors(load_config(tmp_path / "factory.toml", environment))
    topics = tmp_path / "root" / "topics"
    assert {name: getattr(sink, "path", None) for name, sink in connectors.sinks.items()} == {
        "reports": topics / "model_reports.jsonl",
        "models": topics / "model_versions.jsonl",
        "acks": topics / "promises.jsonl",
        "dead_letters": topics / "factory_dead_letters.jsonl",
    }
    for source, stream, name in (
        (connectors.commands, "commands", "factory_commands"),
        (connectors.datasets, "datasets", "dataset_versions"),
    ):
        assert isinstance(source, TopicFileSource)
        assert (source.path, source.stream, source.max_bytes) == (topics / f"{name}.jsonl", stream, 77)
    assert "another factory" in in_another_process(tmp_path / "root").stderr


def in_another_process(root: Path, then: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import os, pathlib, dataflow.disk; dataflow.disk.take_lease(pathlib.Path({str(root)!r})); {then}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_lease_keeps_a_second_factory_out(tmp_path: Path) -> None:
    take_lease(tmp_path)
    take_lease(tmp_path)
    refused = in_another_process(tmp_path)
    assert refused.returncode != 0
    assert f"another factory (process {os.getpid()}) works here" in refused.stderr


def test_lease_ends_with_its_holder(tmp_path: Path) -> None:
    assert in_another_process(tmp_path, then="os._exit(9)").returncode == 9
    take_lease(tmp_path)
