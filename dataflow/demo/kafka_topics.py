"""Topics at a Kafka broker as the factory's neighbours use them: the twin of the topic files in `topics`.

Uses the connector's clients, so brokers are reached, and secured by `FACTORY_KAFKA_*`, as the factory's own are. Must
not know what the messages mean.
"""

from __future__ import annotations

import json
import os
from functools import cached_property

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Record

from dataflow.connectors.kafka_admin import Topic as Description
from dataflow.connectors.kafka_admin import TopicCheck
from dataflow.connectors.kafka_client import Clients, Link
from dataflow.connectors.kafka_reader import TopicReader, watermarks
from dataflow.demo.topics import NAMES, Message, Topic
from dataflow.errors import FactoryFault
from dataflow.kafka_settings import KafkaSettings, with_environment

SETTINGS = KafkaSettings(
    create_topics=True,
    connect_timeout=60.0,
    client={"fetch.wait.max.ms": 10},  # a broker serves a connection's requests in turn: a longer one holds up the next
)
LINE = b"default"
"""Record key of every message: the model line that a message without a key of its own belongs to."""


class KafkaTopics:
    """The topics at one broker, by their names.

    Parameters
    ----------
    bootstrap : str
        `HOST:PORT`.

    Raises
    ------
    FactoryFault
        If the broker does not answer, or lets us not read the topics or make those that are missing.
    """

    def __init__(self, bootstrap: str) -> None:
        settings = with_environment(SETTINGS, os.environ | {"FACTORY_BROKERS": bootstrap})
        self._clients = Clients(settings)
        self._descriptions = TopicCheck(self._clients, {name: name for name in NAMES}).run((), 0)

    def __call__(self, name: str) -> KafkaTopic:
        """Return the topic of this name."""
        return KafkaTopic(self._clients, self._descriptions[name])


class KafkaTopic(Topic):
    """One topic at a broker.

    Parameters
    ----------
    clients : Clients
        How it is reached.
    description : Description
        The topic, which exists.
    """

    def __init__(self, clients: Clients, description: Description) -> None:
        self._clients, self._name = clients, description.name
        self._patience = clients.settings.connect_timeout
        self._ends = dict.fromkeys(range(description.partitions), 0)

    def is_empty(self) -> bool:
        """Whether no partition holds a message.

        Raises
        ------
        FactoryFault
            If the broker does not tell.
        """
        link = Link(f"{self._name}/ends")
        consumer = self._clients.consumer(link)
        ends = [watermarks(consumer, link, self._name, number, self._patience) for number in self._ends]
        consumer.close()
        return all(low == high for low, high in ends)

    def send(self, message: Message) -> None:
        """Append one message, and wait until it is there.

        Raises
        ------
        FactoryFault
            If the broker does not take it.
        """
        refusals: list[KafkaError] = []

        def note(error: KafkaError | None, _: Record) -> None:
            if error:
                refusals.append(error)

        self._producer.produce(self._name, json.dumps(message).encode(), LINE, on_delivery=note)
        if self._producer.flush(self._patience) or refusals:
            raise FactoryFault(f"{self._name} takes no message: {refusals[0].str() if refusals else 'no answer'}")

    def new(self) -> list[Message]:
        """Return the messages that came since the last call, up to the newest.

        Raises
        ------
        FactoryFault
            If the broker does not hand them out.
        """
        found: list[Message] = []

        def take(record: Record) -> None:
            found.append(json.loads(record.value() or b""))

        for number, end in self._ends.items():
            self._ends[number] = self._reader.read(number, end, take)
        return found

    @cached_property
    def _producer(self) -> Producer:
        return self._clients.producer(Link(f"{self._name}/producer"), enable_idempotence=True)

    @cached_property
    def _reader(self) -> TopicReader:
        return TopicReader(self._clients, self._name)
