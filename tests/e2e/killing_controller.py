"""The demo's controller with a gun: it kills the factory in the middle of the search, and talks on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import dataflow.demo.controller as demo

KILLED_AFTER = (3, 6)
"""Steps of the search right after whose sending the factory dies."""


class KillingController(demo.Controller):
    """Sends what the demo's controller sends."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self._lease, self._steps_sent = root / ".lease", 0

    def _send(self, command: str, timestamp: int, **fields: Any) -> str:
        identity = super()._send(command, timestamp, **fields)
        self._steps_sent += command == "opt_step"
        if command == "opt_step" and self._steps_sent in KILLED_AFTER:
            os.kill(int(self._lease.read_text()), signal.SIGKILL)
        return identity


if __name__ == "__main__":
    demo.main(KillingController)
