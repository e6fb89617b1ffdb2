"""Topic files as the factory's neighbours use them: append a message, follow the messages that come.

Owns the wait of a neighbour that has nothing to do, and its end when the demo that started it is gone. Must not know
what the messages mean.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataflow.connectors.tail import Place, Tail

Message = dict[str, Any]

COMMANDS, DATASETS = "factory_commands", "dataset_versions"
REPORTS, MODELS, ACKS, DEAD_LETTERS = "model_reports", "model_versions", "assembly_reports", "factory_dead_letters"

_MAX_BYTES = 1 << 20
_REST = 0.02
"""Seconds between two looks at a file that has nothing new."""
_STARTED_BY = os.getppid()


class Topic:
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

    def send(self, message: Message) -> None:
        """Append one message, in one write, so that no reader sees half of it for long."""
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(message).encode() + b"\n")

    def new(self) -> list[Message]:
        """Return the messages that came since the last call."""
        return [json.loads(line) for lines in iter(self._tail.read, []) for _, line in lines]

    def follow(self) -> Iterator[Message]:
        """Yield every message that was not returned yet, waiting for the next one without end."""
        while True:
            yield from self.new()
            rest()


def rest() -> None:
    """Wait a moment; a neighbour whose demo was killed ends here instead of waiting for ever."""
    if os.getppid() != _STARTED_BY:
        sys.exit("the demo that started this process is gone")
    time.sleep(_REST)
