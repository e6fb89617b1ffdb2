"""The files of one model line on the volume: whole or not there, never half; ours, or noticed.

Owns names of folders, modes, the order of durable writing, and the check that a file still is what was written. Knows
nothing of messages, decisions or training; what goes into a file comes as bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from dataflow.decoding import KEY_FORM
from dataflow.disk import fsync_folder, our_disk
from dataflow.errors import FactoryFault
from dataflow.pulse import pulse

FILE_MODE, FOLDER_MODE = 0o640, 0o750
READ_BYTES = 1 << 20
_DRAFT = ".draft"


class _Stamp(NamedTuple):
    """What the file system says of a file: while it stays equal, so does the content."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Draft:
    """A file that is being written under a name that nobody looks at."""

    def __init__(self, folder: Path, fd: int) -> None:
        self._folder, self._fd = folder, fd
        self.is_kept = False

    def write(self, content: bytes | memoryview) -> None:
        """Append all of the content."""
        with our_disk(self._folder, "write a file"):
            write_all(self._fd, content)

    def keep_as(self, name: str, *, durable: bool = True) -> None:
        """Give the file its final name; durably: content first, then the name."""
        with our_disk(self._folder / name, "write it"):
            if durable:
                os.fsync(self._fd)
            os.replace(self._folder / _DRAFT, self._folder / name)
            self.is_kept = True
            if durable:
                fsync_folder(self._folder)


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write all of the content: a disk that is filling up takes a part of it before it refuses."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
        pulse.beat()


@contextmanager
def draft(folder: Path) -> Iterator[Draft]:
    """Start a file in a folder; unless it is kept, nothing of it stays.

    A folder has one draft at a time: a line is one worker's, and a worker handles one message at a time.
    """
    path = folder / _DRAFT
    with our_disk(path, "make it"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    file = Draft(folder, fd)
    try:
        os.fchmod(fd, FILE_MODE)  # whatever the umask
        yield file
    finally:
        os.close(fd)
        if not file.is_kept:
            _remove(path)


def write_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a whole file under its final name, or leave what was there."""
    with draft(path.parent) as file:
        file.write(content)
        file.keep_as(path.name, durable=durable)


def make_folder(path: Path) -> None:
    """Make a folder, durably, if it is missing."""
    with our_disk(path, "make the folder"):
        try:
            path.mkdir(FOLDER_MODE)
        except FileExistsError:
            return
        path.chmod(FOLDER_MODE)  # whatever the umask
        fsync_folder(path.parent)


class LineFiles:
    """The folder of one model line: `datasets/`, `models/` and the journal beside them.

    Parameters
    ----------
    root : Path
        The data root; must exist.
    key : str
        The line's key.

    Raises
    ------
    FactoryFault
        If the key is none: it never becomes a path.
    """

    def __init__(self, root: Path, key: str) -> None:
        if not KEY_FORM.fullmatch(key):
            raise FactoryFault(f"key: expected {KEY_FORM.pattern}, came {key!r}")
        self.folder = root / "lines" / key
        self._verified: dict[str, tuple[_Stamp, str]] = {}

    def prepare(self) -> None:
        """Make the folders that are missing, and sweep the drafts of a crash."""
        for folder in (self.folder.parent, self.folder, self.path("datasets"), self.path("models")):
            make_folder(folder)
            _remove(folder / _DRAFT)

    def hold_anything(self) -> bool:
        """Tell whether the line has a dataset or a model."""
        with our_disk(self.folder, "look into it"):
            return any(any(path.iterdir()) for path in (self.path("datasets"), self.path("models")) if path.exists())

    def written_at(self, name: str) -> float | None:
        """Return when a file was written, seconds since 1970; None if it is not there."""
        with our_disk(self.path(name), "look at it"), suppress(FileNotFoundError):
            return self.path(name).stat().st_mtime
        return None

    def path(self, name: str) -> Path:
        """Return where a file of this line is; names are relative to the line's folder."""
        return self.folder / name

    def write(self, name: str, content: bytes, *, durable: bool = True) -> str:
        """Write one file and return its SHA-256."""
        write_file(self.path(name), content, durable=durable)
        return hashlib.sha256(content).hexdigest()

    def trust(self, name: str, sha256: str) -> None:
        """Remember what a file holds that we have just written."""
        with our_disk(self.path(name), "read it"):
            self._verified[name] = (_stamp(self.path(name)), sha256)

    def is_intact(self, name: str, sha256: str) -> bool:
        """Tell whether a file is there and holds what was written; read only if the file system says it changed."""
        path = self.path(name)
        with our_disk(path, "read it"), suppress(FileNotFoundError):
            stamp = _stamp(path)
            if self._verified.get(name, (None, ""))[0] != stamp:
                self._verified[name] = (stamp, _sha256_of(path))
            return self._verified[name] == (stamp, sha256)
        return False

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; what is gone already is no matter."""
        for name in names:
            _remove(self.path(name))
            self._verified.pop(name, None)


def _remove(path: Path) -> None:
    with our_disk(path, "delete it"), suppress(FileNotFoundError):
        path.unlink()


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while content := file.read(READ_BYTES):
            digest.update(content)
            pulse.beat()
    return digest.hexdigest()


def _stamp(path: Path) -> _Stamp:
    found = path.stat(follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(path)
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
