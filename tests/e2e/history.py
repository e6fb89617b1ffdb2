"""What a run leaves behind, in a form that two runs can be compared in."""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from tests.e2e.neighbours import speaker
from tests.e2e.run import Run

TIMES = {"pt", "time", "seconds"}
"""Fields that hold a duration or a time of day."""

PLACES = {"partition", "offset", "origin", "size"}
"""Where an input stood, for lines interleave on a topic as their answers come; how much of it a connector looked at."""


NOTHING: dict[str, object] = {}
"""Stands for an output that only the other run has."""


@dataclass(frozen=True)
class History:
    """Outputs per topic and model line, in order, and what lies on the volume, by name relative to the root."""

    outputs: dict[tuple[str, str], list[dict[str, object]]]
    files: dict[str, str]

    def differences(self, other: History) -> list[str]:
        """Return what is not equal, one line each."""
        found = []
        for topic, key in sorted(self.outputs.keys() | other.outputs.keys()):
            ours, theirs = self.outputs.get((topic, key), []), other.outputs.get((topic, key), [])
            for number, pair in enumerate(zip_longest(ours, theirs, fillvalue=NOTHING)):
                if unequal := _unequal(*pair):
                    found.append(f"{topic} of {key}, output {number}: {unequal}")
        return found + [f"{name}: {pair}" for name, pair in _unequal(self.files, other.files).items()]


def undisturbed_history(root: Path, folder: Path, **options: Any) -> History:
    """Play the scenario over files with a factory to which nothing happens, and leave nothing of it.

    Parameters
    ----------
    root, folder
        As of a run.
    **options
        What a run is given beside them.
    """
    shutil.rmtree(root, ignore_errors=True)
    run = Run(root, folder, **options)
    run.factory.start()
    try:
        run.play(until=run.is_finished)
        assert run.factory.terminate() == 0
    finally:
        run.factory.kill()
    run.check_outputs()
    history = history_of(run)
    shutil.rmtree(root)
    return history


def history_of(run: Run) -> History:
    """Return what consumers of a run have read and what it left on the volume."""
    outputs: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    for topic, heard in run.heard.items():
        for output in heard:
            outputs[topic, speaker(output)].append(_comparable(output))
    return History(dict(outputs), _files(run.root))


def _unequal(ours: Mapping[str, object], theirs: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Return what differs, by name: our value and theirs, None where there is none."""
    pairs = {name: (ours.get(name), theirs.get(name)) for name in sorted(ours.keys() | theirs.keys())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _comparable(output: dict[str, object]) -> dict[str, object]:
    """Return an output without times and places; JSON texts in it as what they say."""
    fields = {name: _plain(value) for name, value in output.items() if name not in TIMES | PLACES}
    if str(fields["source_id"]).startswith("@"):
        del fields["source_id"]  # a position on the topic
    return fields


def _plain(value: object) -> object:
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name not in TIMES}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _files(root: Path) -> dict[str, str]:
    """Return the hashes of what the lines hold; journals differ in times and places, and are judged by themselves."""
    held = (path for path in (root / "lines").rglob("*") if path.is_file() and path.name != "journal.jsonl")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in held}
