"""One line's journal: every handled message as one line of JSON, and what it says after a crash.

Owns the file's format (a header line, then numbered entries, each with a checksum), what of it can be trusted, and how
much of it is kept. States, decisions and outputs are text to it: outputs are handed back byte for byte, whatever later
code makes of such outputs. `python -m dataflow.journal KEY` tells a line's story (see `story`).
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias, TypeVar

import msgspec

from dataflow.config import JournalSettings
from dataflow.decisions import Decision, Outcome
from dataflow.disk import our_disk
from dataflow.errors import FactoryFault
from dataflow.messages import CommandId, Message, Output, Position, encode, topic_of
from dataflow.state import LineState, read_state
from dataflow.storage import READ_BYTES, draft, write_all, write_file

SCHEMA = 1
"""Version of the file's format; a newer one is refused by name, older ones are read."""

NAME = "journal.jsonl"
ADOPTED = "snapshot"
"""`Entry.message` where the tail of the journal was lost and the recovery store remembered more."""

NOTHING = msgspec.Raw(b"null")
_CRC = b',"crc":"%08x"}\n'
_CRC_BYTES = len(_CRC % 0)


class Emission(msgspec.Struct, frozen=True):
    """One output as it leaves: its topic's logical name, its identity, its JSON."""

    topic: str
    source_id: str
    content: msgspec.Raw


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one message.

    Attributes
    ----------
    seq : int
        Number of the entry; they follow each other without a gap.
    at : float
        Wall clock when it was written, seconds since 1970: how long it is kept depends on it, and nothing else.
    position, message, id
        Where the message came from, its type, and a command's id.
    decision, outcome, state : JSON
        What was decided, what came of it, the state after it.
    outputs : tuple of Emission
    deletions : tuple of str
        Files that nothing holds any more, relative to the line's folder.
    """

    seq: int
    at: float
    position: Position | None = None
    message: str
    id: CommandId | None = None
    decision: msgspec.Raw = NOTHING
    outcome: msgspec.Raw = NOTHING
    state: msgspec.Raw
    outputs: tuple[Emission, ...] = ()
    deletions: tuple[str, ...] = ()

    def line_state(self) -> LineState:
        """Return the state after the message.

        Raises
        ------
        FactoryFault
            If a newer factory wrote it.
        """
        return read_state(self.state, f"entry {self.seq}")


Evolved: TypeAlias = tuple[LineState, tuple[Output, ...], tuple[str, ...]]
"""What `evolve` makes of a message: the state after it, outputs, deletions."""


def entry_of(message: Message, decision: Decision, outcome: Outcome, evolved: Evolved, at: float) -> Entry:
    """Return the entry of a handled message."""
    state, outputs, deletions = evolved
    return Entry(
        seq=state.seq,
        at=at,
        position=message.position,
        message=str(message.__struct_config__.tag),
        id=getattr(message, "id", None),
        decision=_json(decision),
        outcome=_json(outcome),
        state=_json(state),
        outputs=tuple(Emission(topic_of(each), each.source_id, msgspec.Raw(encode(each))) for each in outputs),
        deletions=deletions,
    )


def adoption_of(state: LineState, at: float) -> Entry:
    """Return the entry that stands for those that were lost: the state that the recovery store remembers."""
    return Entry(seq=state.seq, at=at, message=ADOPTED, state=_json(state))


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: whose journal, in which format."""

    schema: int
    key: str


@dataclass(frozen=True)
class Content:
    """What a journal says.

    Attributes
    ----------
    entries : tuple of Entry
        Those asked for, oldest first.
    last : Entry or None
        The newest entry.
    number : int
        How many entries there are.
    size : int
        Bytes of the whole lines; what follows is the torn last line of a crash.
    """

    entries: tuple[Entry, ...]
    last: Entry | None
    number: int
    size: int

    @property
    def seq(self) -> int:
        """Number of the newest entry; 0 if there is none."""
        return self.last.seq if self.last else 0


def read_journal(path: Path, key: str, beyond: int = 0) -> Content:
    """Read and check a whole journal.

    Parameters
    ----------
    path : Path
        The file.
    key : str
        Whose it must be.
    beyond : int
        Entries up to this number are checked and not returned.

    Raises
    ------
    FactoryFault
        The volume cannot be read, the format is newer than this code, the journal is another line's, or a line before
        the last is damaged; names file and line.
    """
    entries, last, number, size = [], None, 0, 0
    with our_disk(path, "read it"), path.open("rb") as file:
        for place, line in enumerate(_whole_lines(path, file), start=1):
            size += len(line)
            if place == 1:
                _check_header(path, _decoded(path, place, line, _Header), key)
                continue
            entry = _decoded(path, place, line, Entry)
            if last and entry.seq != last.seq + 1 and not (entry.message == ADOPTED and entry.seq > last.seq):
                _damaged(path, place, f"expected entry {last.seq + 1}, found {entry.seq}")
            last, number = entry, number + 1
            if entry.seq > beyond:
                entries.append(entry)
    if not size:
        _damaged(path, 1, "expected the journal's header")
    return Content(tuple(entries), last, number, size)


class Journal:
    """A journal that is being written; no file stays open between entries, so that a worker can have any number.

    Parameters
    ----------
    path : Path
        The file; `create_journal` made it.
    content : Content
        What it says.
    keep : JournalSettings
        What compaction leaves.
    """

    def __init__(self, path: Path, content: Content, keep: JournalSettings) -> None:
        self._path, self._keep = path, keep
        self._size, self._number = content.size, content.number
        self._slack = max(1, keep.entries // 4)
        self._next_look = keep.entries + self._slack
        with self._opened() as fd:
            if os.fstat(fd).st_size > self._size:
                os.ftruncate(fd, self._size)
                os.fsync(fd)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def append(self, entry: Entry, *, durable: bool = True) -> None:
        """Write an entry; if that fails, nothing of it stays.

        Raises
        ------
        FactoryFault
            The volume refuses, or somebody else wrote to the file.
        """
        line = _line(entry)
        with self._opened() as fd:
            found = os.fstat(fd).st_size
            if found != self._size:
                raise FactoryFault(
                    f"{self._path}: expected {self._size} bytes, found {found}: another factory works on this line, "
                    "or the file was edited; stop the other one and start again"
                )
            try:
                write_all(fd, line)
                if durable:
                    os.fsync(fd)
            except OSError:
                os.ftruncate(fd, self._size)
                raise
        self._size += len(line)
        self._number += 1

    def compact(self, now: float) -> None:
        """Drop the oldest entries, once there are a quarter more than must be kept.

        Parameters
        ----------
        now : float
            Wall clock, seconds since 1970.
        """
        if self._number < self._next_look:
            return
        with our_disk(self._path, "compact it"), self._path.open("rb") as file:
            header = file.readline()
            dropped, start = self._superfluous(file, now - self._keep.hours * 3600)
            if dropped:
                file.seek(start)
                with draft(self._path.parent) as kept:
                    kept.write(header)
                    while content := file.read(READ_BYTES):
                        kept.write(content)
                    kept.keep_as(self._path.name)
                self._size -= start - len(header)
                self._number -= dropped
        self._next_look = self._number + self._slack

    def _superfluous(self, file: BinaryIO, cutoff: float) -> tuple[int, int]:
        """Return how many entries are neither among the newest nor younger than the cutoff, and where they end."""
        start = file.tell()
        for dropped in range(self._number - self._keep.entries):
            line = file.readline()
            if msgspec.json.decode(line, type=Entry).at >= cutoff:
                return dropped, start
            start += len(line)
        return max(0, self._number - self._keep.entries), start

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with our_disk(self._path, "append to it"):
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)


def create_journal(path: Path, key: str) -> None:
    """Make the journal of a new line, durably."""
    write_file(path, _line(_Header(schema=SCHEMA, key=key)))


def _json(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _line(content: msgspec.Struct) -> bytes:
    body = msgspec.json.encode(content)[:-1]
    return body + _CRC % zlib.crc32(body)


def _whole_lines(path: Path, file: BufferedReader) -> Iterator[bytes]:
    """Yield the lines that are whole; the last one may be torn by a crash, or by a loss of power filled with NULs."""
    for place, line in enumerate(file, start=1):
        if line[-_CRC_BYTES:] == _CRC % zlib.crc32(line[:-_CRC_BYTES]):
            yield line
        elif file.peek(1) or (line.endswith(b"\n") and b"\0" not in line):
            _damaged(path, place, "its checksum does not fit")
        else:
            return


_Line = TypeVar("_Line", _Header, Entry)


def _decoded(path: Path, place: int, line: bytes, kind: type[_Line]) -> _Line:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        _damaged(path, place, str(error))


def _check_header(path: Path, header: _Header, key: str) -> None:
    if header.schema > SCHEMA:
        raise FactoryFault(
            f"{path} has journal schema {header.schema}, this factory knows {SCHEMA} and older: start the newer factory"
        )
    if header.key != key:
        raise FactoryFault(f"{path}: expected the journal of {key}, found that of {header.key}")


def _damaged(path: Path, place: int, problem: str) -> NoReturn:
    raise FactoryFault(
        f"{path}, line {place}: damaged ({problem}); put a copy back. To give up what was handled since, delete this "
        "line and all after it"
    )


if __name__ == "__main__":
    from dataflow.story import main  # it reads journals, and nobody who writes them needs it

    sys.exit(main())
