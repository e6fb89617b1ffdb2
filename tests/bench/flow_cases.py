"""The benchmark's cases of the dataflow: assembly against `cat`, and a thousand model lines through the real flow."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from bytewax.recovery import init_db_dir

from dataflow.assembly import assemble
from dataflow.buckets import CHUNK_BYTES
from dataflow.storage import draft
from tests.bench.cases import DATA, case, write_bucket
from tests.bench.generate import port_pattern
from tests.bench.measure import Figure, Row, in_turn, median, ratio, row, seconds

STEPS = 15
DEADLINE_S = 600
CONFIG = """\
connector = "files"
buckets = "buckets"
[defaults]
pattern = "port.sre"
declarations = "port.declarations.sre"
max_order = 3
k_max = 5
"""


@case("D8 assembly")
def assembling(quick: bool) -> Iterator[Row]:
    """Bytes copied with their checksum, against `cat` over the same files."""
    size = 150_000 if quick else 1_500_000
    root = (DATA / "assembly").absolute()
    shutil.rmtree(root, ignore_errors=True)
    (root / "buckets").mkdir(parents=True)
    for number in range(7):
        write_bucket(number, size // 7).rename(root / "buckets" / f"b_{number}")
    sources = [str(root / "buckets" / f"b_{number}") for number in range(7)]

    def ours() -> None:
        with draft(root) as target:
            assemble(root / "buckets", str(root / "buckets" / "b_"), range(7), None, target)

    def cat() -> None:
        with (root / "cat.csv").open("wb") as copy:
            subprocess.run(["cat", *sources], stdout=copy, check=True)
        (root / "cat.csv").unlink()

    def checksum() -> None:
        digest = hashlib.sha256()
        for source in sources:
            with Path(source).open("rb") as file:
                while block := file.read(CHUNK_BYTES):
                    digest.update(block)

    def checked() -> None:
        assemble(root / "buckets", str(root / "buckets" / "b_"), range(7), None, Nowhere())

    def copied() -> None:
        block = bytearray(CHUNK_BYTES)
        with draft(root) as target:
            for source in sources:
                with Path(source).open("rb", buffering=0) as file:
                    while came := file.readinto(block):
                        target.write(memoryview(block)[:came])

    mine, other = in_turn(ours, cat, 15)
    total = sum(Path(source).stat().st_size for source in sources)
    yield row(f"D8 rate / rate of cat, {total / 1e6:.0f} MB, checksum included", "x", ratio(other, mine), 0.7, "min")
    yield row("D8 assembly", "MB/s", median([total / 1e6 / spent for spent in mine]))
    parts = {
        "cat": cat,
        "reading and SHA-256 alone": checksum,
        "reading and writing alone": copied,
        "assembly without writing": checked,
    }
    for name, work in parts.items():
        yield row(f"D8 {name}", "s/GB", median(seconds(work, 9), 1e9 / total))


class Nowhere:
    """A target that takes everything and keeps nothing."""

    def write(self, content: memoryview) -> None:
        """Drop the content."""


@case("D10 many lines")
def many_lines(quick: bool) -> Iterator[Row]:
    """Lines with a dataset and a 15-step session each through the flow in file mode, first message to last answer."""
    lines = 50 if quick else 1_000
    DATA.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(dir=DATA.absolute()))  # new: where much was just deleted, ext4 finds inodes slowly
    for folder in ("buckets", "topics", "recovery"):
        (root / folder).mkdir(parents=True)
    write_bucket(0, 2_000).rename(root / "buckets" / "b_0")
    for name, text in zip(("port.sre", "port.declarations.sre"), port_pattern(3), strict=True):
        (root / name).write_text(text)
    (root / "factory.toml").write_text(CONFIG)
    init_db_dir(root / "recovery", 1)
    (root / "topics" / "dataset_versions.jsonl").write_bytes(
        msgspec.json.Encoder().encode_lines([notice(f"{root}/buckets/b_", key) for key in range(lines)])
    )
    with running(root) as factory:
        start = time.perf_counter()
        await_lines(root / "topics" / "assembly_reports.jsonl", lines, factory)
        assembled = time.perf_counter()
        with (root / "topics" / "factory_commands.jsonl").open("ab") as topic:
            topic.write(
                msgspec.json.Encoder().encode_lines(
                    [command(key, turn) for turn in range(STEPS + 2) for key in range(lines)]
                )
            )
        await_lines(root / "topics" / "model_versions.jsonl", lines, factory)
        done = time.perf_counter()
    spent = stage_seconds(root / "log.jsonl")
    name = f"D10 {lines} lines with a session of {STEPS} steps each"
    yield row(name, "s", Figure(done - start), 60 * lines / 1000)
    yield row("D10 commands", "commands/s", Figure(lines * (STEPS + 2) / (done - assembled)))
    disk = spent.pop("commit", 0.0) + spent.pop("save", 0.0)
    assembling_s = spent.pop("assemble", 0.0)
    shares = {"training": sum(spent.values()), "disk": disk, "assembly": assembling_s}
    shares["Bytewax, decoding and connectors"] = done - start - sum(shares.values())
    for share, spent_s in shares.items():
        yield row(f"D10 of this: {share}", "s", Figure(spent_s))
    shutil.rmtree(root)


class running:  # noqa: N801 - reads as a phrase
    """The factory as a process of its own, ended by SIGTERM."""

    def __init__(self, root: Path) -> None:
        environment = {**os.environ, "FACTORY_CONFIG": str(root / "factory.toml"), "FACTORY_DATA_ROOT": str(root)}
        command = [sys.executable, "-m", "bytewax.run", "dataflow.flow:flow", "-r", str(root / "recovery")]
        self._log = (root / "log.jsonl").open("wb")
        self.process = subprocess.Popen([*command, "-s", "5", "-b", "0"], env=environment, stderr=self._log)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self._log.close()


def notice(prefix: str, key: int) -> dict[str, Any]:
    """The announcement of the one bucket, for one line."""
    buckets = {"path_prefix": prefix, "buckets_range": [0], "version": 0, "timestamp": 1, "bucket_count": 1}
    return {"key": f"line{key}", "dataset_id": f"ds-{key}", **buckets}


def command(key: int, turn: int) -> dict[str, Any]:
    """The turn-th command of a line's session: initialise, the steps, finalise."""
    kind = {0: "opt_initialise", STEPS + 1: "opt_finalise"}.get(turn, "opt_step")
    params = {"params": [0.01 / 1.5**turn, 0.0005]} if kind == "opt_step" else None
    return {"key": f"line{key}", "type": kind, "id": turn, "timestamp": 1, "params": params, "best_i": 0}


def await_lines(path: Path, lines: int, factory: subprocess.Popen[bytes]) -> None:
    """Wait until a topic file has so many lines."""
    end = time.monotonic() + DEADLINE_S
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        if factory.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{path}: expected {lines} lines; the factory ended ({factory.poll()}) or took too long")
        time.sleep(0.05)


def stage_seconds(log: Path) -> dict[str, float]:
    """Seconds of every stage, summed over the canonical log lines."""
    total: dict[str, float] = {}
    for line in log.read_bytes().splitlines():
        for stage, spent in msgspec.json.decode(line).get("seconds", {}).items():
            total[stage] = total.get(stage, 0.0) + spent
    return total
