"""SIGTERM: the message in hand is finished, then the process leaves with status 0.

Alone, the sources see the request and end, so Bytewax takes a last snapshot on the way out. In a cluster that would
leave the others waiting for this one (measured: the signalled process still ran after 12 s), so there the process ends
itself as soon as no message is in hand; what it did is in the journals. A thread sees to that, because while Bytewax
waits for the other processes, Python's handlers do not run (measured: never). It knows no connector and no model line.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock, Thread
from types import FrameType


class _Request:
    """What the signal and the workers tell each other; the handler sets an attribute, since it must not take locks."""

    made = False
    alone = True
    messages_in_hand = 0
    lock = Lock()

    def leave_cluster(self) -> None:
        """End the process, if that was asked for; to be called with the lock."""
        if self.made and not self.alone and self.messages_in_hand == 0:
            os._exit(0)


_request = _Request()


def install(*, alone: bool) -> None:
    """Handle SIGTERM from now on; to be called from the main thread.

    Parameters
    ----------
    alone : bool
        Whether this process is the whole flow, so that ending its sources ends it.
    """
    _request.alone = alone
    signal.signal(signal.SIGTERM, _on_sigterm)
    if not alone:
        signals, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written)
        Thread(target=_leave_when_told, args=(signals,), name="sigterm", daemon=True).start()


def is_alone(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether `bytewax.run` was started without the addresses of other processes; it tells the flow nothing itself."""
    addressed = any(argument.startswith(("-a", "--addresses")) for argument in arguments[1:])
    return not addressed and not {"BYTEWAX_ADDRESSES", "BYTEWAX_HOSTFILE_PATH"} & environment.keys()


def requested() -> bool:
    """Whether SIGTERM came: sources raise StopIteration instead of taking another message."""
    return _request.made


@contextmanager
def message_in_hand() -> Iterator[None]:
    """Keep a process of a cluster from leaving until the message is finished."""
    with _request.lock:
        _request.messages_in_hand += 1
    try:
        yield
    finally:
        with _request.lock:
            _request.messages_in_hand -= 1
            _request.leave_cluster()


def _on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    _request.made = True


def _leave_when_told(signals: int) -> None:
    """Read the numbers of signals as the kernel delivers them."""
    while os.read(signals, 1)[0] != signal.SIGTERM:
        pass
    _request.made = True
    with _request.lock:
        _request.leave_cluster()
