"""The soak: sessions without end over many lines, and what the process holds, sample by sample.

`python -m tests.bench.soak 30` runs for half an hour and writes `tests/bench/soak.json`, one sample a minute. What must
stay level after the first sixth: memory, open files, what lines hold on the volume, the recovery store, snapshot time.
Topic files grow by design; they are listed apart.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec

from tests.brokers import free_port
from tests.e2e.factory import DEADLINE, Factory
from tests.e2e.neighbours import FileTopics

LINES = 200
RATE = 50
"""Commands a second, if the machine has time for them."""

OUTSTANDING = 200
"""Answers that may be missing before no more is said: a busy machine makes a soak longer, not different."""

STEPS = 15
SESSION = STEPS + 3
"""Messages: a dataset, opt_initialise, the steps, opt_finalise."""

BUCKETS, BUCKET_ROWS = 8, 300
RECORD = Path(__file__).with_name("soak.json")
CONFIG = """\
log_level = "warning"
[defaults]
pattern = "pattern.sre"
max_order = 3
k_max = 5
keep_models = 2
[journal]
entries = {entries}
hours = 0.0
[memory]
prepared_mib = 32
symbols_mib = 8
"""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the process holds at one moment; sizes in bytes."""

    seconds: float
    commands: int
    resident: int
    open_files: int
    lines: int
    recovery: int
    snapshot_ms: float
    topics: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A soak as it is kept: how many lines, the commands a second that were wished for, and one sample a minute."""

    machine: str
    lines: int
    rate: int
    samples: list[Sample]


class Soak:
    """A factory over files, and sessions on all its lines.

    Parameters
    ----------
    folder : Path
        Empty.
    lines : int
        How many.
    entries : int
        Entries that a journal keeps: all have been compacted when every line has had half as many again.
    """

    def __init__(self, folder: Path, lines: int, entries: int) -> None:
        self.folder, self.root, self._port, self._lines = folder, folder / "root", free_port(), lines
        (folder / "settings").mkdir()
        (folder / "settings" / "factory.toml").write_text(CONFIG.format(entries=entries))
        (folder / "settings" / "pattern.sre").write_text(";(GTE(value,5),LT(value,5)){order:2}{partitionBy:entity}")
        (self.root / "buckets").mkdir(parents=True)
        for bucket in range(BUCKETS):
            rows = (f"{row},{row % 3},{row * (bucket + 7) % 11}\n" for row in range(BUCKET_ROWS))
            (self.root / "buckets" / f"b_{bucket}").write_text("timestamp,entity,value\n" + "".join(rows))
        api = {"ENABLED": "yes", "PORT": str(self._port), "CACHE_PATH": str(folder)}
        self.factory = Factory(
            self.root, folder, {f"BYTEWAX_DATAFLOW_API_{name}": value for name, value in api.items()}
        )
        self._topics = FileTopics(self.root / "topics")
        self._missing = {"acks": 0, "reports": 0}
        self.commands, self.started, self._snapshots = 0, time.monotonic(), (0.0, 0.0)

    def rounds(self) -> Iterator[int]:
        """Say the next thing to every line, again and again: a dataset, then a session on it; yield rounds from 0."""
        self.factory.start()
        for number in count():
            for line in range(self._lines):
                said = number - line % SESSION  # so that lines are at different places of their sessions
                if said >= 0:
                    self._say(f"line-{line}", *divmod(said, SESSION))
            yield number

    def sample(self) -> Sample:
        """Look at the process and its files, once everything that was said is answered."""
        self._listen(at_most=0)
        pid = int((self.root / ".lease").read_text())
        resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        assert resident is not None
        return Sample(
            seconds=round(time.monotonic() - self.started, 1),
            commands=self.commands,
            resident=int(resident[1]) * 1024,
            open_files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
            lines=_bytes_below(self.root / "lines"),
            recovery=_bytes_below(self.folder / "recovery"),
            snapshot_ms=round(self._snapshot_ms(), 3),
            topics=_bytes_below(self.root / "topics"),
        )

    def _say(self, key: str, session: int, turn: int) -> None:
        if turn == 0:
            buckets = [(session + place) % BUCKETS for place in range(2)]
            notice = {"path_prefix": "b_", "buckets_range": buckets, "version": session, "timestamp": session}
            self._send("datasets", {"key": key, **notice}, "acks")
            return
        kind = {1: "opt_initialise", STEPS + 2: "opt_finalise"}.get(turn, "opt_step")
        command: dict[str, Any] = {"key": key, "type": kind, "id": self.commands, "timestamp": session, "best_i": 0}
        if kind == "opt_step":
            command["params"] = {"params": [0.01 / 1.3**turn, 0.0005]}
        self.commands += 1
        self._send("commands", command, None if kind == "opt_initialise" else "reports")
        time.sleep(max(0.0, self.started + self.commands / RATE - time.monotonic()))

    def _send(self, stream: str, message: dict[str, Any], answer: str | None) -> None:
        self._topics.send(stream, msgspec.json.encode(message))
        if answer:
            self._missing[answer] += 1
        if stream == "datasets" or sum(self._missing.values()) > OUTSTANDING:
            self._listen(at_most=OUTSTANDING if stream == "commands" else 0)

    def _listen(self, at_most: int) -> None:
        """Read answers until only so many are missing; the factory must go on all the while."""
        deadline = time.monotonic() + DEADLINE
        while True:
            for output in self._missing:
                answers = self._topics.poll(output)
                assert not any(b'"error"' in answer for answer in answers), answers
                self._missing[output] -= len(answers)
            if sum(self._missing.values()) <= at_most:
                return
            assert self.factory.is_running(), self.factory.last_words()
            assert time.monotonic() < deadline, self.factory.last_words()
            time.sleep(0.01)

    def _snapshot_ms(self) -> float:
        """Mean time of a snapshot of one step since the sample before."""
        with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=DEADLINE) as answer:
            page: str = answer.read().decode()
        found = (
            sum(map(float, re.findall(rf"^bytewax_snapshot_duration_seconds_{what}\S* (\S+)$", page, re.MULTILINE)))
            for what in ("sum", "count")
        )
        before, self._snapshots = self._snapshots, (next(found), next(found))
        seconds, number = (now - then for now, then in zip(self._snapshots, before, strict=True))
        return 1000 * seconds / max(1.0, number)


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Run for a number of minutes and keep the record."""
    minutes = int(sys.argv[1])
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak, samples = Soak(folder, LINES, entries=3 * STEPS), list[Sample]()
    try:
        for _ in soak.rounds():
            if not samples or time.monotonic() - soak.started >= 60 * len(samples):
                samples.append(soak.sample())
                sys.stdout.write(f"{msgspec.json.encode(samples[-1]).decode()}\n")
                sys.stdout.flush()
            if len(samples) > minutes:
                break
        assert soak.factory.terminate() == 0
    finally:
        soak.factory.kill()
        shutil.rmtree(folder)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    record = Record(machine=machine, lines=LINES, rate=RATE, samples=samples)
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


if __name__ == "__main__":
    main()
