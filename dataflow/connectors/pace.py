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
        How long to rest after a look that found nothing. Two sources wait at most twice as long for a message.
    """

    def __init__(self, seconds: float = 0.01) -> None:
        self._seconds, self._idle_looks = seconds, 0

    def busy(self) -> None:
        """Note that a source found something."""
        self._idle_looks = 0

    def idle(self) -> None:
        """Rest, unless the look before this one found something."""
        self._idle_looks += 1
        if self._idle_looks > 1:
            time.sleep(self._seconds)
