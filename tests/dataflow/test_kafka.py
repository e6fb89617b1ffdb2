"""The Kafka connector on a test broker: the common contract, and what only brokers do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.connectors.kafka import KafkaTopicSource
from dataflow.connectors.kafka_admin import Topic, TopicCheck
from dataflow.connectors.kafka_client import Clients
from dataflow.connectors.kafka_sink import KafkaTopicSink
from dataflow.connectors.pace import Pace
from dataflow.errors import FactoryFault
from dataflow.kafka_settings import KafkaSettings
from tests.brokers import DEADLINE, NoidaDb
from tests.dataflow.connector_contract import SinkContract, SinkPartition, SourceContract, SourcePartition, line, take


def settings_of(broker: NoidaDb, **changes: object) -> KafkaSettings:
    return KafkaSettings(brokers=(broker.address,), connect_timeout=DEADLINE, **changes)  # type: ignore[arg-type]


def described(clients: Clients, name: str) -> Topic:
    return TopicCheck(clients, {"it": name}).run(["it"], keep_seconds=0)["it"]


class TestKafkaSource(SourceContract):
    @pytest.fixture(autouse=True)
    def topic(self, noida: NoidaDb, tmp_path: Path) -> Iterator[None]:
        self.broker, self.folder = noida, tmp_path
        self.clients = Clients(settings_of(noida))
        self.name = noida.make_topic()
        self.opened: list[SourcePartition] = []
        yield
        for partition in self.opened:
            partition.close()

    def source(self) -> KafkaTopicSource:
        return KafkaTopicSource(self.clients, described(self.clients, self.name), "commands", self.folder, Pace(0.001))

    def open(self, snapshot: object = None) -> SourcePartition:
        self.opened.append(super().open(snapshot))
        return self.opened[-1]

    def send(self, *messages: bytes) -> None:
        self.broker.send(self.name, *messages)


class TestKafkaSink(SinkContract):
    @pytest.fixture(autouse=True)
    def topic(self, noida: NoidaDb) -> Iterator[None]:
        self.broker = noida
        self.clients = Clients(settings_of(noida))
        self.name = noida.make_topic()
        self.opened: list[SinkPartition] = []
        yield
        for partition in self.opened:
            partition.close()

    def sink(self) -> KafkaTopicSink:
        return KafkaTopicSink(self.clients, described(self.clients, self.name))

    def open(self, snapshot: object = None) -> SinkPartition:
        self.opened.append(super().open(snapshot))
        return self.opened[-1]

    def written(self) -> list[bytes]:
        self.opened[-1].snapshot()
        return [value or b"" for value in self.broker.values(self.name)]
