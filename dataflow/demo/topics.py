"""Topics as the factory's neighbours use them: append a message, follow the messages that come.

Here they are files; `kafka_topics` has their twins at a broker. Owns the wait of a neighbour that has nothing to do,
and its end when the demo that started it is gone. Must not know what the messages mean.
"""

from __future__ import annotations

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dataflow.connectors.tail import Place, Tail

Message = dict[str, Any]

COMMANDS, DATASETS = "factory_commands", "dataset_versions"
REPORTS, MODELS, ACKS, DEAD_LETTERS = "model_reports", "model_versions", "assembly_reports", "factory_dead_letters"
NAMES = (COMMANDS, DATASETS, REPORTS, MODELS, ACKS, DEAD_LETTERS)

_MAX_BYTES = 1 << 20
_REST = 0.02
"""Seconds between two looks at a file that has nothing new."""
_STARTED_BY = os.getppid()


class Topic(ABC):
    """One topic; every instance follows it from its beginning."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether it holds no message."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Append one message."""

    @abstractmethod
    def new(self) -> list[Message]:
        """Return the messages that came since the last call, up to the newest."""

    def follow(self) -> Iterator[Message]:
        """Yield every message that was not returned yet, waiting for the next one without end."""
        while True:
            yield from self.new()
            rest()


OpenTopic = Callable[[str], Topic]
"""Name -> the topic of this name."""


def topics_at(root: Path, bootstrap: str | None) -> OpenTopic:
    """Return how topics are opened: as files below the data root, or at the broker `HOST:PORT`."""
    if bootstrap is None:
        (root / "topics").mkdir(mode=0o750, exist_ok=True)
        return partial(FileTopic, root)
    from dataflow.demo.kafka_topics import KafkaTopics  # confluent-kafka is loaded only where a broker is used

    return KafkaTopics(bootstrap)


class FileTopic(Topic):
    """One topic below a data root.

    Parameters
    ----------
    root : Path
        The demo's data root.
    name : str
        The topic's name, without `.jsonl`.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._path = root / "topics" / f"{name}.jsonl"
        self._tail = Tail(self._path, Place(0, 0), _MAX_BYTES)

    def is_empty(self) -> bool:
        """Whether the file is missing or has no byte."""
        return not self._path.exists() or self._path.stat().st_size == 0

    def send(self, message: Message) -> None:
        """Append one message, in one write, so that no reader sees half of it for long."""
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(message).encode() + b"\n")

    def new(self) -> list[Message]:
        """Return the messages that came since the last call, up to the newest."""
        return [json.loads(line) for lines in iter(self._tail.read, []) for _, line in lines]


def rest() -> None:
    """Wait a moment; a neighbour whose demo was killed ends here instead of waiting for ever."""
    if os.getppid() != _STARTED_BY:
        sys.exit("the demo that started this process is gone")
    time.sleep(_REST)
