"""Volumes that fail: a small one that fills up, and one that turns read-only under the factory's hands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SMALL = "8m"
PAGE = 4096


@contextmanager
def small_volume(root: Path) -> Iterator[None]:
    """Mount a few megabytes of memory at the root; skip the test where that is not permitted."""
    root.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(root))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(root))


def fill(root: Path) -> Path:
    """Use up every byte of the volume; return the file that holds them."""
    filler = root / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    return filler


class FragileVolume:
    """An ext4 file system in a file, mounted at the root, that can be broken and mended.

    Breaking it is what the kernel does after an error of the device: from then on nothing can be written, and what was
    not flushed is lost.
    """

    def __init__(self, root: Path, image: Path) -> None:
        self._root, self._image = root, image
        root.mkdir()
        with image.open("wb") as file:
            file.truncate(64 << 20)
        made = _run("mkfs.ext4", "-q", "-F", str(image))
        if made.returncode != 0:
            pytest.skip(f"cannot make an ext4 file system here: {made.stderr.strip()}")
        self.mount()

    def mount(self) -> None:
        """Mount it, or skip the test where that is not permitted."""
        _mount("-o", "loop,errors=remount-ro", str(self._image), str(self._root))
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self._root)).stdout.strip()
        self._trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"

    def unmount(self) -> None:
        """Take it off the root, even from under a factory that a failed test left running."""
        _run("umount", "--lazy", str(self._root))

    def flush(self) -> None:
        """Write everything to it that others have left in memory: only the factory's own care is on trial."""
        _run("sync", "--file-system", str(self._root))

    def break_down(self) -> None:
        """Let the kernel find an error on it."""
        if not os.access(self._trigger, os.W_OK):
            pytest.skip(f"cannot break a file system here: no {self._trigger}")
        self._trigger.write_text("1")

    def mend(self) -> None:
        """Check and mount it again."""
        _run("umount", str(self._root))
        mended = _run("e2fsck", "-f", "-y", str(self._image))
        assert mended.returncode <= 1, mended.stdout + mended.stderr  # 1: errors were corrected
        self.mount()


def _mount(*arguments: str) -> None:
    mounted = _run("mount", *arguments)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: not found")
