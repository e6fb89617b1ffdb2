"""The log: JSON lines on the standard error, one canonical line per handled message, one when a fault stops the flow.

Owns how a record becomes a line. Everyone else logs through `logging` and passes what belongs to the record as
`extra={"fields": {...}}`.
"""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone
from types import TracebackType

import msgspec

from dataflow.errors import FactoryFault

_log = logging.getLogger("dataflow")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, what happened, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        content = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(content, enc_hook=str).decode()


def configure(level: str) -> None:
    """Send the log to the standard error, and end a flow that a fault stops with one line instead of a traceback.

    Parameters
    ----------
    level : str
        Name of the least severe level that is logged.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    sys.excepthook = _stopped


def handled(key: str, message: str, result: str, seconds: dict[str, float], **fields: object) -> None:
    """Log the one canonical line of a handled message.

    Parameters
    ----------
    key : str
        The model line.
    message : str
        The message's type.
    result : str
        What became of it.
    seconds : dict of str to float
        Time per stage.
    **fields
        Whatever else tells its story: id, position, dataset version, model, error code.
    """
    rounded = {stage: round(duration, 6) for stage, duration in seconds.items()}
    fields = {"key": key, "message": message, "result": result, **fields, "seconds": rounded}
    _log.info("handled", extra={"fields": fields})


def unreadable(stream: str, partition: str, offset: int, *, origin: str, reason: str) -> None:
    """Log the one canonical line of a message that cannot be read, so belongs to no model line."""
    position = {"stream": stream, "partition": partition, "offset": offset}
    fields = {"message": "unreadable", "result": "error", "position": position, "origin": origin, "reason": reason}
    _log.info("handled", extra={"fields": fields})


def opened(key: str, seq: int, backlog: int) -> None:
    """Log that a line was opened: the number of its newest journal entry, and how many outputs are emitted again."""
    _log.info("opened", extra={"fields": {"key": key, "seq": seq, "backlog": backlog}})


def known(key: str, message: str, stream: str, partition: str, offset: int) -> None:
    """Log a message that was delivered again after a start, and that the journal knows already."""
    position = {"stream": stream, "partition": partition, "offset": offset}
    _log.debug("known", extra={"fields": {"key": key, "message": message, **position}})


def _stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the fault behind what Bytewax raises; anything else is a bug and keeps its traceback."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, FactoryFault):
        cause = cause.__cause__
    if cause:
        _log.critical("stopped", extra={"fields": {"fault": type(cause).__name__, "text": str(cause)}})
    else:
        sys.__excepthook__(kind, error, trace)
