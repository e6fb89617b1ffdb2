"""Dead letters sent again: one suite over both mailboxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from dataflow.config import TOPICS, load_config
from dataflow.decoding import decode
from dataflow.errors import Code
from dataflow.messages import DeadLetter, Position, Raw, Unreadable, dead_letter, encode
from dataflow.replay import FileMailbox, Original, main, whole_message
from dataflow.settings import Limits
from tests.brokers import NoidaDb

LIMITS = Limits(message_bytes=1000)
HALF = b'{"type":"train"'
LONG = b'{"type":"train","id":"' + b"x" * 5000 + b'"}'
ODD = b"\xff\xfe"


class Place(ABC):
    """One input topic, one topic of dead letters, and the environment that names them."""

    environment: dict[str, str]

    @abstractmethod
    def send(self, topic: str, *messages: bytes) -> None:
        """Append messages."""

    @abstractmethod
    def read(self, topic: str) -> list[bytes | None]:
        """Return what a topic has."""

    @abstractmethod
    def offsets(self) -> Sequence[int]:
        """Return where the first messages on the commands topic stand."""

    def refuse(self, *messages: bytes) -> list[str]:
        """Send messages that become dead letters, as the flow makes them; return the letters' source ids."""
        self.send(TOPICS["commands"], *messages)
        letters = [self._letter(message, offset) for message, offset in zip(messages, self.offsets(), strict=True)]
        self.send(TOPICS["dead_letters"], *(encode(letter) for letter in letters))
        return [letter.source_id for letter in letters]

    def _letter(self, message: bytes, offset: int) -> DeadLetter:
        origin = f"factory_commands[0]@{offset}"
        decoded = decode(Raw(Position("commands", "0", offset), message, origin=origin, time=1_600_000_000_000), LIMITS)
        assert isinstance(decoded, Unreadable)
        return dead_letter(decoded)


P = TypeVar("P", bound=Place)


class Files(Place):
    def __init__(self, folder: Path) -> None:
        self._topics = folder / "data" / "topics"
        self._topics.mkdir(parents=True)
        self.environment = {"FACTORY_DATA_ROOT": str(folder / "data")}

    def send(self, topic: str, *messages: bytes) -> None:
        with (self._topics / f"{topic}.jsonl").open("ab") as file:
            file.write(b"".join(message + b"\n" for message in messages))

    def read(self, topic: str) -> list[bytes | None]:
        return [*(self._topics / f"{topic}.jsonl").read_bytes().splitlines()]

    def offsets(self) -> Sequence[int]:
        starts = [0]
        for message in self.read(TOPICS["commands"])[:-1]:
            starts.append(starts[-1] + len(message or b"") + 1)
        return starts


class Kafka(Place):
    def __init__(self, folder: Path, broker: NoidaDb) -> None:
        self.broker = broker
        for topic in TOPICS.values():
            broker.make_topic(name=topic)
        settings = folder / "factory.toml"
        settings.write_text('connector = "kafka"\n[kafka]\nconnect_timeout = 120.0\n')
        self.environment = {"FACTORY_CONFIG": str(settings), "FACTORY_BROKERS": broker.address}

    def send(self, topic: str, *messages: bytes) -> None:
        self.broker.send(topic, *messages, key=b"harbour")

    def read(self, topic: str) -> list[bytes | None]:
        return self.broker.values(topic)

    def offsets(self) -> Sequence[int]:
        return range(len(self.read(TOPICS["commands"])))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    return configured(Files(tmp_path), monkeypatch)


@pytest.fixture
def kafka(tmp_path: Path, own_noida: NoidaDb, monkeypatch: pytest.MonkeyPatch) -> Kafka:
    return configured(Kafka(tmp_path, own_noida), monkeypatch)


@pytest.fixture(params=["files", "kafka"])
def place(request: pytest.FixtureRequest) -> Place:
    place: Place = request.getfixturevalue(request.param)
    return place


def configured(place: P, monkeypatch: pytest.MonkeyPatch) -> P:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    return place


def test_replay_lists_what_it_would_send(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    source_ids = place.refuse(HALF, LONG, ODD)
    assert main([]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in printed] == source_ids
    assert "2020-09-13T12:26:40+00:00\tunreadable\tfactory_commands[0]@0\texpected a JSON object" in printed[0]
    assert place.read(TOPICS["commands"]) == [HALF, LONG, ODD]


def test_replay_sends_every_message_as_it_came(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    source_ids = place.refuse(HALF, LONG, ODD)
    assert main(["--send"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"sent {source_id}" for source_id in source_ids]
    assert place.read(TOPICS["commands"]) == [HALF, LONG, ODD, HALF, LONG, ODD]


def test_replay_sends_what_is_chosen(place: Place) -> None:
    source_ids = place.refuse(HALF, LONG, ODD)
    assert main([source_ids[1], source_ids[2], "--code", "unreadable", "--stream", "commands", "--send"]) == 0
    assert place.read(TOPICS["commands"])[3:] == [LONG, ODD]


@pytest.mark.parametrize(
    "choice", [["--key", "harbour"], ["--code", "missing_bucket"], ["--stream", "datasets"], ["x"]]
)
def test_replay_that_finds_no_letter_says_so(place: Place, choice: list[str]) -> None:
    place.refuse(HALF)
    assert main([*choice, "--send"]) == 1
    assert place.read(TOPICS["commands"]) == [HALF]


def test_replay_names_what_is_no_dead_letter(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.send(TOPICS["dead_letters"], b'{"reason":1}')
    assert main([]) == 2
    assert "expected a dead letter of this factory" in capsys.readouterr().err


def test_replay_keeps_the_record_key_and_tells_what_was_replayed(kafka: Kafka) -> None:
    (source_id,) = kafka.refuse(HALF)
    assert main(["--send"]) == 0
    again = kafka.broker.read(TOPICS["commands"])[-1]
    assert (again.key(), again.headers()) == (b"harbour", [("replay-of", source_id.encode())])


def test_replay_sends_what_the_letter_repeats_where_the_topic_has_forgotten(kafka: Kafka) -> None:
    kafka.refuse(HALF, LONG)
    kafka.broker.expire(TOPICS["commands"], before=2)
    assert main(["--send"]) == 1
    assert kafka.read(TOPICS["commands"]) == [HALF]


def test_replay_without_brokers_says_why(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    kafka.broker.stop()
    settings = Path(kafka.environment["FACTORY_CONFIG"])
    settings.write_text(settings.read_text().replace("120.0", "1.0"))
    assert main([]) == 2
    assert "answered within 1 s" in capsys.readouterr().err


LETTER = DeadLetter(
    reason="", error_code=Code.UNREADABLE, origin="", stream="commands", partition="0", offset=0,
    original="abc", encoding="utf-8", size=3,
)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "found", "whole"),
    [
        (3, Original(b"abc", b"k"), Original(b"abc", b"k")),
        (3, Original(b"abcd"), Original(b"abc")),
        (3, Original(b"other"), Original(b"abc")),
        (3, None, Original(b"abc")),
        (9, Original(b"abcdefghi", b"k"), Original(b"abcdefghi", b"k")),
        (9, Original(b"other"), None),
        (9, None, None),
    ],
)
def test_replay_trusts_a_topic_only_where_it_agrees_with_the_letter(
    size: int, found: Original | None, whole: Original | None
) -> None:
    assert whole_message(replace(LETTER, size=size), found) == whole


def test_replay_without_a_file_of_dead_letters_has_none(tmp_path: Path) -> None:
    mailbox = FileMailbox(load_config(None, {"FACTORY_DATA_ROOT": str(tmp_path)}))
    assert mailbox.letters() == []


def test_replay_says_what_cannot_be_sent(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.refuse(LONG)
    (tmp_path / "data" / "topics" / "factory_commands.jsonl").write_bytes(b"made anew\n")
    assert main(["--send"]) == 1
    assert "factory_commands[0]@0 is gone, and the letter holds a part only" in capsys.readouterr().out
