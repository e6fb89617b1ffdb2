"""Reading what a topic has: from an offset to its end, committed messages only.

Knows when the end is reached and when to give up; what a message means is its caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflow.connectors.kafka_client import NOT_OURS, SLICE, Clients, Link, kafka_error
from dataflow.errors import FactoryFault

PATIENCE_MS = 10
"""How long a broker may hold a fetch back at the end of a partition: what is asked next waits behind it."""

BATCH = 500
"""Messages to fetch from the client at once; it would wait for as many, so the first is asked for alone."""


def watermarks(consumer: Consumer, link: Link, topic: str, number: int, seconds: float) -> tuple[int, int]:
    """Return the first offset that a partition has, and the one after its last.

    Raises
    ------
    FactoryFault
        If no broker tells within so many seconds.
    """
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, number), seconds)
    except KafkaException as error:
        reason = link.reason or kafka_error(error)
        raise FactoryFault(f"{topic}[{number}]: its offsets cannot be had: {reason.str()}") from error


class TopicReader:
    """Reads partitions of one topic, each to the end that it has when it is asked for.

    Parameters
    ----------
    clients : Clients
        How brokers are reached.
    topic : str
        Name of the topic.
    """

    def __init__(self, clients: Clients, topic: str) -> None:
        self._topic, self._settings, self._link = topic, clients.settings, Link(f"{topic}/reader")
        self._consumer = clients.consumer(
            self._link, auto_offset_reset="earliest", enable_partition_eof=True, fetch_wait_max_ms=PATIENCE_MS
        )

    def read(self, number: int, offset: int, take: Callable[[Message], None]) -> int:
        """Hand out the messages of a partition from an offset on, and return the offset to go on from.

        Parameters
        ----------
        number : int
            The partition.
        offset : int
            Where to begin; at the earliest message that is retained if this one is not.
        take : callable
            Gets every message.

        Raises
        ------
        FactoryFault
            If the partition ends before the offset, the broker refuses, or nothing comes for `outage_timeout`.
        """
        low, high = watermarks(self._consumer, self._link, self._topic, number, self._settings.connect_timeout)
        if offset > high:
            raise FactoryFault(
                f"{self._topic}[{number}] ends at offset {high}, but was read or written up to {offset}: it was cut or "
                "made anew. Give it its messages back; or delete the recovery store, and what the journals retain and "
                "the topic does not have is written again"
            )
        position = max(offset, low)
        self._consumer.assign([TopicPartition(self._topic, number, position)])
        deadline = time.monotonic() + self._settings.outage_timeout
        while position < high:
            messages = self._consumer.consume(1, timeout=SLICE) + self._consumer.consume(BATCH, timeout=0)
            for message in messages:
                position = self._step(message, number, position, take)
            if messages:
                deadline = time.monotonic() + self._settings.outage_timeout
            elif time.monotonic() > deadline:
                raise self._stuck(number, position, self._link.explanation())
        self._consumer.unassign()  # or the client goes on fetching in the background
        return position  # beyond that end, if more came meanwhile

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()
        self._link.end()

    def _step(self, message: Message, number: int, position: int, take: Callable[[Message], None]) -> int:
        """Return the offset to go on from."""
        error, offset = message.error(), message.offset()
        if (error and error.code() in NOT_OURS) or message.partition() != number:
            return position
        if offset is None or (error and error.code() != KafkaError._PARTITION_EOF):
            raise self._stuck(number, position, error.str() if error else "a message without an offset")
        if error:
            return offset
        take(message)
        return offset + 1

    def _stuck(self, number: int, offset: int, why: str) -> FactoryFault:
        return FactoryFault(f"{self._topic}[{number}]: cannot be read from offset {offset}: {why}")
