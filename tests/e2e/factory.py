"""The factory as an operator runs it: a process of its own with a recovery store, started, killed and asked to end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from bytewax.recovery import init_db_dir

PROJECT = Path(__file__).parents[2]
DEADLINE = 600
"""Seconds in which something must happen; only a guard, no test passes or fails by being faster."""


class Factory:
    """The real flow over the file connector.

    Parameters
    ----------
    root : Path
        The data root.
    folder : Path
        For what is not on the volume: `settings/factory.toml`, the recovery store, the log.
    environment : Mapping of str to str
        Added to the process's environment.
    """

    def __init__(self, root: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self._root, self._folder = root, folder
        self.log = folder / "log.jsonl"
        self._store = folder / "recovery"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FACTORY_", "BYTEWAX_"))},
            "FACTORY_CONFIG": str(folder / "settings" / "factory.toml"),
            "FACTORY_DATA_ROOT": str(root),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it on the recovery store that is there, or on a new one."""
        if not self._store.exists():
            self._store.mkdir(mode=0o700)
            init_db_dir(self._store, 1)
        command = [sys.executable, "-m", "bytewax.run", "dataflow.flow:flow", "-r", str(self._store), "-s", "1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-b", "0"], cwd=PROJECT, env=self.environment, stdout=log, stderr=log
            )
        self.starts += 1

    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, at whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def terminate(self) -> int:
        """SIGTERM, once the process is far enough to handle it; return the exit status."""
        assert self._process is not None
        deadline = time.monotonic() + DEADLINE
        while self.is_running() and not self._handles_sigterm(self._process.pid):
            assert time.monotonic() < deadline, f"it does not start:\n{self.last_words()}"
            time.sleep(0.01)
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    @staticmethod
    def _handles_sigterm(pid: int) -> bool:
        """Ask the kernel: while a process still imports its modules, the signal would simply end it."""
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    def wait(self) -> int:
        """Return the exit status of a process that is about to end."""
        assert self._process is not None
        return self._process.wait(DEADLINE)

    def lose_recovery_store(self) -> None:
        """Delete it, as the loss of a pod's volume does."""
        shutil.rmtree(self._store)

    def events(self, name: str) -> list[dict[str, object]]:
        """Return the log's lines of one kind; what is not JSON (a panic's backtrace) is passed over."""
        found = []
        for line in self.log.read_bytes().splitlines():
            if line.startswith(b'{"time"') and line.endswith(b"}"):
                event = msgspec.json.decode(line, type=dict[str, object])
                if event["event"] == name:
                    found.append(event)
        return found

    def last_words(self) -> str:
        """Return the end of the log, for a person."""
        return self.log.read_text(errors="replace")[-4000:]
