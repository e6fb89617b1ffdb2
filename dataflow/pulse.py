"""The sign of life that a worker gives while it has a message in hand.

A worker without one waits for messages, brokers or other processes, and may do so for ever. With one it must get on:
whatever takes long says so as it goes, and `health` tells the silence from work. Knows nothing of either side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pulse:
    """Of one process; its workers, usually one, share it.

    Parameters
    ----------
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._in_hand = 0
        self._last = 0.0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have a message in hand."""
        self.beat()  # first: whoever looks in between must not take the rest before for silence
        self._in_hand += 1
        try:
            yield
        finally:
            self._in_hand -= 1

    def beat(self, *_progress: object) -> None:
        """Get on; takes and ignores what callers of progress callbacks pass."""
        self._last = self.clock()

    def silence(self) -> float:
        """Return the seconds since a message in hand got on; 0 if there is none."""
        return self.clock() - self._last if self._in_hand else 0.0


pulse = Pulse()
"""This process's."""
