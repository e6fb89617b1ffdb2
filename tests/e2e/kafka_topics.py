"""The factory's neighbours at a broker: controllers, collectors and readers with clients of their own."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from dataflow.messages import Position, Raw
from tests.brokers import DEADLINE, Broker
from tests.e2e.neighbours import INPUTS, OUTPUTS


class KafkaTopics:
    """The topics of one broker, one partition each; readers see what is committed.

    Parameters
    ----------
    broker : Broker
        Running, without these topics.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._sent: dict[tuple[str, int], Raw] = {}
        self._read: dict[str, list[bytes]] = {topic: [] for topic in OUTPUTS.values()}
        self._polled = dict.fromkeys(OUTPUTS.values(), 0)
        for topic in (*INPUTS.values(), *OUTPUTS.values()):
            broker.make_topic(name=topic)
        self._producer = Producer(broker.client(enable_idempotence=True))
        self._reader = Consumer(broker.client(group_id="reader", enable_auto_commit=False, auto_offset_reset="error"))
        self._reader.assign([TopicPartition(topic, 0, 0) for topic in OUTPUTS.values()])

    def send(self, stream: str, message: bytes) -> None:
        """Append a message to an input, and wait until the broker has it, however long it is away."""

        def note(error: KafkaError | None, sent: Message) -> None:
            assert error is None, error
            offset = sent.offset()
            assert offset is not None
            origin = f"{INPUTS[stream]}[0]@{offset}"
            position = Position(stream, "0", offset)
            self._sent[stream, offset] = Raw(position, message, origin=origin, time=sent.timestamp()[1])

        self._producer.produce(INPUTS[stream], message, partition=0, on_delivery=note)
        assert self._producer.flush(DEADLINE) == 0

    def poll(self, output: str) -> list[bytes]:
        """Return the messages that are new."""
        for message in self._reader.consume(500, timeout=0):
            assert message.error() is None, message.error()
            self._read[message.topic() or ""].append(message.value() or b"")
        topic = OUTPUTS[output]
        fresh = self._read[topic][self._polled[topic] :]
        self._polled[topic] += len(fresh)
        return fresh

    def check(self) -> None:
        """Fail if a topic is not, message by message, what was polled while it grew."""
        for topic, read in self._read.items():
            assert self._broker.values(topic) == read

    def sent(self, position: Position) -> Raw:
        """Return the message that stands at a position."""
        return self._sent[position.stream, position.offset]

    def close(self) -> None:
        """Let go of the broker."""
        self._reader.close()
