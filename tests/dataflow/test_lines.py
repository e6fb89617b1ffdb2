"""Effects become real in one order, killed at any call; nothing is lost or said twice."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dataflow import logs, metrics, perform
from dataflow.errors import FactoryFault
from dataflow.journal import ADOPTED, NAME, Emission, Entry, Journal, read_journal
from dataflow.lines import Lines
from dataflow.messages import Message, split_source_id
from dataflow.state import LineState
from tests.dataflow.workshop import HEADER, Workshop, held_open, make_workshop, rows

STEP = {"params": [0.01, 0.001]}
OTHER_STEP = {"params": [0.001, 0.0005]}


@pytest.fixture(autouse=True)
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every stage take no time, so that outputs are equal to the byte, and leave out what only power loss tells."""
    monkeypatch.setattr(perform, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path / "root")


class Worker:
    """The life of one worker process, from a start to a crash; `states` are what Bytewax would keep of it."""

    def __init__(self, workshop: Workshop, more: str = "", states: dict[str, LineState] | None = None) -> None:
        self.now = 0.0
        self.lines = Lines(workshop.config(more), clock=lambda: self.now)
        self.states: dict[str, LineState] = dict(states or {})

    def feed(self, *messages: Message) -> list[Emission]:
        outputs: list[Emission] = []
        for message in messages:
            self.states[message.key], new = self.lines(self.states.get(message.key), message)
            outputs += new
        return outputs


def codes(outputs: Sequence[Emission]) -> list[str]:
    """Return what was said, in short: an error's code, else the topic."""
    said = [msgspec.json.decode(each.content) for each in outputs]
    return [content.get("error_code", each.topic) for content, each in zip(said, outputs, strict=True)]


def deduplicated(outputs: Sequence[Emission]) -> list[Emission]:
    """Return what a sink writes: it skips what is at or below the highest rank of its owner."""
    marks: dict[str, tuple[int, ...]] = {}
    written = []
    for each in outputs:
        owner, rank = split_source_id(each.source_id)
        if rank > marks.get(owner, (0,)):
            marks[owner] = rank
            written.append(each)
    return written


def volume(workshop: Workshop) -> dict[str, bytes]:
    """Return all that the lines hold."""
    folder = workshop.root / "lines"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def session(workshop: Workshop) -> list[Message]:
    """Return a conversation that makes and deletes every kind of file, and is refused now and then."""
    return [
        workshop.command("train"),  # there is no dataset
        workshop.notice(0, (0, 1)),
        workshop.command("opt_initialise"),
        workshop.command("opt_step", STEP),
        workshop.notice(0, (1, 2)),  # the same version with other content, while the first is locked
        workshop.command("opt_step", {"params": [7, 7]}),
        workshop.notice(1, (9,)),  # there is no such bucket
        workshop.command("train"),
        workshop.command("opt_step", OTHER_STEP),
        workshop.command("opt_finalise", best_i=2),
        workshop.command("opt_step", STEP),  # there is no session
        workshop.command("train"),
    ]


SAID = [
    "no_dataset", "acks", "reports", "acks", "bad_params", "missing_bucket", "reports", "models", "reports",
    "reports", "models", "no_session", "reports", "models",
]  # fmt: skip


def test_session_leaves_what_the_state_names_and_says_everything_once(workshop: Workshop) -> None:
    worker = Worker(workshop, "keep_models = 2\n")
    outputs = worker.feed(*session(workshop))
    assert codes(outputs) == SAID
    assert deduplicated(outputs) == outputs
    held = {name.removeprefix("k/") for name in volume(workshop)} - {NAME}
    assert held == worker.states["k"].files()
    assert {name for name in held if name.startswith("models/")} == {"models/model_4.spst", "models/model_5.spst"}


def test_lines_do_not_touch_each_other(workshop: Workshop) -> None:
    alone = Worker(workshop).feed(*session(workshop))
    other = make_workshop(workshop.root.parent / "other")
    conversation = session(other)
    strangers = [msgspec.structs.replace(message, key="x") for message in session(other)]
    (other.root / "broken.sre").write_text("(")
    mixed = Worker(other, '[lines.x]\npattern = "broken.sre"\n').feed(
        *itertools.chain(*zip(strangers, conversation, strict=True))
    )
    ours = [each for each in mixed if each.source_id.startswith("k/")]
    assert [each.source_id for each in ours] == [each.source_id for each in alone]
    theirs = [each for each in mixed if each.source_id.startswith("x/")]
    assert set(codes(theirs)) == {"no_dataset", "acks", "bad_pattern", "missing_bucket", "bad_params", "invalid_best_i"}


# --- replay


def test_known_messages_are_passed_by(workshop: Workshop) -> None:
    worker, conversation = Worker(workshop), session(workshop)
    worker.feed(*conversation)
    before, state = volume(workshop), worker.states["k"]
    assert worker.feed(*conversation) == []
    assert (volume(workshop), worker.states["k"]) == (before, state)


@pytest.mark.parametrize("reader", [lambda state: state, lambda state: pickle.loads(pickle.dumps(state))])
def test_replay_from_any_snapshot_gives_the_same(workshop: Workshop, reader: Callable[[Any], Any]) -> None:
    conversation, worker = session(workshop), Worker(workshop)
    said = [worker.feed(message) for message in conversation]
    states: list[LineState | None] = [None]
    (workshop.root / "lines").rename(workshop.root / "whole")
    worker = Worker(workshop)
    states += [worker.states["k"] for message in conversation if worker.feed(message) is not None]
    before = volume(workshop)
    for handled, snapshot in enumerate(states):
        restarted = Worker(workshop, states={"k": reader(snapshot)} if snapshot else None)
        outputs = [restarted.feed(message) for message in conversation[handled:]]
        expected = [each for new in said[handled:] for each in new]
        assert outputs == ([expected] + [[]] * (len(outputs) - 1) if outputs else [])
        assert volume(workshop) == before
        if outputs:
            assert restarted.states["k"] == states[-1]


def test_whole_journal_is_the_backlog_when_the_recovery_store_is_lost(workshop: Workshop) -> None:
    conversation = session(workshop)
    said = Worker(workshop).feed(*conversation)
    restarted = Worker(workshop)
    assert restarted.feed(conversation[0]) == said
    assert restarted.feed(*conversation[1:]) == []


def test_rejected_command_stays_rejected_when_the_dataset_comes_first_in_the_replay(workshop: Workshop) -> None:
    """Every rejection that another order of arrival would have avoided, replayed in that order."""
    commands = [
        workshop.command("train"),
        workshop.command("opt_sweep", {"params": [STEP["params"]]}),
        workshop.command("opt_initialise"),
        workshop.command("opt_step", STEP),
        workshop.command("opt_finalise", best_i=0),
        workshop.command("opt_abort"),
    ]
    notice = workshop.notice()
    said = Worker(workshop).feed(*commands, notice)
    assert codes(said) == ["no_dataset", "no_dataset", "no_dataset", "no_session", "acks"]
    before = volume(workshop)
    assert Worker(workshop).feed(notice, *commands) == said
    assert volume(workshop) == before


@pytest.mark.parametrize("rejected", ["train", "opt_initialise", "opt_sweep"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_order_of_arrival_that_was_journalled_is_the_one_that_counts(
    workshop: Workshop, rejected: str, order: tuple[int, int]
) -> None:
    params = {"params": [STEP["params"]]} if rejected == "opt_sweep" else None
    pair = workshop.command(rejected, params), workshop.notice()
    said = Worker(workshop).feed(*(pair[place] for place in order))
    assert ("no_dataset" in codes(said)) == (order == (0, 1))
    for replay in itertools.permutations(pair):
        assert Worker(workshop).feed(*replay) == said


# --- crashes


class Killed(BaseException):
    """What SIGKILL is to a process: nothing of it runs any further."""


class Killer:
    """Counts what reaches the operating system, and ends everything at a chosen call; a write gets half through."""

    CALLS = ("open", "write", "replace", "unlink", "mkdir", "ftruncate", "close")

    def __init__(self, at: int) -> None:
        self.calls, self._at = 0, at

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in self.CALLS:
            patch.setattr(os, name, self._deadly(name, getattr(os, name)))

    def _deadly(self, name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if name == "close":
                return really(*arguments)
            self.calls += 1
            if self.calls == self._at and name == "write":
                really(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            if self.calls >= self._at:
                raise Killed
            return really(*arguments, **named)

        return call


def survive(
    workshop: Workshop, conversation: list[Message], kills: Iterator[int], lose_store: bool, more: str = ""
) -> list[Emission]:
    """Play a conversation, killed after so many calls each time; return what reached the sinks."""
    heard: list[Emission] = []
    states: dict[str, LineState] = {}
    for at in kills:
        worker = Worker(workshop, more, states=None if lose_store else states)
        killer = Killer(at)
        with pytest.MonkeyPatch.context() as patch:
            killer.install(patch)
            try:
                for place, message in enumerate(conversation):
                    worker.now = float(place) if more else 0.0
                    heard += worker.feed(message)
                    if place == len(conversation) // 2:
                        states = dict(worker.states)  # a snapshot that is older than the crash
            except Killed:
                continue
        return heard
    raise AssertionError("it never got through")


def crash_session(workshop: Workshop) -> list[Message]:
    """Return a conversation that is short, and makes and deletes every kind of file."""
    return [
        workshop.command("train"),
        workshop.notice(0, (0, 1)),
        workshop.command("opt_initialise"),
        workshop.command("opt_step", STEP),
        workshop.notice(0, (1, 2)),
        workshop.command("opt_finalise", best_i=0),
    ]


@pytest.mark.parametrize("first", [1, *(pytest.param(other, marks=pytest.mark.slow) for other in (2, 3, 4))])
def test_killed_at_any_call_nothing_is_lost_or_said_twice(tmp_path: Path, first: int) -> None:
    """Every fourth call from the first on: together they are all."""
    undisturbed = make_workshop(tmp_path / "root")
    conversation = crash_session(undisturbed)
    killer = Killer(10**9)
    with pytest.MonkeyPatch.context() as patch:
        worker = Worker(undisturbed)
        killer.install(patch)
        expected = worker.feed(*conversation)
    files = volume(undisturbed)
    assert killer.calls > 50
    for at in range(first, killer.calls + 1, 4):
        (tmp_path / "root").rename(tmp_path / f"before {at}")
        workshop = make_workshop(tmp_path / "root")
        heard = survive(workshop, conversation, iter([at, 10**9]), lose_store=at % 8 < 4)
        assert deduplicated(heard) == expected, f"killed at call {at}"
        assert volume(workshop) == files, f"killed at call {at}"


def test_killed_again_and_again_it_gets_through(tmp_path: Path) -> None:
    undisturbed = make_workshop(tmp_path / "root")
    conversation = crash_session(undisturbed)
    expected = Worker(undisturbed).feed(*conversation)
    files = volume(undisturbed)
    (tmp_path / "root").rename(tmp_path / "undisturbed")
    workshop = make_workshop(tmp_path / "root")
    heard = survive(workshop, conversation, itertools.count(20), lose_store=False)
    assert deduplicated(heard) == expected
    assert volume(workshop) == files


@pytest.mark.parametrize("lose_store", [False, True])
def test_killed_while_journals_are_compacted_it_gets_through(tmp_path: Path, lose_store: bool) -> None:
    """Hardly anything is kept: what is dropped has been said, so it is neither lost nor said twice."""
    undisturbed = make_workshop(tmp_path / "root")
    conversation = session(undisturbed)
    expected = Worker(undisturbed).feed(*conversation)
    files = {name: content for name, content in volume(undisturbed).items() if not name.endswith(NAME)}
    (tmp_path / "root").rename(tmp_path / "undisturbed")
    workshop = make_workshop(tmp_path / "root")
    keep = "[journal]\nentries = 1\nhours = 1e-6\n"
    heard = survive(workshop, conversation, itertools.count(12), lose_store, keep)
    assert deduplicated(heard) == expected
    assert {name: content for name, content in volume(workshop).items() if not name.endswith(NAME)} == files
    assert len(read_journal(journal(workshop), "k").entries) < len(conversation)


def test_our_disk_failing_answers_nothing_and_is_handled_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = session(workshop)[:4]
    worker = Worker(workshop)
    said = worker.feed(*conversation[:3])

    def refuse(fd: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(FactoryFault, match="No space left"):
            worker.feed(conversation[3])
    restarted = Worker(workshop, states=worker.states)
    assert codes(said + restarted.feed(conversation[3])) == SAID[:3]


# --- journal and snapshot that do not fit


def journal(workshop: Workshop) -> Path:
    return workshop.root / "lines" / "k" / NAME


@pytest.mark.parametrize("kept", range(5))
def test_snapshot_beyond_the_journal_is_adopted_and_nothing_is_said_again(workshop: Workshop, kept: int) -> None:
    conversation = session(workshop)
    worker = Worker(workshop)
    said = worker.feed(*conversation[:6])
    content = journal(workshop).read_bytes().splitlines(keepends=True)
    journal(workshop).write_bytes(b"".join(content[: 1 + kept]))  # its tail is lost
    restarted = Worker(workshop, states=worker.states)
    said += restarted.feed(*conversation)
    assert codes(said) == SAID
    assert deduplicated(said) == said
    entries = read_journal(journal(workshop), "k").entries
    assert [entry.seq for entry in entries] == [*range(1, kept + 1), *range(6, 13)]
    assert entries[kept].message == ADOPTED


@pytest.mark.parametrize("store_is_lost", [False, True])
def test_journal_that_is_missing_stops_the_factory(workshop: Workshop, store_is_lost: bool) -> None:
    conversation, worker = session(workshop), Worker(workshop)
    worker.feed(*conversation[:4])
    journal(workshop).unlink()
    with pytest.raises(FactoryFault, match=r"is missing.*right volume"):
        Worker(workshop, states=None if store_is_lost else worker.states).feed(conversation[4])


def test_wrong_volume_stops_the_factory_and_is_not_written_to(workshop: Workshop) -> None:
    conversation, worker = session(workshop), Worker(workshop)
    worker.feed(*conversation[:4])
    other = make_workshop(workshop.root.parent / "other")
    with pytest.raises(FactoryFault, match="right volume"):
        Worker(other, states=worker.states).feed(conversation[4])
    assert not (other.root / "lines").exists()


def test_journal_of_a_newer_factory_stops_this_one(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = session(workshop)
    with monkeypatch.context() as patch:
        patch.setattr("dataflow.journal.SCHEMA", 2)
        Worker(workshop).feed(conversation[0])
    with pytest.raises(FactoryFault, match="start the newer factory"):
        Worker(workshop).feed(conversation[0])


def test_outputs_that_compaction_dropped_are_not_repeated(workshop: Workshop) -> None:
    conversation = session(workshop)
    worker = Worker(workshop, "[journal]\nentries = 4\nhours = 1e-6\n")
    said = []
    for worker.now, message in enumerate(conversation):
        said += worker.feed(message)
    kept = read_journal(journal(workshop), "k").entries
    assert 4 <= len(kept) < len(conversation)
    repeated = Worker(workshop).feed(conversation[0])
    assert repeated == [each for each in said if int(each.source_id.split("/")[1]) >= kept[0].seq]


def test_deletions_of_the_last_entry_are_repeated(workshop: Workshop) -> None:
    conversation, worker = session(workshop), Worker(workshop)
    worker.feed(*conversation[:10])
    step = workshop.root / "lines" / "k" / "models" / "model_1.spst"
    assert not step.exists()
    step.write_text("a crash came before it was deleted")
    Worker(workshop, states=worker.states).feed(conversation[9])
    assert not step.exists()


# --- commands that wait


WAITING = "wait_for_dataset_seconds = 0\n"


def test_waiting_command_is_released_by_its_dataset_and_handled_as_a_message_of_its_own(workshop: Workshop) -> None:
    worker = Worker(workshop, WAITING)
    waiting = [workshop.command("train"), workshop.command("opt_initialise"), workshop.command("opt_step", STEP)]
    assert worker.feed(*waiting) == []
    outputs = worker.feed(workshop.notice(timestamp=7))
    assert codes(outputs) == ["acks", "reports", "models", "reports"]
    assert [each.source_id for each in outputs] == ["k/4/0", "k/5/0", "k/5/1", "k/7/0"]


@pytest.mark.parametrize("kept", [4, 5, 6])
def test_command_that_was_not_released_before_a_crash_is_released_after_it(workshop: Workshop, kept: int) -> None:
    worker = Worker(workshop, WAITING)
    messages = [workshop.command("train"), workshop.command("opt_initialise"), workshop.command("opt_step", STEP)]
    messages.append(workshop.notice(timestamp=7))
    said = worker.feed(*messages)
    content = journal(workshop).read_bytes().splitlines(keepends=True)
    journal(workshop).write_bytes(b"".join(content[: 1 + kept]))  # the crash came before the rest
    restarted = Worker(workshop, WAITING)
    heard = restarted.feed(messages[0])
    assert heard == said
    assert restarted.states == worker.states


# --- what lasts


@pytest.mark.parametrize("durability", ["full", "process"])
def test_entry_that_announces_or_deletes_something_is_always_flushed(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    flushed: dict[str, bool] = {}

    def record(self: Journal, entry: Entry, *, durable: bool) -> None:
        flushed[f"{entry.seq} {entry.message}"] = durable

    monkeypatch.setattr(Journal, "append", record)
    workshop.environment["FACTORY_DURABILITY"] = durability
    Worker(workshop).feed(
        workshop.notice(),
        workshop.command("opt_initialise"),
        workshop.command("opt_step", STEP),
        workshop.command("opt_initialise", timestamp=8),  # drops the first session and its model
    )
    needless = durability == "full"
    assert flushed == {
        "1 dataset": True,
        "2 opt_initialise": needless,
        "3 opt_step": True,
        "4 opt_initialise": True,
    }


def test_compaction_drops_nothing_that_the_same_message_brought_about(workshop: Workshop) -> None:
    messages_ahead = [workshop.command("train") for _ in range(4)]
    keep = WAITING + "[journal]\nentries = 1\nhours = 1e-6\n"
    worker = Worker(workshop, keep)
    worker.lines = Lines(workshop.config(keep), clock=itertools.count().__next__)  # whatever is written is old at once
    worker.feed(*messages_ahead)
    snapshots = dict(worker.states)
    said = worker.feed(workshop.notice(timestamp=7))
    assert codes(said) == ["acks", *["reports", "models"] * 4]
    for _ in range(2):  # each crashes before anything was emitted
        restarted = Worker(workshop, keep, states=snapshots)
        restarted.now = 1e9
        assert restarted.feed(messages_ahead[0]) == said


# --- what people see


def test_message_is_logged_and_counted(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[tuple[Any, ...]] = []

    def record(key: str, message: str, result: str, seconds: dict[str, float], **fields: object) -> None:
        handled.append((key, message, result, sorted(seconds), fields["error_code"], fields["seq"]))

    counted: list[tuple[str, str]] = []
    monkeypatch.setattr(logs, "handled", record)
    monkeypatch.setattr(metrics, "command", lambda kind, status: counted.append((kind, status)))
    worker = Worker(workshop)
    fail = workshop.command("opt_initialise", timestamp=1)
    silent = workshop.command("opt_step", STEP, timestamp=1)
    init, step = workshop.command("opt_initialise"), workshop.command("opt_step", STEP)
    again = workshop.command("opt_initialise")
    worker.feed(fail, silent, workshop.notice(), init, step, again)
    assert handled == [
        ("k", "opt_initialise", "error", ["commit"], "no_dataset", 1),
        ("k", "opt_step", "silent", ["commit"], None, 2),
        ("k", "dataset", "success", ["assemble", "commit"], None, 3),
        ("k", "opt_initialise", "success", ["commit"], None, 4),
        ("k", "opt_step", "success", ["commit", "fit", "prepare", "save", "score"], None, 5),
        ("k", "opt_initialise", "repeat", ["commit"], None, 6),
    ]
    assert counted == [(kind, result) for _, kind, result, *_ in handled if kind != "dataset"]


def test_many_lines_hold_no_file_open(workshop: Workshop) -> None:
    worker = Worker(workshop)
    train = workshop.command("train")
    worker.feed(*(msgspec.structs.replace(train, key=f"k{number}") for number in range(60)))
    assert held_open(workshop.root) == []


def test_bad_rows_refuse_the_command_and_leave_the_session_open(workshop: Workshop) -> None:
    workshop.bucket(0, HEADER + "1,A,\n" * 10 + rows(0))
    outputs = Worker(workshop).feed(
        workshop.notice(0, (0,)),
        workshop.command("opt_initialise"),
        workshop.command("opt_step", STEP),
        workshop.notice(1, (1,)),
        workshop.command("opt_abort"),
        workshop.command("train"),
    )
    assert codes(outputs) == ["acks", "bad_dataset", "acks", "reports", "reports", "models"]
