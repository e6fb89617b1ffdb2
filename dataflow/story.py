"""What a model line handled, told to people: one line of text for every entry of its journal.

Only reads, so it may be asked while the factory runs. `python -m dataflow.journal KEY` prints it.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from dataflow.config import load_config
from dataflow.errors import FactoryError
from dataflow.journal import NAME, Entry, read_journal
from dataflow.storage import LineFiles

_TOLD = ("model_id", "purpose", "why", "code", "text", "file")
"""Fields of decisions and outcomes that a story tells."""


def story_of(entry: Entry) -> str:
    """Return an entry as one line for people."""
    when = datetime.fromtimestamp(entry.at, timezone.utc).isoformat(timespec="seconds")
    where = f"{entry.position.stream}/{entry.position.partition}@{entry.position.offset}" if entry.position else "-"
    decided = msgspec.json.decode(entry.decision) or {}
    came = msgspec.json.decode(entry.outcome) or {}
    facts = [
        f"#{entry.seq} {when} {where} {entry.message}",
        "" if entry.id is None else str(entry.id),
        f"-> {decided['decision']}" if decided else "-> the recovery store's state: entries before were lost",
        *(f"{name} {value}" for name, value in (decided | came).items() if name in _TOLD),
        *(f"; says {each.topic} {each.source_id}" for each in entry.outputs),
        *(f"; deletes {name}" for name in entry.deletions),
    ]
    return _printable(" ".join(fact for fact in facts if fact))


def _printable(text: str) -> str:
    """Return a text that stays on its line and commands no terminal, whatever a peer wrote."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def main(arguments: list[str] | None = None) -> int:
    """Print the story of a line; 0 if it could be read."""
    parser = argparse.ArgumentParser(prog="python -m dataflow.journal", description="Tell what a model line handled.")
    parser.add_argument("key", help="the model line")
    parser.add_argument("--root", type=Path, help="the data root (default: the configured one)")
    parser.add_argument("--last", type=int, default=0, help="only the last entries")
    given = parser.parse_args(arguments)
    try:
        root = given.root or load_config(None, os.environ).data_root
        content = read_journal(LineFiles(root, given.key).path(NAME), given.key)
    except FactoryError as error:
        print(error, file=sys.stderr)
        return 1
    for entry in content.entries[-given.last :]:
        print(story_of(entry))
    return 0
