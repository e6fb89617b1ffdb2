"""Where reading begins, what a message brings along, and what becomes of everything that is not a message."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from prometheus_client import REGISTRY

from dataflow.decoding import decode
from dataflow.errors import FactoryFault
from dataflow.messages import Train, Unreadable, dead_letter
from dataflow.settings import Limits
from tests.brokers import ApacheKafka, NoidaDb
from tests.dataflow.connector_contract import take, values
from tests.dataflow.kafka_ends import Ends, wait_until

TRAIN = b'{"type":"train","id":1}'


@pytest.fixture
def ends(noida: NoidaDb, tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(noida, tmp_path)
    yield ends
    ends.close()


def connected(client: str) -> float | None:
    return REGISTRY.get_sample_value("factory_broker_connected", {"client": client})


def test_source_brings_identity_key_and_time_along(ends: Ends) -> None:
    ends.broker.send(ends.name, TRAIN, key=b"harbour")
    (raw,) = take(ends.open_source(), 1)
    assert (raw.position.stream, raw.position.partition, raw.position.offset) == ("commands", "0", 0)
    assert (raw.record_key, raw.partitions) == ("harbour", 1)
    assert raw.origin == f"{ends.name}[0]@0"
    (message,) = ends.broker.read(ends.name)
    assert raw.time == message.timestamp()[1]


@pytest.mark.parametrize(
    ("value", "size", "reason"),
    [
        pytest.param(None, 0, "expected a JSON object", id="tombstone"),
        pytest.param(b"", 0, "expected a JSON object", id="empty"),
        pytest.param(b"\xff\xfe{}", 4, "expected a JSON object", id="not-utf-8"),
        pytest.param(b"x" * 10_000_000, 10_000_000, "expected at most 262144 bytes", id="10-MB"),
    ],
)
def test_source_makes_a_dead_letter_of_what_is_no_message(
    noida: NoidaDb, tmp_path: Path, value: bytes | None, size: int, reason: str
) -> None:
    ends = Ends(noida, tmp_path, noida.make_topic(max_message_bytes="20000000"))
    noida.send(ends.name, value, TRAIN)
    bad, good = (decode(raw, Limits()) for raw in take(ends.open_source(), 2))
    assert isinstance(bad, Unreadable)
    assert isinstance(good, Train)
    assert bad.reason.startswith(reason)
    assert (bad.size, ", a tombstone" in bad.origin) == (size, value is None)
    assert len(msgspec.json.encode(dead_letter(bad))) < 1_000_000
    ends.close()


def test_source_with_two_partitions_needs_record_keys(noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(noida, tmp_path, noida.make_topic(partitions=2))
    assert ends.source().list_parts() == ["0", "1"]
    noida.send(ends.name, TRAIN, partition=1)
    noida.send(ends.name, TRAIN, partition=1, key=b"harbour")
    noida.send(ends.name, TRAIN, partition=1, key=b"\xff")
    nobody, harbour, odd = (decode(raw, Limits()) for raw in take(ends.open_source(number=1), 3))
    assert isinstance(nobody, Unreadable)
    assert nobody.reason == "expected a record key: order holds per partition, and the topic has 2"
    assert isinstance(harbour, Train)
    assert (harbour.key, harbour.position.partition) == ("harbour", "1")
    assert isinstance(odd, Unreadable)
    assert odd.reason.startswith("key: expected")
    ends.close()


def test_source_ends_at_the_end_where_it_is_told_to(ends: Ends) -> None:
    ends.broker.send(ends.name, b"1", b"2")
    partition = ends.source(stop_at_end=True).build_part("flow.commands", "0", None)
    assert values(take(partition, 2)) == [b"1", b"2"]
    with pytest.raises(StopIteration):
        wait_until(partition.next_batch, "the end")
    partition.close()


def test_source_reads_committed_messages_only(ends: Ends) -> None:
    producer = Producer(ends.broker.client(transactional_id=ends.name))
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(ends.name, b"aborted")
    producer.flush(60)
    producer.abort_transaction(60)
    ends.broker.send(ends.name, b"plain")
    assert values(take(ends.open_source(), 1)) == [b"plain"]


def test_source_tells_what_expired_while_it_was_away(ends: Ends) -> None:
    ends.broker.send(ends.name, *(b"%d" % n for n in range(10)))
    partition = ends.open_source()
    take(partition, 3)
    ends.broker.expire(ends.name, before=7)
    with pytest.raises(FactoryFault, match=r"4 offsets, 3 to 6, expired before they were read"):
        ends.open_source(partition.snapshot())


def test_source_tells_what_expires_while_it_reads(ends: Ends) -> None:
    partition: Any = ends.open_source()
    own = partition._consumer.assignment()
    partition._consumer.pause(own)
    ends.broker.send(ends.name, *(b"%d" % n for n in range(10)))
    ends.broker.expire(ends.name, before=7)
    partition._consumer.resume(own)
    with pytest.raises(FactoryFault, match=r"7 offsets, 0 to 6, expired before they were read"):
        take(partition, 1)


def test_source_reads_on_past_what_expired_where_it_may(
    noida: NoidaDb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = Ends(noida, tmp_path, expired="resume")
    noida.send(ends.name, *(b"%d" % n for n in range(10)))
    noida.expire(ends.name, before=7)
    assert values(take(ends.open_source(2), 3)) == [b"7", b"8", b"9"]
    assert "5 offsets, 2 to 6, expired before they were read; reading on from 7" in caplog.text
    assert REGISTRY.get_sample_value("factory_expired_messages_total", {"topic": ends.name}) == 5
    ends.close()


def test_source_refuses_a_topic_that_was_cut(ends: Ends) -> None:
    ends.broker.send(ends.name, b"1", b"2")
    with pytest.raises(FactoryFault, match=r"ends at offset 2, but messages up to 9 were read"):
        ends.open_source(9)


def test_source_begins_at_the_earliest_retained_message(ends: Ends) -> None:
    ends.broker.send(ends.name, *(b"%d" % n for n in range(10)))
    ends.broker.expire(ends.name, before=4)
    assert values(take(ends.open_source(), 1)) == [b"4"]


def test_source_without_recovery_store_begins_where_journals_may_end(ends: Ends) -> None:
    ends.broker.send(ends.name, *(b"%d" % n for n in range(10)))
    partition = ends.open_source()
    for _ in range(3):
        take(partition, 2)
        partition.snapshot()  # what the one before told is complete now
    assert values(take(ends.open_source(), 1)) == [b"4"]


def test_source_waits_for_a_broker_that_went_away(
    own_noida: NoidaDb, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = Ends(own_noida, tmp_path)
    own_noida.send(ends.name, b"before")
    partition = ends.open_source()
    take(partition, 1)
    own_noida.stop(signal.SIGTERM)
    wait_until(lambda: list(partition.next_batch()) or "waiting for one" in caplog.text, "the outage shows in the log")
    assert connected("commands/0") == 0
    own_noida.start()
    own_noida.send(ends.name, b"after")
    assert values(take(partition, 1)) == [b"after"]
    assert connected("commands/0") == 1
    assert "a broker can be reached again" in caplog.text
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    ends.close()


def test_source_notices_a_returned_broker_without_a_message(own_noida: NoidaDb, tmp_path: Path) -> None:
    ends = Ends(own_noida, tmp_path)
    partition = ends.open_source()

    def shows(state: int) -> bool:
        assert list(partition.next_batch()) == []
        return connected("commands/0") == state

    for _ in range(2):
        own_noida.stop(signal.SIGTERM)
        wait_until(lambda: shows(0), "the outage shows")
        own_noida.start()
        wait_until(lambda: shows(1), "its end shows")
    ends.close()


def test_source_of_a_topic_made_anew_is_refused(ends: Ends) -> None:
    ends.broker.send(ends.name, b"1")
    partition = ends.open_source()
    take(partition, 1)
    partition.snapshot()
    other = Ends(ends.broker, ends.folder)
    with pytest.raises(FactoryFault, match=rf"the journals know topic {ends.name} .*, but the broker has {other.name}"):
        other.open_source()
    other.close()


@pytest.mark.slow
def test_source_of_a_topic_made_anew_under_its_name_is_refused(apache_kafka: ApacheKafka, tmp_path: Path) -> None:
    ends = Ends(apache_kafka, tmp_path)
    ends.open_source()
    before = ends.describe().identity
    apache_kafka.delete_topic(ends.name)
    apache_kafka.make_topic(name=ends.name)
    wait_until(lambda: ends.describe().identity != before, "the new topic shows")
    with pytest.raises(FactoryFault, match=rf"the journals know topic {ends.name} .*, but the broker has {ends.name}"):
        ends.open_source()
    ends.close()
