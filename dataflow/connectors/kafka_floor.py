"""From where to read when the recovery store is lost: the floor of each input partition, kept beside the journals.

Everything below a partition's floor has been handled and is in the journals, whichever lines it belonged to. Bytewax
closes an epoch of a source only when the epoch before it is complete everywhere (its `inputs.rs`; a test holds it to
that), so what a snapshot tells has been handled when the next snapshot is taken. The floor also names the topic: in
another one offsets mean nothing, and every message would be taken for a known one. It knows no broker.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from dataflow.connectors.kafka_admin import Topic
from dataflow.disk import our_disk
from dataflow.errors import FactoryFault


class _Kept(msgspec.Struct):
    topic: str
    identity: str
    offset: int


class Floor:
    """The floor of one input partition.

    Parameters
    ----------
    path : Path
        Its file.
    topic : Topic
        What the partition belongs to now.

    Raises
    ------
    FactoryFault
        If the file tells of another topic, or cannot be read.
    """

    def __init__(self, path: Path, topic: Topic) -> None:
        self._path, self._topic = path, topic
        self.offset = self._read()
        """The first offset that journals may not know; None if nothing is known of the partition."""
        self._complete_next: int | None = None

    def start(self, offset: int) -> None:
        """Note where reading begins: what lies below has been handled, or expired unseen."""
        self._complete_next = offset
        self.raise_to(offset)

    def raise_to(self, snapshot: int) -> None:
        """Take the next snapshot's offset, which makes the one before it the floor."""
        complete, self._complete_next = self._complete_next, snapshot
        if complete is not None and (self.offset is None or complete > self.offset):
            self.offset = complete
            self._write(_Kept(self._topic.name, self._topic.identity, complete))

    def _read(self) -> int | None:
        with our_disk(self._path, "read it"):
            try:
                content = self._path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            kept = msgspec.json.decode(content, type=_Kept)
        except msgspec.DecodeError:
            return None  # not flushed before a loss of power: reading begins earlier, and known messages pass by
        if kept.identity != self._topic.identity:
            raise FactoryFault(
                f"the journals know topic {kept.topic} ({kept.identity}), but the broker has {self._topic.name} "
                f"({self._topic.identity}): it was made anew, renamed or moved, and its offsets mean other messages. "
                f"Begin with an empty data root; or, if every message has kept its offset, remove {self._path}"
            )
        return kept.offset

    def _write(self, kept: _Kept) -> None:
        """Replace the file; unflushed, since an older floor is as true."""
        temporary = self._path.with_suffix(".tmp")
        with our_disk(self._path, "write it"):
            temporary.write_bytes(msgspec.json.encode(kept))
            os.replace(temporary, self._path)
