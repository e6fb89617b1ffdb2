"""Where messages come from and where outputs go: the shape that every connector has, and the choice between them.

A connector is two sources of `Raw` messages, one per input stream, and one sink for each output topic. Sources keep
their offsets and sinks their marks in Bytewax snapshots; neither looks into a message. `files` is embedded (append-only
JSON lines on the volume), `kafka` is the deployment form; the flow cannot tell them apart.

A sink writes lines, `(source_id, JSON without a newline)`, every one once and in the order in which they came, however
often they are handed in (see `marks`). Bytewax keeps the routing key of a keyed item to itself, so the flow hands in
`(source_id, (source_id, JSON))`; a sink with several partitions routes by the owner in the source id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import FixedPartitionedSink

from dataflow.messages import Raw

if TYPE_CHECKING:
    from dataflow.config import Config

Line = tuple[str, bytes]
"""One output as a sink writes it: its source id, its JSON without a newline."""

RawSource = FixedPartitionedSource[Raw, Any]
LineSink = FixedPartitionedSink[Line, Any]

OUTPUTS = ("reports", "models", "acks", "dead_letters")
"""The four outputs, by the names that `messages.topic_of` gives."""


@dataclass(frozen=True)
class Connectors:
    """The flow's ends: everything it reads and writes besides the volume.

    Parameters
    ----------
    commands, datasets : RawSource
        One source per input stream.
    sinks : Mapping of str to LineSink
        One sink per name in `OUTPUTS`.
    """

    commands: RawSource
    datasets: RawSource
    sinks: Mapping[str, LineSink]


def open_connectors(config: Config) -> Connectors:
    """Make the configured connector.

    Raises
    ------
    FactoryFault
        If it cannot be used: another factory holds the root, the volume refuses, the broker does not answer.
    """
    if config.connector == "kafka":
        from dataflow.connectors.kafka import kafka_connectors  # confluent-kafka is loaded only where a broker is used

        return kafka_connectors(config)
    from dataflow.connectors.files import file_connectors

    return file_connectors(config)
