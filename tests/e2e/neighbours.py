"""The factory's neighbours at the topics: what they write and how they read, without any of the factory's code."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from dataflow.messages import Position, Raw

INPUTS = {"commands": "factory_commands", "datasets": "dataset_versions"}
OUTPUTS = {
    "reports": "model_reports",
    "models": "model_versions",
    "acks": "assembly_reports",
    "dead_letters": "factory_dead_letters",
}
"""Logical name -> default name of the topic."""


class Topics(Protocol):
    """Where messages go and come from; streams and outputs go by their logical names."""

    def send(self, stream: str, message: bytes) -> None:
        """Append a message to an input."""

    def poll(self, output: str) -> list[bytes]:
        """Return what an output has that was not polled yet."""

    def check(self) -> None:
        """Fail if an output is not exactly what was polled while it grew."""

    def sent(self, position: Position) -> Raw:
        """Return the message that stands at a position."""


class FileTopics:
    """Topic files below a data root: read as consumers do, complete lines only and never going back."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._polled = dict.fromkeys(OUTPUTS, b"")

    def send(self, stream: str, message: bytes) -> None:
        """Append a message to an input."""
        with self._input(stream).open("ab") as file:
            file.write(message + b"\n")

    def poll(self, output: str) -> list[bytes]:
        """Return the complete lines that are new."""
        path = self._output(output)
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(len(self._polled[output]))
            fresh = file.read()
        complete = fresh[: fresh.rfind(b"\n") + 1]
        self._polled[output] += complete
        return complete.splitlines()

    def check(self) -> None:
        """Fail if a file is not, byte by byte, what was polled while it grew."""
        for output, polled in self._polled.items():
            path = self._output(output)
            assert path.read_bytes() == polled, f"{path} was changed where it had been read"

    def sent(self, position: Position) -> Raw:
        """Return the line that starts at an offset."""
        path = self._input(position.stream)
        with path.open("rb") as file:
            number = file.read(position.offset).count(b"\n") + 1
            return Raw(position, file.readline().removesuffix(b"\n"), origin=f"{path}:{number}")

    def _input(self, stream: str) -> Path:
        return self._folder / f"{INPUTS[stream]}.jsonl"

    def _output(self, output: str) -> Path:
        return self._folder / f"{OUTPUTS[output]}.jsonl"


def speaker(output: dict[str, object]) -> str:
    """Return the model line that an output belongs to; what could not be decoded names it in its original text."""
    key = output.get("key")
    if isinstance(key, str):
        return key
    return str(output["original"]).split('"key":"')[1].split('"')[0]


def parse(line: bytes) -> dict[str, object]:
    """Return an output's fields."""
    return msgspec.json.decode(line, type=dict[str, object])
