"""The demo's own Kafka broker: a process that listens on this machine alone and ends with the demo, whatever ends that.

Knows noida-db's command line, and no topic.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from dataflow.demo.processes import DemoFailed, Process
from dataflow.errors import FactoryFault

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below the ports that systems hand out by themselves: no connection of another process takes one meanwhile."""
DEADLINE = 120.0
"""Seconds in which the broker must listen; it usually takes milliseconds."""
CONNECT_SECONDS = 15.0
_LOOK_AGAIN = 0.02


@contextmanager
def own_broker(root: Path) -> Iterator[tuple[Process, str]]:
    """Run a broker as long as the block lasts, with its data in `<root>/broker`; yield it and its `HOST:PORT`.

    Raises
    ------
    DemoFailed
        If noida-db is not installed, does not start, or ends before the block does.
    """
    port = free_port()
    # setpriv, where there is one, has the kernel end the broker even if the demo is killed
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    broker = Process("broker", [*guard, *noida_command(root / "broker", port)], root, {})
    try:
        broker.start()
        _await_listening(broker, port)
        yield broker, f"{HOST}:{port}"
    except (DemoFailed, FactoryFault) as failed:
        if broker.starts and (status := broker.status()) is not None:  # whatever failed then, failed for this reason
            raise DemoFailed(f"the broker ended with status {status}: {broker.last_words()} ({broker.log})") from failed
        raise
    finally:
        broker.stop()


def check_listening(address: str) -> None:
    """Find out at once that nobody listens at `HOST:PORT`, which a Kafka client takes a minute to believe.

    Raises
    ------
    DemoFailed
        With the reason.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise DemoFailed(f"no broker at {address}: {error.strerror or error}") from error


def noida_command(folder: Path, port: int) -> list[str]:
    """Return the command that runs noida-db in the foreground: its binary, since its wrapper may leave it behind.

    Parameters
    ----------
    folder : Path
        For its data.
    port : int
        Where it listens.

    Raises
    ------
    DemoFailed
        If it is not installed.
    """
    try:
        binary = Path(str(files("noida_db").joinpath("noida-db")))
    except ModuleNotFoundError:
        raise DemoFailed(
            "noida-db is not installed: ./run.sh demo --kafka does it, or pip install '.[broker]'"
        ) from None
    if not os.access(binary, os.X_OK):  # installers do not have to make it executable
        binary.chmod(0o755)
    return [
        str(binary),
        "start",
        "--data-dir",
        str(folder),
        "--host",
        HOST,
        "--only",
        "kafka",
        "--kafka-port",
        str(port),
    ]


def free_port() -> int:
    """Return a port that nobody listens on."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def _await_listening(broker: Process, port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while broker.status() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(_LOOK_AGAIN)
    raise DemoFailed(f"the broker does not listen within {DEADLINE:.0f} s: {broker.last_words()} ({broker.log})")
