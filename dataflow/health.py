"""What Kubernetes asks a process: `/live`, must it be restarted; `/ready`, does it do its work. On a port of its own.

Alive is what has no message in hand, or gets on with it (`pulse`): waiting for a broker, for other processes or for
messages is no reason to restart, and neither is long work. Ready is what reaches the brokers of its sources and has
seen a snapshot lately. Answers come from a thread of its own, which knows the workers only by the signs they leave.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from threading import Thread

import msgspec

from dataflow import metrics
from dataflow.errors import ConfigError, FactoryFault
from dataflow.messages import COMMANDS, DATASETS
from dataflow.pulse import Pulse, pulse

PORT, STUCK = "FACTORY_HEALTH_PORT", "FACTORY_HEALTH_STUCK_SECONDS"
STORE, INTERVAL = "BYTEWAX_RECOVERY_DIRECTORY", "BYTEWAX_SNAPSHOT_INTERVAL"

DEFAULT_STUCK = 300.0
"""Seconds of silence: the longest that work cannot speak is one flush of a large dataset to a slow volume."""

MISSED = 3
"""Snapshot intervals without a snapshot until a process is not ready."""


@dataclass(frozen=True)
class Health:
    """How a process is.

    Parameters
    ----------
    store : Path
        Folder of the recovery store; Bytewax commits to every partition in every epoch, whatever happens in it.
    interval : float
        Seconds between snapshots.
    stuck : float
        Seconds without a sign of life after which a message in hand counts as stuck.
    started : float
        When the process started, seconds since 1970: what was written before is no sign of it.
    pulse : Pulse
        The workers' signs of life.
    """

    store: Path
    interval: float
    stuck: float
    started: float
    pulse: Pulse

    def ailments(self) -> list[str]:
        """Return why the process must be restarted; nothing if it is alive."""
        silence = self.pulse.silence()
        if silence <= self.stuck:
            return []
        return [f"the message in hand has not got on for {silence:.0f} s, expected a sign within {self.stuck:.0f} s"]

    def obstacles(self) -> list[str]:
        """Return what keeps the process from working; nothing if it is ready."""
        sources = ((name, there) for name, there in metrics.connections().items() if _is_source(name))
        found = [f"source {name} reaches no broker" for name, there in sources if not there]
        age, most = self._snapshot_age(), MISSED * self.interval
        if age is None:
            found.append("there has been no snapshot since the start")
        elif age > most:
            found.append(f"the last snapshot is {age:.0f} s old, expected at most {most:.0f} s")
        return found

    def _snapshot_age(self) -> float | None:
        """Return the seconds since the last snapshot, None before the first."""
        last = 0.0
        for path in self.store.glob("part-*.sqlite3*"):
            with suppress(FileNotFoundError):  # SQLite's log comes and goes
                last = max(last, path.stat().st_mtime)
        return None if last < self.started else time.time() - last


def serve(environment: Mapping[str, str]) -> Server | None:
    """Begin to answer, if the environment names a port; return what answers.

    Raises
    ------
    ConfigError
        A variable is missing or no number.
    FactoryFault
        The port cannot be had.
    """
    if not environment.get(PORT):
        return None
    port = int(_number(environment, PORT))
    health = Health(
        store=Path(_given(environment, STORE)),
        interval=_number(environment, INTERVAL),
        stuck=_number({STUCK: str(DEFAULT_STUCK), **environment}, STUCK),
        started=time.time(),
        pulse=pulse,
    )
    handler = type("Handler", (_Handler,), {"health": health})
    try:
        server = Server(("", port), handler)
    except (OSError, OverflowError) as error:
        raise FactoryFault(f"{PORT}: port {port} cannot be had: {error}") from error
    Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class Server(ThreadingTCPServer):
    """What answers; HTTPServer would ask a name server for its own name first."""

    allow_reuse_address = daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    health: Health

    def do_GET(self) -> None:
        questions = {"/live": self.health.ailments, "/ready": self.health.obstacles}
        if self.path not in questions:
            self.send_error(HTTPStatus.NOT_FOUND, f"expected one of {', '.join(questions)}")
            return
        problems = questions[self.path]()
        body = msgspec.json.encode({"ok": not problems, "problems": problems}) + b"\n"
        self.send_response(HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Leave probes out of the log: they come every few seconds."""


def _is_source(client: str) -> bool:
    return client.partition("/")[0] in {COMMANDS, DATASETS}


def _given(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise ConfigError(f"{PORT} is set, so {name} must be too: readiness depends on it")
    return environment[name]


def _number(environment: Mapping[str, str], name: str) -> float:
    text = _given(environment, name)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise ConfigError(f"{name}: expected a number above 0, came {text!r}")
    return number
