"""Sources and sinks of one topic on a test broker, made as the flow makes them and closed after the test."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataflow.connectors.kafka import KafkaTopicSource
from dataflow.connectors.kafka_admin import Topic, TopicCheck
from dataflow.connectors.kafka_client import Clients
from dataflow.connectors.kafka_sink import KafkaTopicSink
from dataflow.connectors.pace import Pace
from dataflow.kafka_settings import KafkaSettings
from tests.brokers import DEADLINE, Broker
from tests.dataflow.connector_contract import SinkPartition, SourcePartition


def settings_of(broker: Broker, **changes: Any) -> KafkaSettings:
    """Return settings that reach the broker, and wait for it as long as a loaded machine may need."""
    return KafkaSettings(**{"brokers": (broker.address,), "connect_timeout": DEADLINE, **changes})


def wait_until(done: Callable[[], object], what: str) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Ends:
    """The ends of one topic.

    Parameters
    ----------
    broker : Broker
        Where the topic is.
    folder : Path
        Where floors are kept.
    name : str, optional
        The topic; a new one by default.
    **changes
        Settings that differ.
    """

    def __init__(self, broker: Broker, folder: Path, name: str | None = None, **changes: Any) -> None:
        self.broker, self.folder = broker, folder
        self.name = name or broker.make_topic()
        self.clients = Clients(settings_of(broker, **changes), {})
        self._opened: list[SourcePartition | SinkPartition] = []

    def describe(self) -> Topic:
        """Return the topic as a start of the factory sees it."""
        return TopicCheck(self.clients, {"it": self.name}).run(["it"], keep_seconds=0)["it"]

    def source(self, **options: bool) -> KafkaTopicSource:
        """Return a source of the topic."""
        return KafkaTopicSource(self.clients, self.describe(), "commands", self.folder, Pace(0.001), **options)

    def sink(self) -> KafkaTopicSink:
        """Return a sink into the topic."""
        return KafkaTopicSink(self.clients, self.describe())

    def open_source(self, snapshot: Any = None, number: int = 0) -> SourcePartition:
        """Return a partition of the source, built as Bytewax does."""
        source = self.source()
        partition = source.build_part("flow.commands", source.list_parts()[number], snapshot)
        self._opened.append(partition)
        return partition

    def open_sink(self, snapshot: Any = None, number: int = 0) -> SinkPartition:
        """Return a partition of the sink, built as Bytewax does."""
        sink = self.sink()
        partition = sink.build_part("flow.reports", sink.list_parts()[number], snapshot)
        self._opened.append(partition)
        return partition

    def close(self) -> None:
        """Close all partitions that were opened."""
        for partition in self._opened:
            partition.close()
