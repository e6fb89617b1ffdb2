"""What a transactional sink promises beyond the contract: fencing, headers, sizes, partitions, and how it fails."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer
from prometheus_client import REGISTRY

from dataflow import metrics, shutdown
from dataflow.connectors import Line
from dataflow.errors import FactoryFault
from tests.brokers import DEADLINE, NoidaDb
from tests.dataflow.connector_contract import line
from tests.dataflow.kafka_ends import Ends, wait_until


@pytest.fixture
def ends(noida: NoidaDb, tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(noida, tmp_path)
    yield ends
    ends.close()


def texts(lines: list[Line]) -> list[bytes]:
    return [text for _, text in lines]


def test_sink_tells_identity_and_owner_of_every_message(ends: Ends) -> None:
    partition = ends.open_sink()
    partition.write_batch([line("harbour/12/0"), line("@commands/3/77")])
    partition.snapshot()
    harbour, dead = ends.broker.read(ends.name)
    assert (harbour.headers(), harbour.key()) == ([("source-id", b"harbour/12/0")], b"harbour")
    assert (dead.headers(), dead.key()) == ([("source-id", b"@commands/3/77")], b"@commands/3")


def test_sink_fences_its_predecessor(ends: Ends) -> None:
    older, newer = ends.open_sink(), ends.open_sink()
    older.write_batch([line("a/1/0")])
    with pytest.raises(FactoryFault, match="another process has taken over the transactional id"):
        older.snapshot()
    with pytest.raises(FactoryFault, match="taken over"):
        older.write_batch([line("a/2/0")])
    newer.write_batch([line("a/1/0")])
    newer.snapshot()
    assert ends.broker.values(ends.name) == texts([line("a/1/0")])


def test_sink_ends_what_a_dying_predecessor_left_open(ends: Ends) -> None:
    identity = f"rtcef-model-factory-{ends.name}-0"
    dying = Producer(ends.broker.client(transactional_id=identity))
    dying.init_transactions(DEADLINE)
    dying.begin_transaction()
    dying.produce(ends.name, line("a/1/0")[1], headers=[("source-id", b"a/1/0")])
    dying.flush(DEADLINE)
    lines = [line("a/1/0", sent="again"), line("a/2/0")]
    partition = ends.open_sink()
    partition.write_batch(lines)
    partition.snapshot()
    assert ends.broker.values(ends.name) == texts(lines)
    assert len(ends.broker.read(ends.name, isolation="read_uncommitted")) == 3


def test_sink_snapshot_waits_until_everything_is_committed(ends: Ends) -> None:
    lines = [line(f"a/{seq}/0", padding="x" * 100) for seq in range(5000)]
    partition = ends.open_sink()
    for one in lines:
        partition.write_batch([one])
    partitions, end, marks, _ = partition.snapshot()
    messages = ends.broker.read(ends.name)
    assert [message.value() for message in messages] == texts(lines)
    assert (partitions, end, marks) == (1, (messages[-1].offset() or 0) + 1, {"a": (4999, 0)})


def test_sink_passes_over_messages_of_others(ends: Ends) -> None:
    ends.broker.send(ends.name, b"not ours")
    partition = ends.open_sink()
    partition.write_batch([line("a/1/0")])
    partition.snapshot()
    assert ends.broker.values(ends.name) == [b"not ours", line("a/1/0")[1]]


def test_sink_goes_on_where_its_topic_has_forgotten(ends: Ends) -> None:
    lines = [line(f"a/{seq}/0") for seq in range(6)]
    partition = ends.open_sink()
    partition.write_batch(lines[:2])
    snapshot = partition.snapshot()
    partition.write_batch(lines[2:4])
    end = partition.snapshot()[1]
    ends.broker.expire(ends.name, before=end - 1)
    resumed = ends.open_sink(snapshot)
    resumed.write_batch(lines)
    resumed.snapshot()
    assert ends.broker.values(ends.name) == texts(lines[3:])


def test_sink_stops_at_a_message_over_the_limit_and_names_its_size(noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(noida, tmp_path, noida.make_topic(max_message_bytes="20000"))
    lines = [line("a/1/0"), line("a/2/0", table="x" * 50_000), line("a/3/0")]
    partition = ends.open_sink()
    partition.write_batch(lines)
    with pytest.raises(FactoryFault, match=rf"output a/2/0 of {len(lines[1][1])} bytes .*the topic takes 20000: raise"):
        partition.snapshot()
    assert REGISTRY.get_sample_value("factory_delivery_failures_total", {"topic": ends.name}) == 1
    noida.configure_topic(ends.name, max_message_bytes="200000")
    again = ends.open_sink()
    again.write_batch(lines)
    again.snapshot()
    assert noida.values(ends.name) == texts(lines)
    ends.close()


def test_sink_takes_small_messages_where_a_batch_of_them_would_be_over_the_limit(
    noida: NoidaDb, tmp_path: Path
) -> None:
    ends = Ends(noida, tmp_path, noida.make_topic(max_message_bytes="20000"))
    lines = [line(f"a/{seq}/0", padding="x" * 5000) for seq in range(50)]
    partition = ends.open_sink()
    partition.write_batch(lines)
    partition.snapshot()
    assert noida.values(ends.name) == texts(lines)
    ends.close()


def test_sink_puts_owners_where_librdkafkas_consistent_partitioner_does(noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(noida, tmp_path, noida.make_topic(partitions=12))
    sink, owners = ends.sink(), [f"line-{number}" for number in range(20)]
    producer, placed = Producer(noida.client(partitioner="consistent")), {}

    def note(_: KafkaError | None, sent: Message) -> None:
        placed[(sent.key() or b"").decode()] = sent.partition()

    for owner in owners:
        producer.produce(ends.name, b"", owner, on_delivery=note)
    producer.flush(DEADLINE)
    assert {owner: sink.part_fn(f"{owner}/{seq}/0") % 12 for owner in owners for seq in (1, 22)} == placed
    assert sink.list_parts() == sorted(sink.list_parts())


def test_sink_repeats_nothing_after_partitions_were_added(noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(noida, tmp_path, noida.make_topic(partitions=1))
    lines = [line(f"{owner}/{seq}/0") for seq in range(3) for owner in "abcdef"]
    first = ends.open_sink()
    first.write_batch(lines[:6])
    snapshot = first.snapshot()
    first.write_batch(lines[6:12])
    first.snapshot()
    noida.add_partitions(ends.name, 3)
    wait_until(lambda: ends.describe().partitions == 3, "the partitions show")
    sink = ends.sink()
    for number, resume in enumerate((snapshot, None, None)):
        partition = ends.open_sink(resume, number)
        partition.write_batch([one for one in lines if sink.part_fn(one[0]) % 3 == number])
        partition.snapshot()
    written = [value for number in range(3) for value in noida.values(ends.name, number)]
    assert sorted(filter(None, written)) == sorted(texts(lines))
    ends.close()


def test_sink_repeats_nothing_that_was_written_while_its_partitions_started(noida: NoidaDb, tmp_path: Path) -> None:
    """The store is lost; what a predecessor still commits after the topic was read, but before it is fenced, counts."""
    ends = Ends(noida, tmp_path, noida.make_topic(partitions=3))
    sink, lines = ends.sink(), [line(f"{owner}/{seq}/0") for seq in range(4) for owner in "abcdef"]

    def of(number: int, some: list[Line]) -> list[Line]:
        return [one for one in some if sink.part_fn(one[0]) % 3 == number]

    before = [ends.open_sink(None, number) for number in range(3)]
    for number in range(3):
        before[number].write_batch(of(number, lines[:6]))
        before[number].snapshot()
    for number in range(3):
        if number:  # the first partition, and with it the whole topic, has been read
            before[number].write_batch(of(number, lines[6:12]))
            before[number].snapshot()
        after = sink.build_part("flow.reports", f"{number:06d}", None)
        after.write_batch(of(number, lines))
        after.snapshot()
        after.close()
    for number in range(3):
        assert [value for value in noida.values(ends.name, number) if value] == texts(of(number, lines))
    ends.close()


def test_sink_stops_where_its_topic_was_made_anew(noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(noida, tmp_path)
    first = ends.open_sink()
    first.write_batch([line(f"a/{seq}/0") for seq in range(4)])
    snapshot = first.snapshot()
    other = Ends(noida, tmp_path, noida.make_topic())
    with pytest.raises(FactoryFault, match=rf"{other.name}: the recovery store knows it as {snapshot[3]}, .* anew"):
        other.open_sink(snapshot)
    cut = (*snapshot[:3], other.describe().identity)
    with pytest.raises(FactoryFault, match=rf"{other.name}\[0\] ends at offset 0, but .* up to {snapshot[1]}: .* cut"):
        other.open_sink(cut)
    ends.close()


def test_clients_that_were_closed_are_shown_no_more(noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(noida, tmp_path)
    ends.open_sink()
    assert {"admin", f"{ends.name}/reader"}.isdisjoint(metrics.connections())
    assert metrics.connections()[f"{ends.name}/0"]
    ends.close()


def test_sink_waits_for_a_broker_that_went_away(
    own_noida: NoidaDb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = Ends(own_noida, tmp_path)
    lines = [line(f"a/{seq}/0") for seq in range(4)]
    partition = ends.open_sink()
    partition.write_batch(lines[:2])
    partition.snapshot()
    own_noida.stop(signal.SIGTERM)
    partition.write_batch(lines[2:])
    wait_until(lambda: "waiting for one" in caplog.text, "the outage shows in the log")
    own_noida.start()
    partition.snapshot()
    assert own_noida.values(ends.name) == texts(lines)
    assert "a broker can be reached again" in caplog.text
    ends.close()


@pytest.mark.slow
def test_sink_gives_up_once_the_outage_is_too_long(own_noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(own_noida, tmp_path, outage_timeout=30.0)
    partition = ends.open_sink()
    own_noida.stop(signal.SIGTERM)
    partition.write_batch([line("a/1/0")])
    with pytest.raises(FactoryFault, match=rf"{ends.name}\[0\]: cannot commit a transaction"):
        partition.snapshot()
    ends.close()


@pytest.mark.slow
def test_sink_that_is_asked_to_end_does_not_wait_for_a_broker(
    own_noida: NoidaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = Ends(own_noida, tmp_path)
    partition = ends.open_sink()
    own_noida.stop()
    partition.write_batch([line("a/1/0")])
    monkeypatch.setattr(shutdown, "requested", lambda: True)
    with pytest.raises(FactoryFault, match="asked to end while outputs wait for the broker"):
        partition.snapshot()
    ends.close()


def test_sink_raises_what_went_wrong_in_its_thread_whatever_it_is(ends: Ends) -> None:
    partition: Any = ends.open_sink()
    partition.write_batch([line("a/1/0"), ("a/2/0", 5)])
    with pytest.raises(TypeError, match="has no len"):
        partition.snapshot()
