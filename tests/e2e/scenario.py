"""The fixed scenario: three model lines, each with datasets, sessions, trainings and mistakes of its own.

A line's conversation is one fixed sequence; a message is sent once everything that the messages before it are answered
with has been read. So what one line says and hears is the same in every run, however the lines interleave. Messages
that are met with silence are followed, on the same topic, by one that is answered: only then is their order fixed too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

KEYS = ("north", "east.2", "South_3")
ROWS = 300
"""Rows of a bucket: training takes milliseconds, and a kill can land in every stage of it."""

PATTERN = ";(IsEventTypePredicate(A),IsEventTypePredicate(B)){order:2}{partitionBy:entity}"
CONFIG = """
log_level = "debug"
[defaults]
pattern = "pattern.sre"
min_events = 20
keep_models = 2
max_order = 3
k_max = 5
baseline = { order = 2, p_min = 0.001, gamma = 0.0005, threshold = 0.3, k = 5 }
[limits]
message_bytes = 4096
"""


@dataclass(frozen=True)
class Say:
    """One message, and the outputs that must be read before the next: the logical name of a topic for each."""

    stream: str
    message: bytes
    answers: tuple[str, ...]


def prepare(root: Path, settings: Path, keys: Sequence[str] = KEYS) -> None:
    """Write the configuration, the pattern and every bucket of the scenario."""
    settings.mkdir(exist_ok=True)
    (settings / "factory.toml").write_text(CONFIG)
    (settings / "pattern.sre").write_text(PATTERN)
    for key in keys:
        folder = root / "buckets" / key
        folder.mkdir(parents=True)
        for bucket in range(5):
            (folder / f"b_{bucket}").write_text(_rows(random.Random(f"{key} {bucket}"), bucket))


def conversations(root: Path, keys: Sequence[str] = KEYS) -> dict[str, tuple[Say, ...]]:
    """Return what is said to every line."""
    return {key: tuple(_conversation(_Voice(key, root))) for key in keys}


def _rows(rng: random.Random, bucket: int) -> str:
    rows = (
        f"{bucket * ROWS + row},{rng.choice('AABCDE')},e{rng.randint(1, 3)},{rng.random():.3f}\n" for row in range(ROWS)
    )
    return "timestamp,type,entity,value\n" + "".join(rows)


class _Voice:
    """Makes the messages of one line: numbered, with the line's key."""

    def __init__(self, key: str, root: Path) -> None:
        self.key = key
        self._prefix = str(root / "buckets" / key / "b_")
        self._number = 0

    def notice(self, version: int, *buckets: int, answer: str = "acks") -> Say:
        content = {"path_prefix": self._prefix, "buckets_range": buckets, "version": version, "timestamp": buckets[-1]}
        return Say("datasets", self._json(content), (answer,))

    def command(self, kind: str, *answers: str, **fields: object) -> Say:
        self._number += 1
        return Say("commands", self._json({"type": kind, "id": f"{self.key}-{self._number}", **fields}), answers)

    def train(self) -> Say:
        return self.command("train", "reports", "models", timestamp=7)

    def step(self, session: int, *params: float) -> Say:
        text = msgspec.json.encode({"params": params}).decode()
        return self.command("opt_step", "reports", timestamp=session, params=text)

    def noise(self, text: str) -> Say:
        return Say("commands", b'{"key":"%s",%s' % (self.key.encode(), text.encode()), ("dead_letters",))

    def _json(self, content: dict[str, object]) -> bytes:
        return msgspec.json.encode({"key": self.key, **content})


def _conversation(say: _Voice) -> Iterator[Say]:
    """Every kind of message in every order that matters; about thirty outputs."""
    yield say.command("opt_initialise", "reports", timestamp=10)  # there is no dataset: the one error, then silence
    yield say.command("opt_step", timestamp=10, params=[0.01, 0.001])
    yield say.command("train", "reports", timestamp=1)
    yield say.noise('"type":"train"')  # half an object
    yield say.notice(0, 0, 1)
    yield say.train()
    yield say.command("opt_initialise", timestamp=20)
    yield say.step(20, 0.01, 0.001)
    yield say.step(20, 0.001, 0.0005)
    yield say.notice(1, 1, 2)  # the session keeps the first dataset
    yield say.step(20, 0.01, 0.001)  # equal params under a new id: a step of its own
    yield say.step(20, 7.0, 0.001)  # out of range
    yield say.train()  # on the second dataset, in the middle of the session
    yield say.notice(2, 2, 99, answer="dead_letters")  # a bucket is missing
    yield say.command("opt_finalise", "reports", timestamp=20, best_i=3)  # the step that failed
    yield say.command("opt_finalise", "reports", "models", timestamp=20, best_i=1)
    yield say.command("opt_finalise", timestamp=20, best_i=1)  # a repeat: silence
    yield say.step(20, 0.01, 0.001)  # no session
    yield say.noise('"type":"opt_step","params":"%s"}' % ("x" * 5000))  # too long
    yield say.notice(0, 2, 3)  # a collector that started anew
    grid = [[0.01, 0.001], [0.001, 0.0001]]
    yield say.command("opt_sweep", "reports", timestamp=30, params={"params": grid})
    yield say.command("opt_initialise", timestamp=30)
    yield say.step(30, 0.02, 0.0)
    yield say.command("opt_initialise", timestamp=40)  # replaces the session that is open
    yield say.step(40, 0.005, 0.0)
    yield say.step(40, 0.0005, 0.0)
    yield say.notice(3, 3, 4)
    yield say.command("opt_abort", "reports", timestamp=40)
    yield say.command("opt_initialise", timestamp=50)
    yield say.step(50, 0.002, 0.001)
    yield say.command("opt_finalise", "reports", "models", timestamp=50, best_i=0)
    yield say.train()
