"""Prepared datasets are bounded, reused, and the same as those made anew."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.assembly import assemble
from dataflow.config import MemorySettings
from dataflow.prepared import MIB, TrainingSets
from dataflow.settings import LineSettings
from dataflow.state import Dataset
from dataflow.storage import LineFiles, draft
from spst import Hyperparameters, TrainingSet, symbols
from tests.dataflow.workshop import HEADER, Workshop, make_workshop, rows

POINT = Hyperparameters(order=2, p_min=0.001, gamma=0.001, threshold=0.2, k=3)
PLENTY = MemorySettings()
NOTHING = MemorySettings(prepared_mib=0, symbols_mib=0)


class Shelf:
    """Datasets of one line, assembled under running versions."""

    def __init__(self, root: Path) -> None:
        self.workshop: Workshop = make_workshop(root)
        self.settings: LineSettings = self.workshop.config().line("k")
        self.files = LineFiles(root, "k")
        self.files.prepare()
        self.version = 0

    def dataset(self, *buckets: int) -> Dataset:
        self.version += 1
        file = f"dataset_version_{self.version}.csv"
        with draft(self.files.path("datasets")) as copy:
            made = assemble(self.workshop.buckets, "b_", buckets, None, copy)
            copy.keep_as(file, durable=False)
        return Dataset(
            version=self.version,
            file=file,
            sha256=made.sha256,
            rows=made.rows,
            bytes=made.bytes,
            buckets=made.buckets,
            buckets_range=buckets,
            prefix="b_",
        )

    def get(self, sets: TrainingSets, dataset: Dataset) -> TrainingSet:
        return sets.get(self.files, dataset, self.settings)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows of every bucket that was read since."""
    from spst import training

    read: list[int] = []

    def record(*arguments: object) -> symbols.Symbols:
        stream = symbols.encode(*arguments)  # type: ignore[arg-type]  # handed through as they come
        read.append(stream.rows)
        return stream

    monkeypatch.setattr(training, "encode", record)
    return read


def test_dataset_is_prepared_once(shelf: Shelf, encoded: list[int]) -> None:
    sets, dataset = TrainingSets(PLENTY), shelf.dataset(0, 1)
    assert shelf.get(sets, dataset) is shelf.get(sets, dataset)
    assert encoded == [100, 100]


def test_same_content_under_another_version_is_prepared_once(shelf: Shelf) -> None:
    sets = TrainingSets(PLENTY)
    assert shelf.get(sets, shelf.dataset(0, 1)) is shelf.get(sets, shelf.dataset(0, 1))


def test_other_settings_make_another_set(shelf: Shelf) -> None:
    sets, dataset = TrainingSets(PLENTY), shelf.dataset(0, 1)
    first = shelf.get(sets, dataset)
    for change in ({"max_order": 2}, {"k_max": 4}, {"evaluation": "last-bucket"}, {"policy": "nonoverlap"}):
        changed = msgspec.structs.replace(shelf.settings, **change)
        assert sets.get(shelf.files, dataset, changed) is not first
    (shelf.workshop.root / "pattern.sre").write_text(";(IsEventTypePredicate(B),IsEventTypePredicate(A)){order:2}")
    assert shelf.get(sets, dataset) is not first


def test_window_that_slides_reads_the_new_bucket_only(shelf: Shelf, encoded: list[int]) -> None:
    sets = TrainingSets(PLENTY)
    shelf.workshop.bucket(2, HEADER + rows(2, 2000, number=40))
    shelf.get(sets, shelf.dataset(0, 1))
    shelf.get(sets, shelf.dataset(1, 2))
    assert encoded == [100, 100, 40]


def test_header_is_part_of_what_a_bucket_says(shelf: Shelf, encoded: list[int]) -> None:
    sets = TrainingSets(PLENTY)
    shelf.get(sets, shelf.dataset(0))
    shelf.workshop.bucket(0, "timestamp,entity,type\n" + rows(0))
    shelf.get(sets, shelf.dataset(0))
    assert encoded == [100, 100]


def test_what_was_not_used_for_the_longest_time_goes_first(shelf: Shelf, encoded: list[int]) -> None:
    datasets = [shelf.dataset(bucket) for bucket in range(3)]
    needed = [shelf.get(TrainingSets(PLENTY), dataset).nbytes for dataset in datasets]
    encoded.clear()
    sets = TrainingSets(MemorySettings(prepared_mib=(sum(needed) - 1) / MIB, symbols_mib=0))
    for place in (0, 1, 0, 2, 0, 1):
        shelf.get(sets, datasets[place])
    assert len(encoded) == 4, "the first stayed, for it was used; the second went, and was made again"


def test_set_that_exceeds_the_bound_alone_is_held_until_the_next(shelf: Shelf, encoded: list[int]) -> None:
    sets, first, second = TrainingSets(NOTHING), shelf.dataset(0), shelf.dataset(1)
    for dataset in (first, first, second, first):
        shelf.get(sets, dataset)
    assert len(encoded) == 3


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True), min_size=1, max_size=5), st.data())
def test_reused_buckets_give_the_same_results(
    tmp_path_factory: pytest.TempPathFactory, windows: list[list[int]], data: st.DataObject
) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("root"))
    for bucket in range(6):
        rng = random.Random(data.draw(st.integers(0, 9)))
        shelf.workshop.bucket(bucket, HEADER + rows(rng.randrange(9), 1000 * bucket, number=rng.randint(1, 60)))
    reusing = TrainingSets(MemorySettings(symbols_mib=data.draw(st.sampled_from([256, 0.0001]))))
    for window in windows:
        dataset = shelf.dataset(*window)
        fresh, reused = shelf.get(TrainingSets(NOTHING), dataset), shelf.get(reusing, dataset)
        assert reused.fit(POINT).to_bytes() == fresh.fit(POINT).to_bytes()
        assert reused.score(reused.fit(POINT)) == fresh.score(fresh.fit(POINT))
