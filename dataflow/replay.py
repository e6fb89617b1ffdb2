"""Dead letters, listed and sent again: `python -m dataflow.replay`, once what was wrong has been put right.

Owns which letters are meant and what their messages were. A message is sent as it came, to the topic that it came from;
there it is a new one. How topics are read and appended to is the mailbox's business.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from dataflow.config import Config, load_config
from dataflow.disk import our_disk
from dataflow.errors import FactoryFault
from dataflow.messages import DeadLetter

HELP = """\
List dead letters, or send their messages to the factory again.

Without --send the letters are listed: source id, time, error code, where the message stood, reason. With it the
messages of the same letters are appended to the topics they came from, as they came, and handled as new ones; what is
sent twice is handled twice. Choose letters by their source ids, or by what they have in common.
"""


class Original(NamedTuple):
    """A message as a peer sent it."""

    value: bytes
    record_key: bytes | None = None


class Mailbox(Protocol):
    """Where dead letters are, and where their messages came from."""

    def letters(self) -> list[DeadLetter]:
        """Return all dead letters, oldest first."""

    def original(self, letter: DeadLetter) -> Original | None:
        """Return what stands at the letter's position now; None if that is gone."""

    def send(self, letter: DeadLetter, original: Original) -> None:
        """Append a message to the topic that the letter's message came from."""

    def close(self) -> None:
        """Let go of everything."""


class FileMailbox:
    """Topic files below a data root.

    Parameters
    ----------
    config : Config
        The factory's configuration.
    """

    def __init__(self, config: Config) -> None:
        self._paths = {name: config.data_root / "topics" / f"{topic}.jsonl" for name, topic in config.topics.items()}

    def letters(self) -> list[DeadLetter]:
        """Return the complete lines of the dead letters' file."""
        path = self._paths["dead_letters"]
        with our_disk(path, "read it"):
            lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [decode_letter(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]

    def original(self, letter: DeadLetter) -> Original | None:
        """Return the line that starts at the letter's offset."""
        path = self._paths[letter.stream]
        with our_disk(path, "read it"), path.open("rb") as file:
            file.seek(letter.offset)
            line = file.readline()
        return Original(line[:-1]) if line.endswith(b"\n") else None

    def send(self, letter: DeadLetter, original: Original) -> None:
        """Append a line, by one write: others append to this file too."""
        path = self._paths[letter.stream]
        with our_disk(path, "append to it"), path.open("ab", buffering=0) as file:
            file.write(original.value + b"\n")

    def close(self) -> None:
        """Hold nothing."""


def decode_letter(line: bytes, where: str) -> DeadLetter:
    """Return a dead letter from its JSON.

    Raises
    ------
    FactoryFault
        If it is none; names the place.
    """
    try:
        return msgspec.json.decode(line, type=DeadLetter)
    except msgspec.DecodeError as error:
        raise FactoryFault(f"{where}: expected a dead letter of this factory: {error}") from error


def whole_message(letter: DeadLetter, found: Original | None) -> Original | None:
    """Return the message of a letter, whole.

    Parameters
    ----------
    letter : DeadLetter
        It repeats the message, but only up to the limit for messages.
    found : Original or None
        What stands at the letter's position now; it counts if it agrees with what the letter repeats, for a topic that
        was made anew has other messages there.

    Returns
    -------
    Original or None
        None if nobody has the whole message any more.
    """
    repeated = base64.b64decode(letter.original) if letter.encoding == "base64" else letter.original.encode()
    complete = len(repeated) == letter.size
    if found and (found.value == repeated if complete else found.value.startswith(repeated)):
        return found
    return Original(repeated) if complete else None


def open_mailbox(config: Config) -> Mailbox:
    """Return the configured connector's mailbox.

    Raises
    ------
    FactoryFault
        If brokers or topics cannot be used.
    """
    if config.connector == "kafka":
        from dataflow.connectors.kafka_mailbox import KafkaMailbox  # confluent-kafka is loaded only where it is used

        return KafkaMailbox(config)
    return FileMailbox(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """List or send; 0 if every chosen letter could be, 1 if a message is lost or no letter chosen, 2 for a fault."""
    options = _options(arguments)
    try:
        mailbox = open_mailbox(load_config(options.config, os.environ))
        try:
            return _replay(mailbox, options)
        finally:
            mailbox.close()
    except FactoryFault as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dataflow.replay", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source_ids", nargs="*", metavar="SOURCE_ID", help="only these letters")
    parser.add_argument("--code", help="only letters with this error code")
    parser.add_argument("--key", help="only letters of this model line")
    parser.add_argument("--stream", choices=("commands", "datasets"), help="only messages that came on this stream")
    parser.add_argument("--send", action="store_true", help="send the messages again instead of listing them")
    parser.add_argument("--config", type=Path, help="the TOML file (default: the one FACTORY_CONFIG names)")
    return parser.parse_args(arguments)


def _replay(mailbox: Mailbox, options: argparse.Namespace) -> int:
    chosen = [letter for letter in mailbox.letters() if _is_chosen(letter, options)]
    unsent = 0
    for letter in chosen:
        if not options.send:
            print(_listed(letter))
        elif message := whole_message(letter, mailbox.original(letter)):
            mailbox.send(letter, message)
            print(f"sent {letter.source_id}")
        else:
            unsent += 1
            print(f"not sent {letter.source_id}: {letter.origin} is gone, and the letter holds a part only")
    print(f"{len(chosen)} letters", file=sys.stderr)
    return 1 if unsent or not chosen else 0


def _is_chosen(letter: DeadLetter, options: argparse.Namespace) -> bool:
    return (
        (not options.source_ids or letter.source_id in options.source_ids)
        and options.code in (None, letter.error_code)
        and options.key in (None, letter.key)
        and options.stream in (None, letter.stream)
    )


def _listed(letter: DeadLetter) -> str:
    time = "-"
    if isinstance(letter.time, int):
        time = datetime.fromtimestamp(letter.time / 1000, timezone.utc).isoformat(timespec="seconds")
    return "\t".join((letter.source_id, time, str(letter.error_code), letter.origin, letter.reason))


if __name__ == "__main__":
    sys.exit(main())
