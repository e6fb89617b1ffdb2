"""What earlier releases left is gone on with: volume, recovery store and configuration, in the middle of sessions."""

from __future__ import annotations

import pickle
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest

from dataflow import state
from dataflow.inspect import views
from dataflow.journal import NAME, read_journal
from dataflow.messages import split_source_id
from tests.e2e.factory import DEADLINE, Factory
from tests.e2e.neighbours import FileTopics, parse
from tests.e2e.release import RELEASES
from tests.e2e.scenario import KEYS

VERSIONS = sorted(path.name.removesuffix(".tar.gz") for path in RELEASES.glob("*.tar.gz"))


class Heir:
    """The factory as it is now, on what a release left."""

    def __init__(self, version: str, folder: Path) -> None:
        with tarfile.open(RELEASES / f"{version}.tar.gz") as packed:
            for member in packed:
                packed.extract(member, folder, **SAFELY)
        self.root = folder / "root"
        self.store = folder / "recovery" / "part-0.sqlite3"
        self.factory = Factory(self.root, folder, {})
        self.topics = FileTopics(self.root / "topics")
        self.heard: dict[str, list[dict[str, Any]]] = {name: [] for name in ("reports", "models", "acks")}

    def say(self, stream: str, key: str, **fields: object) -> None:
        self.topics.send(stream, msgspec.json.encode({"key": key, **fields}))

    def hear(self, output: str, key: str, **fields: object) -> dict[str, Any]:
        """Wait for an output of a line that has these fields."""
        return self._wait(lambda: next(self._found(output, {"key": key, **fields}), None))

    def _found(self, output: str, fields: dict[str, object]) -> Iterator[dict[str, Any]]:
        return (each for each in self.heard[output] if fields.items() <= each.items())

    def _wait(self, answer: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE
        while (found := answer()) is None:
            assert time.monotonic() < deadline, self.factory.last_words()
            assert self.factory.is_running(), self.factory.last_words()
            time.sleep(0.01)
            for name, heard in self.heard.items():
                heard += map(parse, self.topics.poll(name))
        return found


SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""The archives are ours; later Pythons want to be told how far they are trusted."""


@pytest.fixture(params=VERSIONS)
def heir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Heir]:
    heir = Heir(request.param, tmp_path)
    yield heir
    heir.factory.kill()


def test_there_is_a_release_to_come_from() -> None:
    assert VERSIONS


def test_sessions_of_a_release_are_finished_by_this_one(heir: Heir) -> None:
    sessions = {line.key: line.session for line in views(heir.root)}
    assert sessions.keys() == set(KEYS)
    heir.factory.start()
    for key, session in sessions.items():
        assert session is not None
        timestamp = session.timestamp
        heir.say("commands", key, type="opt_step", id="new-1", timestamp=timestamp, params=[0.003, 0.0003])
        heir.say("commands", key, type="opt_finalise", id="new-2", timestamp=timestamp, best_i=0)
        assert heir.hear("reports", key, reply_id="new-1")["status"] == "success"
        final = heir.hear("reports", key, reply_id="new-2")
        first = first_step(heir, key)
        assert (final["status"], final["params_dict"]) == ("success", first["params_dict"])
        assert heir.hear("models", key, id=final["model_id"])["path"] == final["model_path"]
        heir.say(
            "datasets", key, path_prefix=f"{key}/b_", buckets_range=[3, 4], version=77, timestamp=4, bucket_count=2
        )
        assert heir.hear("acks", key, version=77)["rows"] == 600
    assert heir.factory.terminate() == 0
    assert [problem for line in views(heir.root) for problem in line.problems] == []
    assert [line.session for line in views(heir.root)] == [None] * len(KEYS)
    check_outputs(heir)


def first_step(heir: Heir, key: str) -> dict[str, Any]:
    """Return the report of the first step of the session that was open, which the release made."""
    metrics = (each for each in heir.heard["reports"] if each["key"] == key and each.get("metrics"))
    return next(metrics)


def check_outputs(heir: Heir) -> None:
    """Every output that journals know stands in its topic once, those of one line in order."""
    for key in KEYS:
        entries = read_journal(heir.root / "lines" / key / NAME, key).entries
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        for output, heard in heir.heard.items():
            said = [each.source_id for entry in entries for each in entry.outputs if each.topic == output]
            read = [each["source_id"] for each in heard if each["key"] == key]
            assert read == said
            assert sorted(set(read), key=split_source_id) == read


def test_recovery_store_of_a_release_names_nothing_but_what_is_still_there(heir: Heir) -> None:
    with closing(sqlite3.connect(heir.store)) as database:
        rows = database.execute("SELECT ser_change FROM snaps WHERE step_id LIKE '%.factory.%'").fetchall()
    states = [pickle.loads(content) for (content,) in rows]
    assert len(states) >= len(KEYS)
    assert all(isinstance(each, state.LineState) and each.schema == state.SCHEMA for each in states)


@pytest.mark.parametrize("where", ["the recovery store", "entry"])
def test_what_a_newer_factory_left_is_refused_in_one_line(where: str, heir: Heir) -> None:
    """A roll-back finds the state of a newer schema: in the snapshot, or where that is lost, in the journal."""
    if where == "entry":
        heir.factory.lose_recovery_store()
        for key in KEYS:
            make_newer(heir.root / "lines" / key / NAME)
    else:
        with closing(sqlite3.connect(heir.store)) as database, database:
            for name, content in database.execute("SELECT rowid, ser_change FROM snaps").fetchall():
                newer = content.replace(b'{"schema":1,', b'{"schema":9,')
                database.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (newer, name))
    heir.factory.start()
    for key in KEYS:
        heir.say("commands", key, type="train", id="new", timestamp=1)
    assert heir.factory.wait() != 0
    (stopped,) = heir.factory.events("stopped")
    text = str(stopped["text"])
    assert text.startswith(where)
    assert text.endswith(
        f"has a line's state of schema 9, this factory knows {state.SCHEMA} and older: start the newer factory"
    )


def make_newer(journal: Path) -> None:
    """Let the last entry of a journal be one of a newer factory."""
    *before, last = journal.read_bytes().splitlines(keepends=True)
    body = last.rpartition(b',"crc"')[0].replace(b'"state":{"schema":1,', b'"state":{"schema":9,')
    journal.write_bytes(b"".join(before) + body + b',"crc":"%08x"}\n' % crc32(body))
