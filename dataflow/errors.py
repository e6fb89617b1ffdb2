"""The factory's errors: a peer's fault becomes a report or a dead letter, our own fault stops the flow.

Any exception that reaches Bytewax and is not a `FactoryFault` is a bug.
"""

from __future__ import annotations


class FactoryError(Exception):
    """Base of everything that the factory raises on purpose."""


class RequestRejected(FactoryError):  # noqa: N818 - a rejection is an answer, not a failure of ours
    """A peer asked for what cannot be had: becomes an error report, or a dead letter where nothing can be answered.

    Parameters
    ----------
    code : str
        Machine-readable, stable: one of the codes listed in the README's table.
    text : str
        What was expected, what came, where, and what to do.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class FactoryFault(FactoryError):  # noqa: N818 - the established pair of Rejected and Fault
    """Our own side failed (disk full, volume read-only, broker refusing): the flow stops, answers nothing, and replays."""


class ImpossibleTransition(FactoryFault):
    """A pair of state and message that no history can produce; carries the story: key, state, message."""


class ConfigError(FactoryFault):
    """The configuration cannot be used: refused at start, before anything is consumed."""
