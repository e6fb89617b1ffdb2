"""The contract of connectors, on both brokers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow.connectors.kafka import KafkaTopicSource
from dataflow.connectors.kafka_sink import KafkaTopicSink
from tests.brokers import ApacheKafka, Broker, NoidaDb
from tests.dataflow.connector_contract import SinkContract, SinkPartition, SourceContract, SourcePartition
from tests.dataflow.kafka_ends import Ends


@pytest.fixture
def broker(noida: NoidaDb) -> Broker:
    return noida


class TestKafkaSource(SourceContract):
    @pytest.fixture(autouse=True)
    def topic(self, broker: Broker, tmp_path: Path) -> Iterator[None]:
        self.ends = Ends(broker, tmp_path)
        yield
        self.ends.close()

    def source(self) -> KafkaTopicSource:
        return self.ends.source()

    def open(self, snapshot: object = None) -> SourcePartition:
        return self.ends.open_source(snapshot)

    def send(self, *messages: bytes) -> None:
        self.ends.broker.send(self.ends.name, *messages)


class TestKafkaSink(SinkContract):
    @pytest.fixture(autouse=True)
    def topic(self, broker: Broker, tmp_path: Path) -> Iterator[None]:
        self.ends = Ends(broker, tmp_path)
        yield
        self.ends.close()

    def sink(self) -> KafkaTopicSink:
        return self.ends.sink()

    def open(self, snapshot: object = None) -> SinkPartition:
        self.newest = self.ends.open_sink(snapshot)
        return self.newest

    def written(self) -> list[bytes]:
        self.newest.snapshot()  # an older one is fenced, and what it did not get through is sent again
        return [value or b"" for value in self.ends.broker.values(self.ends.name)]


@pytest.mark.slow
class TestApacheKafkaSource(TestKafkaSource):
    @pytest.fixture
    def broker(self, apache_kafka: ApacheKafka) -> Broker:
        return apache_kafka


@pytest.mark.slow
class TestApacheKafkaSink(TestKafkaSink):
    @pytest.fixture
    def broker(self, apache_kafka: ApacheKafka) -> Broker:
        return apache_kafka
