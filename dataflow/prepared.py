"""Datasets prepared for training: read once, held within a bound, made again when they are needed again.

Owns the way from a dataset's file to a `TrainingSet`: that the file is the one assembled, what a line's settings make
of it, and what of earlier datasets is reused. Knows no commands.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Literal, TypedDict

from dataflow.config import MemorySettings
from dataflow.disk import our_disk
from dataflow.errors import Code, RequestRejected
from dataflow.pulse import pulse
from dataflow.settings import LineSettings
from dataflow.state import Bucket, Dataset
from dataflow.storage import READ_BYTES, LineFiles
from spst import Pattern, SymbolCache, TrainingSet, parse_pattern, read_events

MIB = 1 << 20


class TrainingSets:
    """The training sets of a process, whatever the line.

    Parameters
    ----------
    memory : MemorySettings
        How much may be held. A set that is larger alone is held until the next one comes.
    """

    def __init__(self, memory: MemorySettings) -> None:
        self._limit = memory.prepared_mib * MIB
        self._held: OrderedDict[Hashable, tuple[TrainingSet, int]] = OrderedDict()
        self._bytes = 0
        self._symbols = SymbolCache(int(memory.symbols_mib * MIB))
        self._lock = Lock()  # Bytewax may run several workers in a process

    def get(self, files: LineFiles, dataset: Dataset, settings: LineSettings) -> TrainingSet:
        """Return the training set of a dataset under a line's settings.

        Raises
        ------
        RequestRejected
            `dataset_changed` if the file is not what was assembled, `bad_pattern` if the line has none to be read.
        SpstError
            The pattern cannot be used, or the events cannot be used with it.
        """
        check_intact(files, dataset)
        pattern = pattern_of(settings)
        key = (dataset.sha256, dataset.buckets, pattern, settings.max_bad_rows, *_preparation(settings).values())
        with self._lock:
            if key not in self._held:
                self._hold(key, self._prepare(files.path(dataset.path), dataset, pattern, settings))
            self._held.move_to_end(key)
            return self._held[key][0]

    def _prepare(self, path: Path, dataset: Dataset, pattern: Pattern, settings: LineSettings) -> TrainingSet:
        buckets = [bucket for bucket in dataset.buckets if bucket.rows]
        with our_disk(path, "read it"):
            return TrainingSet.prepare(
                [read_events(path, start=bucket.start, length=bucket.bytes) for bucket in buckets],
                pattern,
                max_bad_rows=settings.max_bad_rows,
                cache=self._symbols,
                keys=_contents(path, buckets),
                progress=pulse.beat,
                **_preparation(settings),
            )

    def _hold(self, key: Hashable, training: TrainingSet) -> None:
        self._held[key] = training, training.nbytes
        self._bytes += training.nbytes
        while self._bytes > self._limit and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1][1]


class _Preparation(TypedDict):
    """What of a line's settings goes into a training set."""

    order: int
    k_max: int
    evaluation: str
    alphabet: Literal["declared", "satisfiable"]
    policy: Literal["overlap", "nonoverlap"]


def _preparation(settings: LineSettings) -> _Preparation:
    return {
        "order": settings.max_order,
        "k_max": settings.k_max,
        "evaluation": settings.evaluation,
        "alphabet": settings.alphabet,
        "policy": settings.policy,
    }


def check_intact(files: LineFiles, dataset: Dataset) -> None:
    """Refuse a dataset whose file is not the one assembled.

    Raises
    ------
    RequestRejected
        `dataset_changed`.
    """
    if not files.is_intact(dataset.path, dataset.sha256):
        path = files.path(dataset.path)
        raise RequestRejected(
            Code.DATASET_CHANGED,
            f"{path}: expected the content with SHA-256 {dataset.sha256}; it is gone, or somebody changed it. "
            "Announce its buckets again",
        )


def pattern_of(settings: LineSettings) -> Pattern:
    """Read a line's pattern; a file that was mended is seen at the next command.

    Raises
    ------
    RequestRejected
        `bad_pattern` if there is no file.
    PatternError
        If it cannot be parsed.
    """
    if settings.pattern is None:
        raise RequestRejected(Code.BAD_PATTERN, "the line has no pattern: set `pattern` in the factory's configuration")
    texts = [_read_text(path) for path in (settings.pattern, settings.declarations) if path is not None]
    return _parsed(*texts)


def _read_text(path: str) -> str:
    try:
        found = os.stat(path)
        return _text(path, found.st_ino, found.st_size, found.st_mtime_ns)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestRejected(Code.BAD_PATTERN, f"{path}: cannot be read: {error}") from error


@lru_cache(maxsize=1024)
def _text(path: str, inode: int, size: int, modified_ns: int) -> str:
    """Read a file that has not changed since it was read only once: a step takes two milliseconds in all."""
    return Path(path).read_text(encoding="utf-8")


_parsed = lru_cache(maxsize=1024)(parse_pattern)


def _contents(path: Path, buckets: Sequence[Bucket]) -> list[bytes]:
    """Return a key for the content of each bucket: the hash of the header and the bucket's rows."""
    with path.open("rb", buffering=0) as file:
        start = hashlib.sha256(file.read(buckets[0].start) if buckets else b"")
        keys = []
        for bucket in buckets:
            digest, left = start.copy(), bucket.bytes
            file.seek(bucket.start)
            while left and (content := file.read(min(left, READ_BYTES))):
                digest.update(content)
                left -= len(content)
                pulse.beat()
            keys.append(digest.digest())
    return keys
