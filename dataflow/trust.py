"""What a message may make us open: regular files below the bucket folder, once links are resolved, and nothing else.

Owns the checks of names that peers send. It does not know what is read, or why. A name is judged before anything is
opened; what is opened is judged again, for the name may have been swapped in between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataflow.errors import Code, FactoryFault, RequestRejected

_OUR_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of reading that say nothing about the file: they stop the flow instead of refusing a good bucket."""


@contextmanager
def their_file(path: Path | str) -> Iterator[None]:
    """Turn what the operating system refuses about a peer's file into a rejection that names the file.

    Raises
    ------
    RequestRejected
        `missing_bucket` if it is missing or forbidden, `untrusted_path` if no file can have that name.
    FactoryFault
        If it is us who are out of descriptors or memory.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OUR_FAULTS:
            raise FactoryFault(f"{path}: cannot read it: {error.strerror}") from error
        raise RequestRejected(Code.MISSING_BUCKET, f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise RequestRejected(Code.UNTRUSTED_PATH, f"{str(path)!r} is no file name: {error}") from error


def resolve_below(folder: Path, name: str) -> Path:
    """Resolve a name that a peer sent; relative ones start at the folder.

    Parameters
    ----------
    folder : Path
        What the name must lie in, or be.
    name : str
        The peer's path; it need not exist.

    Returns
    -------
    Path
        Absolute, free of links and of `..`.

    Raises
    ------
    RequestRejected
        `untrusted_path` if it leads elsewhere.
    """
    with their_file(name):
        allowed = Path(os.path.realpath(folder))
        resolved = Path(os.path.realpath(allowed / name))
    if not resolved.is_relative_to(allowed):
        raise RequestRejected(Code.UNTRUSTED_PATH, f"{name} leads to {resolved}: expected a path below {allowed}")
    return resolved


@contextmanager
def open_regular(path: Path) -> Iterator[int]:
    """Open a resolved path for reading, if it is a regular file; the descriptor is closed at the end.

    Raises
    ------
    RequestRejected
        `missing_bucket` for a missing file, `untrusted_path` for a device, a pipe, a socket, a folder or a link.
    """
    with their_file(path):
        _check_regular(path, os.lstat(path).st_mode)  # opening a pipe would wait, opening a device may act
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(path, os.fstat(fd).st_mode)
        yield fd
    finally:
        os.close(fd)


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise RequestRejected(Code.UNTRUSTED_PATH, f"{path}: expected a regular file, found {stat.filemode(mode)}")
