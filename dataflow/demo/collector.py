"""The demo's collector: replays the week into daily buckets, announces ranges of them, deletes what the factory has.

Run by the demo as a process of its own. It speaks the protocol and knows nothing else of the factory: a bucket is
deleted when an ACK says that a dataset which begins later is safely on disk, and never before.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dataflow.demo.timetable import WINDOW, answers_before
from dataflow.demo.topics import ACKS, DATASETS, REPORTS, Message, rest, topics_at
from dataflow.errors import FactoryFault

WEEK = Path(__file__).parent / "data" / "ny_harbor_ais_2020_12_01_07.csv.gz"
SECONDS_A_DAY = 86_400


def days_of(source: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (start, lines with their header) for every 24 hours, counted from the first row.

    Parameters
    ----------
    source : Path
        Gzipped CSV with a header, sorted by its first column, a Unix timestamp.
    """
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        header, first, *others = file

    def start(line: str) -> int:
        return begin + (int(line.partition(",")[0]) - begin) // SECONDS_A_DAY * SECONDS_A_DAY

    begin = int(first.partition(",")[0])
    for day, lines in itertools.groupby([first, *others], key=start):
        yield day, [header, *lines]


class Collector:
    """Buckets on disk and the dataset versions announced from them.

    Parameters
    ----------
    root : Path
        The demo's data root; buckets go to `<root>/buckets`.
    steps : int
        Length of the search, for the timetable.
    speed : float
        Days of traffic per second, at most.
    bootstrap : str, optional
        `HOST:PORT` of the broker that has the topics; without it they are files.
    """

    def __init__(self, root: Path, *, steps: int, speed: float, bootstrap: str | None = None) -> None:
        self._steps, self._speed = steps, speed
        self._prefix = root / "buckets" / "day_"
        self._datasets, self._acks, self._reports = map(topics_at(root, bootstrap), (DATASETS, ACKS, REPORTS))
        self._ids: list[int] = []
        self._acknowledged = self._answers = 0

    def run(self) -> None:
        """Announce every day of the week; return when every dataset is acknowledged."""
        begin = time.monotonic()
        for version, (day, lines) in enumerate(days_of(WEEK)):
            answers, moment = answers_before(version, self._steps), begin + version / self._speed
            while self._answers < answers or time.monotonic() < moment:
                self._listen()
            self._write(day, lines)
            self._announce(version, day)
        while self._acknowledged < len(self._ids):
            self._listen()

    def _listen(self) -> None:
        for ack in self._acks.new():
            self._acknowledged += 1
            self._delete_before(ack["buckets_range"][0])
        self._answers += len(self._reports.new())
        rest()

    def _bucket(self, day: int) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}{day}")

    def _write(self, day: int, lines: list[str]) -> None:
        """Write a bucket under another name first: under its own it is complete."""
        unfinished = self._bucket(day).with_name(f".unfinished_{day}")
        unfinished.write_text("".join(lines), encoding="utf-8", newline="")
        os.replace(unfinished, self._bucket(day))

    def _announce(self, version: int, day: int) -> None:
        self._ids.append(day)
        buckets = self._ids[-WINDOW:]
        notice: Message = {
            "dataset_id": f"ds-{version}",
            "path_prefix": str(self._prefix),
            "buckets_range": buckets,
            "version": version,
            "timestamp": day + SECONDS_A_DAY,
            "bucket_count": len(buckets),
        }
        self._datasets.send(notice)

    def _delete_before(self, oldest_needed: int) -> None:
        for day in self._ids:
            if day < oldest_needed:
                self._bucket(day).unlink(missing_ok=True)


def main() -> None:
    """Run as a process of the demo."""
    parser = argparse.ArgumentParser(prog="python -m dataflow.demo.collector", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--speed", type=float, required=True)
    parser.add_argument("--bootstrap")
    arguments = parser.parse_args()
    try:
        Collector(arguments.root, steps=arguments.steps, speed=arguments.speed, bootstrap=arguments.bootstrap).run()
    except FactoryFault as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
