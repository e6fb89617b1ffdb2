"""The demo's processes: started in sessions of their own, so that Ctrl-C reaches the demo alone, and ended by it.

A factory that dies is started again, on the same data root, as a deployment would do it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

COLLECTOR, CONTROLLER = "dataflow.demo.collector", "dataflow.demo.controller"
"""Modules of the two neighbours."""

MAX_STARTS = 5
"""Starts of the factory before the demo gives up."""
_GRACE = 120.0
"""Seconds that a process has to end after SIGTERM before it is killed."""
_LOOK_AGAIN = 0.02


class DemoFailed(Exception):  # noqa: N818 - the demo's own end, told to a person
    """Something that the demo was to show did not happen; the text is one line for a person."""


class Process:
    """One process and its log.

    Parameters
    ----------
    name : str
        What a person calls it; names the log.
    command : sequence of str
        The program and its arguments.
    root : Path
        The demo's data root; the log is `<root>/logs/<name>.log`.
    environment : Mapping of str to str
        Added to the demo's own environment.
    """

    def __init__(self, name: str, command: Sequence[str], root: Path, environment: Mapping[str, str]) -> None:
        self.name, self._command, self._environment = name, command, dict(environment)
        self.log = root / "logs" / f"{name}.log"
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, once more if it ran before."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        """Process id of the newest start."""
        assert self._process is not None
        return self._process.pid

    def status(self) -> int | None:
        """Return the exit status (negative: the signal that ended it), None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def await_handler(self) -> None:
        """Wait until it handles SIGTERM, or has ended: while it still imports its modules, the signal would kill it."""
        deadline = time.monotonic() + _GRACE
        while self._process and self._process.poll() is None and not _handles_sigterm(self._process.pid):
            if time.monotonic() > deadline:
                return
            time.sleep(_LOOK_AGAIN)

    def stop(self) -> int | None:
        """End it: SIGTERM, and SIGKILL if that is not enough; return the exit status, None if it was never started."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def last_words(self) -> str:
        """Return what a process says when it gives up: the last line of its log, or the text in it."""
        last = (self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        return str(json.loads(last).get("text", last)) if last.startswith("{") else last


def _handles_sigterm(pid: int) -> bool:
    """Ask the kernel; where it does not tell (it is not Linux), assume so."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return True
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


class Neighbourhood:
    """The factory between its collector and its controller.

    Parameters
    ----------
    root : Path
        The demo's data root.
    steps : int
        Length of the search.
    speed : float
        Days of traffic per second, at most.
    bootstrap : str, optional
        `HOST:PORT` of the broker over which they talk; without it they talk through files.
    """

    def __init__(self, root: Path, *, steps: int, speed: float, bootstrap: str | None = None) -> None:
        connector = {"FACTORY_CONNECTOR": "kafka", "FACTORY_BROKERS": bootstrap} if bootstrap else {}
        settings = {
            "FACTORY_CONFIG": str(Path(__file__).with_name("factory.toml")),
            "FACTORY_DATA_ROOT": str(root),
            "FACTORY_CONNECTOR": "files",
            **connector,
            "FACTORY_LOG_LEVEL": "info",  # the seconds per stage in the summary come from the log
        }
        self._recovery = root / "recovery"
        flow = [
            sys.executable,
            "-m",
            "bytewax.run",
            "dataflow.flow:flow",
            "-r",
            str(self._recovery),
            "-s",
            "1",
            "-b",
            "0",
        ]
        common = [str(root), "--steps", str(steps), *(["--bootstrap", bootstrap] if bootstrap else [])]
        self.factory = Process("factory", flow, root, settings)
        self._neighbours = [
            Process("collector", [sys.executable, "-m", COLLECTOR, *common, "--speed", str(speed)], root, {}),
            Process("controller", [sys.executable, "-m", CONTROLLER, *common], root, {}),
        ]

    def start(self) -> None:
        """Make the recovery store, which is the factory's own, and start all three."""
        self._recovery.mkdir(mode=0o700)
        subprocess.run([sys.executable, "-m", "bytewax.recovery", str(self._recovery), "1"], check=True)
        for process in (self.factory, *self._neighbours):
            process.start()

    def done(self) -> bool:
        """Whether both neighbours have had their say.

        Raises
        ------
        DemoFailed
            If one of them ended for another reason.
        """
        statuses = {process: process.status() for process in self._neighbours}
        for process, status in statuses.items():
            if status:
                raise DemoFailed(f"the {process.name} ended with status {status}: {process.last_words()}")
        return all(status == 0 for status in statuses.values())

    def revive(self) -> str | None:
        """Start the factory again if it ended; return what there is to say about it.

        Raises
        ------
        DemoFailed
            If it does not stay alive.
        """
        status = self.factory.status()
        if status is None:
            return None
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        if self.factory.starts == MAX_STARTS:
            raise DemoFailed(f"the factory {how} {MAX_STARTS} times: {self.factory.last_words()} ({self.factory.log})")
        self.factory.start()
        return f"factory     {how}; started again as process {self.factory.pid}"

    def stop(self) -> int | None:
        """End all three; return the factory's exit status."""
        for process in self._neighbours:
            process.stop()
        self.factory.await_handler()  # it may have been started again a moment ago
        return self.factory.stop()
