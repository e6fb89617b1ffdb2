"""The transactional sink: every output once in its topic, in order, or the flow stops with the reason.

One sink partition and one transactional id per partition of the topic. A partition begins by initialising its
transactions, which ends those of a dying predecessor and fences it, and only then reads back what the topic has, since
nothing can be added behind its back any more. See "Replay" in the design. It looks into no output.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass

from bytewax.outputs import StatefulSinkPartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflow.connectors import Line, LineSink
from dataflow.connectors.kafka_admin import Topic
from dataflow.connectors.kafka_client import NOT_OURS, SLICE, Clients, Link, kafka_error
from dataflow.connectors.kafka_sender import SOURCE_ID, Sender
from dataflow.connectors.marks import Marks, Rank
from dataflow.errors import FactoryFault
from dataflow.messages import split_source_id

BATCH = 500
"""Messages to fetch from the client at once; it would wait for as many, so the first is asked for alone."""

Snapshot = tuple[int, int, dict[str, Rank]]
"""Partitions of the topic, the offset up to which the marks speak, the marks."""


@dataclass(frozen=True)
class KafkaTopicSink(LineSink):
    """One output into one topic, of which each line appears once.

    Parameters
    ----------
    clients : Clients
        How brokers are reached.
    topic : Topic
        What is written.
    """

    clients: Clients
    topic: Topic

    def list_parts(self) -> list[str]:
        """Return the topic's partitions; Bytewax numbers them in the order of their names."""
        return [f"{number:06d}" for number in range(self.topic.partitions)]

    def part_fn(self, item_key: str) -> int:
        """Keep an owner's outputs together, where librdkafka's `consistent` partitioner puts its key."""
        return zlib.crc32(split_source_id(item_key)[0].encode())

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> _Lines:
        """Fence a predecessor; bring the snapshot's marks up to date with the topic, or rebuild them from all of it."""
        return _Lines(self, int(for_part), resume_state)


class _Lines(StatefulSinkPartition[Line, Snapshot]):
    """The end of one partition; its snapshot is its offset, and the marks there."""

    def __init__(self, sink: KafkaTopicSink, number: int, snapshot: Snapshot | None) -> None:
        self._topic = sink.topic
        self._sender = Sender(sink.clients, sink.topic, number)
        partitions, offset, ranks = snapshot or (0, 0, {})
        self._marks = Marks(ranks)
        catch_up = _CatchUp(sink, self._marks)
        if partitions == sink.topic.partitions:
            self._sender.start(catch_up.read(number, offset))
        else:  # a lost store; or owners have moved between partitions, and may have been written in any of them
            ends = [catch_up.read(other, 0) for other in range(sink.topic.partitions)]
            self._sender.start(ends[number])
        catch_up.close()

    def write_batch(self, values: list[Line]) -> None:
        """Send the lines that are not in the topic yet, in order."""
        self._sender.send(self._marks.fresh(values))

    def snapshot(self) -> Snapshot:
        """Wait until everything is in the topic; return where it ends."""
        return self._topic.partitions, self._sender.flush(), self._marks.snapshot()

    def close(self) -> None:
        """Send what is left."""
        self._sender.close()


class _CatchUp:
    """Reads back what was written after a snapshot, and moves the marks past it.

    Parameters
    ----------
    sink : KafkaTopicSink
        Whose topic.
    marks : Marks
        What is moved.
    """

    def __init__(self, sink: KafkaTopicSink, marks: Marks) -> None:
        self._topic, self._marks = sink.topic.name, marks
        self._patience = sink.clients.settings.outage_timeout
        self._link = Link(f"{sink.topic.name}/read-back")
        self._consumer: Consumer = sink.clients.consumer(
            self._link, auto_offset_reset="earliest", enable_partition_eof=True
        )

    def read(self, number: int, offset: int) -> int:
        """Read a partition from an offset to its end, and return the end.

        Raises
        ------
        FactoryFault
            If nothing comes for as long as a connection may take.
        """
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), self._patience)
        except KafkaException as error:
            raise self._stuck(number, offset, kafka_error(error).str()) from error
        position = offset if low <= offset <= high else low
        self._consumer.assign([TopicPartition(self._topic, number, position)])
        deadline = time.monotonic() + self._patience
        while position < high:
            messages = self._consumer.consume(1, timeout=SLICE) + self._consumer.consume(BATCH, timeout=0)
            for message in messages:
                position = self._take(message, number, position)
            if messages:
                deadline = time.monotonic() + self._patience
            elif time.monotonic() > deadline:
                raise self._stuck(number, position, self._link.explanation())
        return high

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _take(self, message: Message, number: int, position: int) -> int:
        """Move the marks past a message; return the offset to go on from."""
        error, offset = message.error(), message.offset()
        if error and error.code() in NOT_OURS:
            return position
        if offset is None or (error and error.code() != KafkaError._PARTITION_EOF):
            raise self._stuck(number, position, error.str() if error else "no offset")
        if error:
            return offset
        for header, source_id in message.headers() or ():
            if header == SOURCE_ID:
                self._marks.advance(source_id.decode())
        return offset + 1

    def _stuck(self, number: int, offset: int, why: str) -> FactoryFault:
        return FactoryFault(f"{self._topic}[{number}]: cannot be read back from offset {offset}: {why}")
