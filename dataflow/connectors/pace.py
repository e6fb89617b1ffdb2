"""How sources rest while nothing comes in, whatever happens to the clock.

Bytewax compares `next_awake`, and its own one-millisecond rest without it, with the time of day: measured, a clock set
back by an hour stops a source for an hour. So our sources are always due, and rest inside `next_batch` instead.
(Snapshots do wait until the clock has caught up; the journals make that a longer replay, not a loss.)
"""

from __future__ import annotations

import time
from datetime import datetime, timezone

ALWAYS_DUE = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""What `next_awake` of every source returns."""


class Pace:
    """The common rest of one process's sources: an idle one does not hold up a busy one.

    Parameters
    ----------
    seconds : float
        How long to rest when every source has looked and none has found anything: a message waits no longer.
    """

    def __init__(self, seconds: float = 0.01) -> None:
        self._seconds, self._sources, self._idle_looks = seconds, 0, 0

    def join(self) -> None:
        """Note a source, a partition, that takes its turn."""
        self._sources += 1

    def busy(self) -> None:
        """Note that a source found something."""
        self._idle_looks = 0

    def idle(self) -> None:
        """Rest if every source has looked since the last one that found something, or since the last rest."""
        self._idle_looks += 1
        if self._idle_looks >= self._sources:
            self._idle_looks = 0
            time.sleep(self._seconds)
