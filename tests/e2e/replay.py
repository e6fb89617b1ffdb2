"""The run told again by the pure functions: the journal's order of inputs must give its decisions, states and outputs.

Only outcomes are taken from the journal: what the volume and the library answered. Messages come from the topics.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec

from dataflow.config import Config, load_config
from dataflow.decide import decide
from dataflow.decisions import Outcome
from dataflow.decoding import decode
from dataflow.evolve import evolve
from dataflow.journal import NAME, Entry, entry_of, read_journal
from dataflow.state import LineState
from tests.e2e.run import Run


def deviations(run: Run) -> list[str]:
    """Return where a journal is not what the pure functions give, or a consumer did not read what a journal says."""
    config = load_config(None, run.factory.environment)
    replayed = [_replayed(run, key, entries, config) for key, entries in _journals(run)]
    return [*chain.from_iterable(replayed), *unheard(run)]


def unheard(run: Run) -> list[str]:
    """Return which lines said something else, topic by topic, than consumers have read."""
    found = []
    for key, entries in _journals(run):
        said = [output for entry in entries for output in entry.outputs]
        for topic, heard in run.heard.items():
            written = [msgspec.json.decode(output.content) for output in said if output.topic == topic]
            read = [output for output in heard if output.get("key") == key]
            if written != read:
                found.append(f"{topic} of {key}: the journal says {written}, consumers read {read}")
    return found


def _journals(run: Run) -> list[tuple[str, tuple[Entry, ...]]]:
    folders = sorted((run.root / "lines").iterdir())
    return [(folder.name, read_journal(folder / NAME, folder.name).entries) for folder in folders]


def _replayed(run: Run, key: str, entries: tuple[Entry, ...], config: Config) -> list[str]:
    state, settings = LineState(), config.line(key)
    for entry in entries:
        assert entry.position is not None
        message: Any = decode(run.topics.sent(entry.position), config.limits)
        decision = decide(state, message, settings)
        outcome = msgspec.json.decode(entry.outcome, type=Outcome)
        change = evolve(state, message, decision, outcome, settings)
        expected = entry_of(message, decision, outcome, change, entry.at)
        if expected != entry:
            return [f"{key}, entry {entry.seq}: expected {expected}, found {entry}"]
        state = change[0]
    return []
