"""The transactional sink: every output once in its topic, in order, or the flow stops with the reason.

One sink partition and one transactional id per partition of the topic. A partition begins by initialising its
transactions, which ends those of a dying predecessor and fences it, and only then reads back what the topic has, since
nothing can be added behind its back any more. (Where partitions were added, owners may have moved: processes that knew
fewer must have ended.) See "Replay" in the design. It looks into no output.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property, partial

from bytewax.outputs import StatefulSinkPartition
from confluent_kafka import Message

from dataflow.connectors import Line, LineSink
from dataflow.connectors.kafka_admin import Topic
from dataflow.connectors.kafka_client import Clients
from dataflow.connectors.kafka_reader import TopicReader
from dataflow.connectors.kafka_sender import SOURCE_ID, Sender
from dataflow.connectors.marks import Marks, Rank
from dataflow.errors import FactoryFault
from dataflow.messages import split_source_id

Snapshot = tuple[int, int, dict[str, Rank], str]
"""Partitions of the topic, the offset up to which the marks speak, the marks, the topic's identity."""


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

    @cached_property
    def written_anywhere(self) -> dict[str, Rank]:
        """The marks of the whole topic, read once for all its partitions, of which some may not be fenced yet."""
        marks, reader = Marks(), TopicReader(self.clients, self.topic.name)
        for number in range(self.topic.partitions):
            reader.read(number, 0, partial(_catch_up, marks))
        reader.close()
        return marks.snapshot()


class _Lines(StatefulSinkPartition[Line, Snapshot]):
    """The end of one partition; its snapshot is its offset, and the marks there."""

    def __init__(self, sink: KafkaTopicSink, number: int, snapshot: Snapshot | None) -> None:
        self._partitions, self._identity = sink.topic.partitions, sink.topic.identity
        self._sender = Sender(sink.clients, sink.topic, number)
        partitions, offset, ranks, identity = snapshot or (0, 0, {}, self._identity)
        if identity != self._identity:
            raise FactoryFault(
                f"{sink.topic.name}: the recovery store knows it as {identity}, the broker as {self._identity}: it was "
                "made anew or moved. Delete the recovery store, and what the journals retain and the topic does not "
                "have is written again"
            )
        if partitions != self._partitions:  # a lost store; or owners have moved, and may have been written anywhere
            offset, ranks = 0, sink.written_anywhere
        self._marks = Marks(ranks)
        reader = TopicReader(sink.clients, sink.topic.name)
        self._sender.start(reader.read(number, offset, partial(_catch_up, self._marks)))
        reader.close()

    def write_batch(self, values: list[Line]) -> None:
        """Send the lines that are not in the topic yet, in order."""
        self._sender.send(self._marks.fresh(values))

    def snapshot(self) -> Snapshot:
        """Wait until everything is in the topic; return where it ends."""
        return self._partitions, self._sender.flush(), self._marks.snapshot(), self._identity

    def close(self) -> None:
        """Send what is left."""
        self._sender.close()


def _catch_up(marks: Marks, message: Message) -> None:
    """Move marks past a message that stands in the topic; what is not ours says nothing."""
    for header, content in message.headers() or ():
        if header == SOURCE_ID:
            marks.advance(content.decode())
