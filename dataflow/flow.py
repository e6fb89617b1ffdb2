"""The dataflow: how the pieces are wired, and nothing else. `python -m bytewax.run dataflow.flow:flow` runs it.

The names of the flow and of its steps are frozen: Bytewax finds a step's state by them.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from operator import attrgetter, itemgetter

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from msgspec import Raw
from msgspec.structs import astuple

from dataflow import health, logs, metrics, shutdown
from dataflow.config import Config, load_config
from dataflow.connectors import OUTPUTS, Connectors, Line, open_connectors
from dataflow.decoding import decode
from dataflow.disk import check_volume
from dataflow.errors import ConfigError
from dataflow.journal import Emission
from dataflow.lines import Lines
from dataflow.messages import Message, Unreadable, dead_letter, encode, topic_of
from spst import PatternError, load_predicates

FLOW_ID = "model_factory"


def build(config: Config, connectors: Connectors) -> Dataflow:
    """Wire the factory to its sources and sinks.

    Parameters
    ----------
    config : Config
        The deployment's configuration.
    connectors : Connectors
        What it reads from and writes to.
    """
    flow = Dataflow(FLOW_ID)
    commands = op.input("commands", flow, connectors.commands)
    datasets = op.input("datasets", flow, connectors.datasets)
    decoded = op.map("decode", op.merge("inputs", commands, datasets), partial(decode, limits=config.limits))
    messages: Stream[Message] = op.filter_map("readable", decoded, _message)
    handled = op.stateful_map("factory", op.key_on("line", messages, attrgetter("key")), Lines(config))
    outputs = op.flat_map("flatten", handled, itemgetter(1))
    letters = op.filter_map("unreadable", decoded, _letter)
    emitted = op.merge("emitted", outputs, letters)
    for topic in OUTPUTS:
        lines_of_topic = op.filter_map(topic, emitted, partial(_line_of, topic))
        op.output(f"{topic}_sink", lines_of_topic, connectors.sinks[topic])
    return flow


def _message(decoded: Message | Unreadable) -> Message | None:
    return None if isinstance(decoded, Unreadable) else decoded


def _letter(decoded: Message | Unreadable) -> Emission | None:
    """Return the dead letter of what belongs to no line."""
    if not isinstance(decoded, Unreadable):
        return None
    metrics.dead_letter()
    logs.unreadable(*astuple(decoded.position), origin=decoded.origin, reason=decoded.reason)
    letter = dead_letter(decoded)
    return Emission(topic_of(letter), letter.source_id, Raw(encode(letter)))


def _line_of(topic: str, output: Emission) -> tuple[str, Line] | None:
    """Return an output as its topic's sink takes it: routed by its identity, which is repeated for the sink to see."""
    if output.topic != topic:
        return None
    return output.source_id, (output.source_id, bytes(output.content))


def _program() -> Dataflow:
    """Build the flow as the environment describes it, for the process that runs it."""
    logs.configure("info")
    config = load_config(None, os.environ)
    logs.configure(config.log_level)
    health.serve(os.environ)
    check_volume(config.data_root)
    try:
        for module in config.predicates:
            load_predicates(module)
    except PatternError as error:
        raise ConfigError(f"predicates: {error}") from error
    shutdown.install(alone=shutdown.is_alone(sys.argv, os.environ))
    return build(config, open_connectors(config))


def __getattr__(name: str) -> Dataflow:
    """Build `flow` when the runner asks for it: importing this module touches no volume and no signal."""
    if name == "flow":
        return _program()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
