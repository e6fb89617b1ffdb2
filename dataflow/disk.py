"""What every room that works on the volume shares: failures as faults, folders flushed, the lease on the data root.

Knows paths and nothing of what lies in them.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from dataflow.errors import FactoryFault


@contextmanager
def our_disk(path: Path, doing: str) -> Iterator[None]:
    """Turn what the operating system refuses into a fault that names the file and the deed."""
    try:
        yield
    except OSError as error:
        raise FactoryFault(f"{path}: cannot {doing}: {error.strerror}") from error


def fsync_folder(folder: Path) -> None:
    """Make new, renamed and removed names in a folder survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_volume(root: Path) -> None:
    """Refuse a data root that cannot be written, or whose file system lacks what journals and models rely on.

    That is: an appended and flushed file is read back whole, a name is replaced at once by another file, names can be
    flushed. What is written here carries the process in its name and is removed: several may share the volume.

    Raises
    ------
    FactoryFault
        Names what cannot be done.
    """
    old, new = (root / f".check-{socket.gethostname()}-{os.getpid()}-{name}" for name in ("old", "new"))
    with our_disk(root, "make and write it"):
        root.mkdir(mode=0o750, parents=True, exist_ok=True)
        try:
            for path, content in ((old, b"old"), (new, b"new")):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o640)
                try:
                    os.write(fd, content)
                    os.fsync(fd)
                finally:
                    os.close(fd)
            os.replace(new, old)
            fsync_folder(root)
            found, left = old.read_bytes(), new.exists()
        finally:
            old.unlink(missing_ok=True)
            new.unlink(missing_ok=True)
    if found != b"new" or left:
        raise FactoryFault(f"{root}: its file system does not replace files as POSIX has it; use another volume")


@cache
def take_lease(root: Path) -> int:
    """Hold the data root for this process until it ends, however it ends; return the descriptor.

    Raises
    ------
    FactoryFault
        If another process holds it; names the process.
    """
    path = root / ".lease"
    with our_disk(path, "take the lease"):
        lease = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lease, 32).decode().strip()
            os.close(lease)
            raise FactoryFault(
                f"{root}: another factory (process {holder}) works here; stop it, or choose another data root"
            ) from None
        os.ftruncate(lease, 0)
        os.write(lease, f"{os.getpid()}\n".encode())
    return lease
