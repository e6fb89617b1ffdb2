"""Dead letters at a broker, for `dataflow.replay`."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from dataflow.config import Config
from dataflow.connectors.kafka_admin import TopicCheck
from dataflow.connectors.kafka_client import Clients, Link, kafka_error
from dataflow.connectors.kafka_reader import TopicReader, watermarks
from dataflow.errors import FactoryFault
from dataflow.messages import COMMANDS, DATASETS, DeadLetter
from dataflow.replay import Original, decode_letter

REPLAY_OF = "replay-of"
"""The header of a message that was sent again: the source id of its dead letter."""


class KafkaMailbox:
    """The topics of a factory.

    Parameters
    ----------
    config : Config
        The factory's configuration.

    Raises
    ------
    FactoryFault
        If brokers or topics cannot be used.
    """

    def __init__(self, config: Config) -> None:
        names = {name: config.topics[name] for name in (COMMANDS, DATASETS, "dead_letters")}
        self._settings, self._clients = config.kafka, Clients(config.kafka)
        self._topics = TopicCheck(self._clients, names).run((), 0)
        self._link = Link("replay")
        self._consumer = self._clients.consumer(self._link, auto_offset_reset="error")
        self._producer = self._clients.producer(self._link, enable_idempotence=True)

    def letters(self) -> list[DeadLetter]:
        """Return all committed dead letters, partition by partition."""
        topic, found = self._topics["dead_letters"], list[DeadLetter]()

        def take(message: Message) -> None:
            where = f"{topic.name}[{message.partition()}]@{message.offset()}"
            found.append(decode_letter(message.value() or b"", where))

        reader = TopicReader(self._clients, topic.name)
        for number in range(topic.partitions):
            reader.read(number, 0, take)
        reader.close()
        return found

    def original(self, letter: DeadLetter) -> Original | None:
        """Return the message that stands at the letter's offset, if it is retained."""
        topic, number = self._topics[letter.stream].name, int(letter.partition)
        low, high = watermarks(self._consumer, self._link, topic, number, self._settings.connect_timeout)
        if not low <= letter.offset < high:
            return None
        self._consumer.assign([TopicPartition(topic, number, letter.offset)])
        message = self._consumer.poll(self._settings.connect_timeout)
        if message is None or message.error() or message.offset() != letter.offset:
            return None
        return Original(message.value() or b"", message.key())

    def send(self, letter: DeadLetter, original: Original) -> None:
        """Append a message to the partition that the letter's message came from, and wait until it is there."""
        topic, refusals = self._topics[letter.stream].name, list[KafkaError]()

        def note(error: KafkaError | None, _: Message) -> None:
            if error:
                refusals.append(error)

        try:
            self._producer.produce(
                topic,
                original.value,
                original.record_key,
                int(letter.partition),
                on_delivery=note,
                headers=[(REPLAY_OF, letter.source_id.encode())],
            )
        except KafkaException as error:
            refusals.append(kafka_error(error))
        if self._producer.flush(self._settings.connect_timeout) or refusals:
            why = refusals[0].str() if refusals else self._link.explanation()
            raise FactoryFault(f"{letter.source_id}: {topic} does not take it: {why}")

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()
