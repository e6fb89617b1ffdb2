"""What every connector does, whatever it is made of; a test module subclasses the two suites for its connector.

Partitions are driven by hand here, as Bytewax would: built from a snapshot, asked for batches, given batches, snapshot.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from bytewax.inputs import StatefulSourcePartition
from bytewax.outputs import StatefulSinkPartition

from dataflow import shutdown
from dataflow.connectors import Line, LineSink, RawSource
from dataflow.messages import Raw

DEADLINE = 120
"""Seconds after which something that must come is given up; no test passes or fails by being faster."""

SourcePartition = StatefulSourcePartition[Raw, Any]
SinkPartition = StatefulSinkPartition[Line, Any]


def line(source_id: str, **content: object) -> Line:
    return source_id, msgspec.json.encode({"source_id": source_id, **content})


def take(partition: SourcePartition, count: int) -> list[Raw]:
    """Ask until `count` messages have come."""
    taken: list[Raw] = []
    deadline = time.monotonic() + DEADLINE
    while len(taken) < count:
        assert time.monotonic() < deadline, f"{len(taken)} of {count} messages came: {taken}"
        taken += partition.next_batch()
    assert len(taken) == count
    return taken


def values(messages: Iterable[Raw]) -> list[bytes]:
    return [message.value for message in messages]


class SourceContract(ABC):
    """A source hands on every message of its topic once, in order, with an identity that never changes."""

    @abstractmethod
    def source(self) -> RawSource:
        """Return a source of the topic, which is one and the same within a test."""

    @abstractmethod
    def send(self, *messages: bytes) -> None:
        """Append to the topic."""

    def open(self, snapshot: object = None) -> SourcePartition:
        source = self.source()
        (name,) = source.list_parts()
        return source.build_part("flow.commands", name, snapshot)

    def test_source_hands_on_in_order(self) -> None:
        sent = [b'{"n":%d}' % n for n in range(50)]
        self.send(*sent)
        assert values(take(self.open(), 50)) == sent

    def test_source_follows_what_is_appended(self) -> None:
        partition = self.open()
        assert list(partition.next_batch()) == []
        for message in (b'{"n":1}', b'{"n":2}', b'{"n":3}'):
            self.send(message)
            assert values(take(partition, 1)) == [message]

    def test_source_resumes_after_the_last_message_handed_on(self) -> None:
        sent = [b'{"n":%d}' % n for n in range(20)]
        self.send(*sent[:12])
        partition = self.open()
        take(partition, 7)
        snapshot = partition.snapshot()
        take(partition, 5)
        self.send(*sent[12:])
        assert values(take(self.open(snapshot), 13)) == sent[7:]

    def test_source_gives_a_message_the_same_identity_each_time(self) -> None:
        self.send(b'{"n":1}', b'{"n":2}', b'{"n":2}', b"")
        first = take(self.open(), 4)
        assert take(self.open(), 4) == first
        offsets = [message.position.offset for message in first]
        assert offsets == sorted(set(offsets))
        assert {(message.position.stream, message.position.partition) for message in first} == {("commands", "0")}
        assert len({message.origin for message in first}) == 4

    def test_source_hands_on_bytes_that_are_no_message(self) -> None:
        sent = [b"\xff\xfe\x00", b"{", b"null", b'{"n":1}']
        self.send(*sent)
        assert values(take(self.open(), 4)) == sent

    def test_source_ends_once_sigterm_came(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.send(b'{"n":1}', b'{"n":2}')
        partition = self.open()
        take(partition, 1)
        monkeypatch.setattr(shutdown, "requested", lambda: True)
        with pytest.raises(StopIteration):
            partition.next_batch()
        monkeypatch.undo()
        assert values(take(self.open(partition.snapshot()), 1)) == [b'{"n":2}']


class SinkContract(ABC):
    """A sink writes every output once and in order, however often it is handed in and whatever snapshot it resumes."""

    @abstractmethod
    def sink(self) -> LineSink:
        """Return a sink into the topic, which is one and the same within a test."""

    @abstractmethod
    def written(self) -> list[bytes]:
        """Return what a reader of the topic sees."""

    def open(self, snapshot: object = None) -> SinkPartition:
        sink = self.sink()
        (name,) = sink.list_parts()
        return sink.build_part("flow.reports", name, snapshot)

    def assert_written(self, lines: Sequence[Line]) -> None:
        assert self.written() == [text for _, text in lines]

    def test_sink_writes_lines_as_they_are(self) -> None:
        lines = [line("a/1/0", text="é\n"), line("a/1/1"), line("b/1/0")]
        self.open().write_batch(lines)
        self.assert_written(lines)

    def test_sink_skips_what_it_has_written(self) -> None:
        lines = [line(f"{key}/{seq}/{number}") for seq in range(3) for key in "ab" for number in range(2)]
        partition = self.open()
        partition.write_batch(lines[:8])
        partition.write_batch(lines[2:])
        partition.write_batch(lines)
        self.assert_written(lines)

    def test_sink_compares_ranks_as_numbers(self) -> None:
        lines = [line("a/9/0"), line("a/10/0"), line("a/10/9"), line("a/10/10")]
        partition = self.open()
        for one in lines:
            partition.write_batch([one])
        self.assert_written(lines)

    @pytest.mark.parametrize("written_after", range(4))
    def test_sink_resumes_from_an_old_snapshot(self, written_after: int) -> None:
        lines = [line(f"a/{seq}/0") for seq in range(6)]
        partition = self.open()
        partition.write_batch(lines[:2])
        snapshot = partition.snapshot()
        partition.write_batch(lines[2 : 2 + written_after])
        resumed = self.open(snapshot)
        resumed.write_batch(lines)
        self.assert_written(lines)

    def test_sink_snapshot_is_not_changed_by_what_follows(self) -> None:
        partition = self.open()
        partition.write_batch([line("a/1/0")])
        snapshot = partition.snapshot()
        before = repr(snapshot)
        partition.write_batch([line("a/2/0"), line("b/1/0")])
        assert repr(snapshot) == before

    def test_sink_survives_a_lost_recovery_store(self) -> None:
        lines = [line(f"{key}/{seq}/0") for seq in range(4) for key in "ab"]
        self.open().write_batch(lines[:5])
        self.open(None).write_batch(lines)
        self.assert_written(lines)

    def test_sink_keeps_owners_apart(self) -> None:
        lines = [line("a/5/0"), line("b/1/0"), line("a/6/0"), line("b/2/0")]
        partition = self.open()
        partition.write_batch(lines[:3])
        self.open(partition.snapshot()).write_batch([*lines[1:2], *lines[2:]])
        self.assert_written(lines)
