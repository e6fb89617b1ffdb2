"""A kubelet's eyes: what the factory answers to probes, and how its environment says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.brokers import free_port
from tests.e2e.factory import DEADLINE

LOOK_SECONDS = 0.05


class Probes:
    """Probes of one process.

    Parameters
    ----------
    store : Path
        Folder of its recovery store.
    stuck : float
        Seconds of silence after which a message in hand counts as stuck.
    """

    def __init__(self, store: Path, stuck: float) -> None:
        self._port = free_port()
        self.environment = {
            "FACTORY_HEALTH_PORT": str(self._port),
            "FACTORY_HEALTH_STUCK_SECONDS": str(stuck),
            "BYTEWAX_RECOVERY_DIRECTORY": str(store),
            "BYTEWAX_SNAPSHOT_INTERVAL": "1",
        }

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of an answer; status 0 if there is nobody."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def await_status(self, path: str, status: int, meanwhile: Callable[[], None] = lambda: None) -> str:
        """Ask until the answer has a status, and do something between two questions; return what is said then."""
        deadline = time.monotonic() + DEADLINE
        while True:
            found, said = self.ask(path)
            if found == status:
                return said
            assert time.monotonic() < deadline, f"{path}: {found} {said}"
            meanwhile()
            time.sleep(LOOK_SECONDS)
