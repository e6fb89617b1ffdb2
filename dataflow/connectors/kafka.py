"""The Kafka connector: sources that read input topics, put together with the transactional sinks.

Owns where reading begins and what becomes of everything but a message: outages are waited for, expired offsets told,
refusals stop the flow. What a message says is none of its business.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bytewax.inputs import StatefulSourcePartition
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message, TopicPartition

from dataflow import metrics, shutdown
from dataflow.connectors import OUTPUTS, Connectors, RawSource
from dataflow.connectors.kafka_admin import Topic, TopicCheck
from dataflow.connectors.kafka_client import NOT_OURS, Clients, Link
from dataflow.connectors.kafka_floor import Floor
from dataflow.connectors.kafka_reader import watermarks
from dataflow.connectors.kafka_sink import KafkaTopicSink
from dataflow.connectors.pace import ALWAYS_DUE, Pace
from dataflow.disk import our_disk
from dataflow.errors import FactoryFault
from dataflow.messages import COMMANDS, DATASETS, Position, Raw

if TYPE_CHECKING:
    from dataflow.config import Config

log = logging.getLogger(__name__)

REST = 0.004
"""Seconds that all idle sources of one process rest together before they look again."""

BATCH = 100
"""Messages to fetch from the client at once."""


def kafka_connectors(config: Config) -> Connectors:
    """Reach the brokers, check the topics, and make their sources and sinks.

    Raises
    ------
    FactoryFault
        If brokers, credentials or topics cannot be used, see `TopicCheck.run`; or the volume refuses.
    """
    clients = Clients(config.kafka)
    topics = TopicCheck(clients, config.topics).run(OUTPUTS, config.journal.hours * 3600)
    floors = config.data_root / "kafka"
    with our_disk(floors, "make the folder"):
        floors.mkdir(mode=0o750, parents=True, exist_ok=True)
    pace = Pace(REST)

    def source(stream: str) -> KafkaTopicSource:
        return KafkaTopicSource(clients, topics[stream], stream, floors, pace)

    sinks = {name: KafkaTopicSink(clients, topics[name]) for name in OUTPUTS}
    return Connectors(commands=source(COMMANDS), datasets=source(DATASETS), sinks=sinks)


@dataclass(frozen=True)
class KafkaTopicSource(RawSource):
    """One input stream from one topic, message by message, until SIGTERM.

    Parameters
    ----------
    clients : Clients
        How brokers are reached.
    topic : Topic
        What is read.
    stream : str
        The stream's name in positions.
    floors : Path
        Folder of the floors, see `kafka_floor`.
    pace : Pace
        The rest while nothing comes in, shared with the other source.
    stop_at_end : bool
        End each partition at its end instead of waiting for more.
    """

    clients: Clients
    topic: Topic
    stream: str
    floors: Path
    pace: Pace = field(default_factory=Pace)
    stop_at_end: bool = False

    def list_parts(self) -> list[str]:
        """Return the topic's partitions."""
        return [str(number) for number in range(self.topic.partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Messages:
        """Read on from the snapshot; without one from the floor, without a floor from the earliest retained message."""
        return _Messages(self, int(for_part), resume_state)


class _Messages(StatefulSourcePartition[Raw, int]):
    """The messages of one partition; its snapshot is the offset of the first that was not handed on."""

    def __init__(self, source: KafkaTopicSource, number: int, snapshot: int | None) -> None:
        self._source, self._number = source, number
        self._name = f"{source.topic.name}[{number}]"
        self._floor = Floor(source.floors / f"{source.stream}-{number}.json", source.topic)
        self._link = Link(f"{source.stream}/{number}")
        self._consumer = source.clients.consumer(
            self._link,
            auto_offset_reset="error",
            enable_partition_eof=source.stop_at_end,
            queued_max_messages_kbytes=16_384,
        )
        self._ready: deque[Message] = deque()
        self._ended = False
        source.pace.join()
        self._read_from(self._floor.offset if snapshot is None else snapshot)
        self._floor.start(self._next)

    def next_batch(self) -> list[Raw]:
        """Hand on one message: after SIGTERM there must be no others on their way."""
        if shutdown.requested():
            raise StopIteration
        if not self._ready:
            self._ready.extend(self._consumer.consume(BATCH, timeout=0))
        while self._ready:
            message = self._ready.popleft()
            if error := message.error():
                self._refused(error)
                continue
            self._source.pace.busy()
            self._link.connected()
            self._next = _offset(message) + 1
            return [self._raw(message)]
        if self._ended:
            raise StopIteration
        self._source.pace.idle()
        return []

    def next_awake(self) -> datetime:
        """Look whenever asked: the pace sees to the rest."""
        return ALWAYS_DUE

    def snapshot(self) -> int:
        """Return the offset to read on from; what the snapshot before it told is in the journals now."""
        self._floor.raise_to(self._next)
        return self._next

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _raw(self, message: Message) -> Raw:
        topic, value, key = self._source.topic, message.value(), message.key()
        kind, milliseconds = message.timestamp()
        origin = f"{self._name}@{_offset(message)}"
        return Raw(
            position=Position(self._source.stream, str(self._number), _offset(message)),
            value=value or b"",
            record_key=None if key is None else key.decode("utf-8", "backslashreplace"),
            origin=f"{origin}, a tombstone" if value is None else origin,
            time=None if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds,
            partitions=topic.partitions,
        )

    def _refused(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended = True
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._read_from(self._next)
        elif error.code() not in NOT_OURS:
            raise FactoryFault(f"{self._name}: cannot be read on from offset {self._next}: {error.str()}")

    def _read_from(self, wanted: int | None) -> None:
        """Read from an offset, if the partition still has it."""
        topic, patience = self._source.topic.name, self._source.clients.settings.connect_timeout
        low, high = watermarks(self._consumer, self._link, topic, self._number, patience)
        self._next = low if wanted is None else wanted
        if self._next > high:
            raise FactoryFault(
                f"{self._name} ends at offset {high}, but messages up to {self._next} were read: it was cut or made "
                "anew. Begin with an empty data root and recovery store, or give the topic its messages back"
            )
        if self._next < low:
            self._expired(low)
        self._ready.clear()
        self._consumer.assign([TopicPartition(topic, self._number, self._next)])

    def _expired(self, low: int) -> None:
        lost = low - self._next
        story = f"{self._name}: {lost} offsets, {self._next} to {low - 1}, expired before they were read"
        if self._source.clients.settings.expired == "stop":
            raise FactoryFault(
                f'{story}. What they said is lost. To read on from {low}, set expired = "resume" in [kafka]; '
                "to lose nothing next time, give the topic a longer retention"
            )
        log.error("%s; reading on from %d", story, low)
        metrics.expired_messages(self._source.topic.name, lost)
        self._next = low


def _offset(message: Message) -> int:
    """Return the offset, which only messages that were never sent lack."""
    offset = message.offset()
    assert offset is not None
    return offset
