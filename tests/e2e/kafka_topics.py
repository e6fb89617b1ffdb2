"""The factory's neighbours at a broker: controllers, collectors and readers with clients of their own."""

from __future__ import annotations

import time
import zlib

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from dataflow.messages import Position, Raw
from tests.brokers import DEADLINE, Broker
from tests.e2e.neighbours import INPUTS, OUTPUTS

PATIENCE = 5.0
"""Seconds without a message after which topics are read from their start again."""


class KafkaTopics:
    """The topics of one broker; readers see what is committed.

    Parameters
    ----------
    broker : Broker
        Running, without these topics.
    partitions : int
        Of every topic; with several, messages carry their line's key.
    """

    def __init__(self, broker: Broker, partitions: int = 1) -> None:
        self._broker, self._partitions = broker, partitions
        self._sent: dict[Position, Raw] = {}
        for topic in (*INPUTS.values(), *OUTPUTS.values()):
            broker.make_topic(partitions, topic)
        self._producer = Producer(broker.client(enable_idempotence=True))
        ends = [(topic, number) for topic in OUTPUTS.values() for number in range(partitions)]
        self._read: dict[tuple[str, int], list[bytes]] = {end: [] for end in ends}
        self._fresh: dict[str, list[bytes]] = {topic: [] for topic in OUTPUTS.values()}
        self._reader = Consumer(broker.client(group_id="reader", enable_auto_commit=False, auto_offset_reset="error"))
        self._beyond = dict.fromkeys(ends, -1)
        self._begin()

    def send(self, stream: str, message: bytes) -> None:
        """Append a message to an input, and wait until the broker has it, however long it is away."""
        key = message.split(b'"key":"')[1].split(b'"')[0] if self._partitions > 1 else None

        def note(error: KafkaError | None, sent: Message) -> None:
            assert error is None, error
            offset, partition = sent.offset(), sent.partition()
            assert offset is not None
            self._sent[Position(stream, str(partition), offset)] = Raw(
                Position(stream, str(partition), offset),
                message,
                key.decode() if key else None,
                f"{INPUTS[stream]}[{partition}]@{offset}",
                sent.timestamp()[1],
                self._partitions,
            )

        number = zlib.crc32(key or b"") % self._partitions
        self._producer.produce(INPUTS[stream], message, key, number, on_delivery=note)
        assert self._producer.flush(DEADLINE) == 0

    def poll(self, output: str) -> list[bytes]:
        """Return the messages that are new."""
        messages = self._reader.consume(500, timeout=0)
        if messages:
            self._heard = time.monotonic()
        elif time.monotonic() > self._heard + PATIENCE:
            self._begin()
        for message in messages:
            topic, partition, value = message.topic(), message.partition(), message.value()
            offset = message.offset()
            assert message.error() is None, message.error()
            assert topic is not None
            assert partition is not None
            assert value is not None
            assert offset is not None
            if offset <= self._beyond[topic, partition]:
                continue
            self._beyond[topic, partition] = offset
            self._read[topic, partition].append(value)
            self._fresh[topic].append(value)
        fresh, self._fresh[OUTPUTS[output]] = self._fresh[OUTPUTS[output]], []
        return fresh

    def _begin(self) -> None:
        """Read from the start, past what has been read: a reader that waits at a message's offset is not always told.

        noida-db hides a committed message from it where an aborted transaction follows; one that comes from before the
        message sees it. Apache Kafka tells both.
        """
        self._reader.assign([TopicPartition(*end, 0) for end in self._beyond])
        self._heard = time.monotonic()

    def check(self) -> None:
        """Fail if a partition is not, message by message, what was polled while it grew."""
        for (topic, number), read in self._read.items():
            assert self._broker.values(topic, number) == read

    def sent(self, position: Position) -> Raw:
        """Return the message that stands at a position."""
        return self._sent[position]

    def close(self) -> None:
        """Let go of the broker."""
        self._reader.close()
