"""The factory's errors: a peer's fault becomes a report or a dead letter, our own fault stops the flow.

Any exception that reaches Bytewax and is not a `FactoryFault` is a bug.
"""

from __future__ import annotations

from enum import Enum


class Code(str, Enum):
    """Every `error_code` that a report or a dead letter can carry, with what it means; values never change."""

    explanation: str

    def __new__(cls, value: str, explanation: str = "") -> Code:
        """Make a member that is the string itself and carries its explanation."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.explanation = explanation
        return member

    UNREADABLE = "unreadable", "the message cannot be read or answered: not JSON, too large, no id, no usable key"
    BAD_MESSAGE = "bad_message", "the command can be answered but not understood: unknown type, unusable timestamp"
    BAD_PARAMS = "bad_params", "wrong length, unknown name or a value outside its range; the text says what is expected"
    SWEEP_TOO_LARGE = "sweep_too_large", "the grid or list has more combinations than the configured limit"
    INVALID_BEST_I = "invalid_best_i", "best_i is not the index of a step that succeeded; the session stays open"
    NO_SESSION = "no_session", "no optimisation session is open for this timestamp: unknown, closed or replaced"
    NO_DATASET = "no_dataset", "no dataset has been assembled yet"
    TOO_FEW_EVENTS = "too_few_events", "the dataset has fewer events than min_events"
    WAITING_FULL = "waiting_full", "too many commands already wait for a dataset that covers them"
    BAD_PATTERN = "bad_pattern", "the line's pattern or declarations cannot be used; the text is the parse error"
    BAD_DATASET = "bad_dataset", "the dataset has more bad rows than max_bad_rows, or lacks a column the pattern needs"
    DATASET_CHANGED = "dataset_changed", "the dataset's file is no longer the one assembled: its hash differs"
    MISSING_BUCKET = "missing_bucket", "a bucket of the range does not exist or cannot be read"
    UNSTABLE_BUCKET = "unstable_bucket", "a bucket changed while it was read: it is half-written"
    BAD_BUCKET = "bad_bucket", "a bucket is not CSV or JSON lines of the expected columns"
    UNTRUSTED_PATH = "untrusted_path", "a path leads outside the bucket folders, or to something that is not a file"

    def __str__(self) -> str:
        return str(self.value)


class FactoryError(Exception):
    """Base of everything that the factory raises on purpose."""


class RequestRejected(FactoryError):  # noqa: N818 - a rejection is an answer, not a failure of ours
    """A peer asked for what cannot be had: becomes an error report, or a dead letter where nothing can be answered.

    Parameters
    ----------
    code : Code or str
        Machine-readable, stable: one of `Code`.
    text : str
        What was expected, what came, where, and what to do.

    Raises
    ------
    ValueError
        If the code is not listed in `Code`.
    """

    def __init__(self, code: Code | str, text: str) -> None:
        super().__init__(text)
        self.code = Code(code)
        self.text = text


class FactoryFault(FactoryError):  # noqa: N818 - the established pair of Rejected and Fault
    """Our own side failed (disk full, volume read-only, broker refusing): the flow stops, answers nothing, replays."""


class ImpossibleTransition(FactoryFault):
    """A pair of state and message that no history can produce; carries the story: key, state, message."""


class ConfigError(FactoryFault):
    """The configuration cannot be used: refused at start, before anything is consumed."""
