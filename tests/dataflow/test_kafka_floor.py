"""The floor: never above what has been handled, never of another topic."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main

from dataflow.connectors.kafka_admin import Topic
from dataflow.connectors.kafka_floor import Floor
from dataflow.connectors.pace import ALWAYS_DUE
from dataflow.errors import FactoryFault

TOPIC = Topic("factory_commands", 1, "aXd")


def test_floor_of_a_new_partition_is_unknown(tmp_path: Path) -> None:
    assert Floor(tmp_path / "commands-0.json", TOPIC).offset is None


def test_floor_is_one_snapshot_behind(tmp_path: Path) -> None:
    path = tmp_path / "commands-0.json"
    floor = Floor(path, TOPIC)
    kept = []
    floor.start(5)
    for snapshot in (5, 8, 8, 12):
        floor.raise_to(snapshot)
        kept.append(Floor(path, TOPIC).offset)
    assert kept == [5, 5, 8, 8]


def test_floor_does_not_sink_when_an_older_snapshot_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "commands-0.json"
    Floor(path, TOPIC).start(9)
    older = Floor(path, TOPIC)
    older.start(3)
    older.raise_to(4)
    assert Floor(path, TOPIC).offset == 9


@pytest.mark.parametrize("content", [b"", b'{"topic":"factory_c', b"\x00" * 40])
def test_floor_that_was_not_flushed_is_unknown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "commands-0.json"
    path.write_bytes(content)
    assert Floor(path, TOPIC).offset is None


@pytest.mark.parametrize("other", [Topic("factory_commands", 1, "bYe"), Topic("commands_2", 1, "commands_2")])
def test_floor_of_another_topic_is_refused_with_the_way_out(tmp_path: Path, other: Topic) -> None:
    path = tmp_path / "commands-0.json"
    Floor(path, TOPIC).start(7)
    with pytest.raises(FactoryFault, match=f"remove {path}"):
        Floor(path, other)
    path.unlink()
    assert Floor(path, other).offset is None


def test_floor_that_cannot_be_written_is_our_fault(tmp_path: Path) -> None:
    with pytest.raises(FactoryFault, match="cannot write it"):
        Floor(tmp_path / "missing" / "commands-0.json", TOPIC).start(0)


class Numbers(StatefulSourcePartition[tuple[str, int], int]):
    """Numbers of one partition; each snapshot notes what the one before it told and is not handled by now."""

    def __init__(self, part: str, handled: set[tuple[str, int]], missing: list[set[tuple[str, int]]]) -> None:
        self.part, self.handled, self.missing = part, handled, missing
        self.next = self.before = 0

    def next_batch(self) -> Iterable[tuple[str, int]]:
        if self.next == 60:
            raise StopIteration
        self.next += 1
        return [(self.part, self.next)]

    def next_awake(self) -> datetime:
        return ALWAYS_DUE

    def snapshot(self) -> int:
        self.missing.append({(self.part, number) for number in range(1, self.before + 1)} - self.handled)
        self.before = self.next
        return self.next


class Source(FixedPartitionedSource[tuple[str, int], int]):
    def __init__(self, handled: set[tuple[str, int]], missing: list[set[tuple[str, int]]]) -> None:
        self.given = handled, missing

    def list_parts(self) -> list[str]:
        return ["0", "1", "2"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Numbers:
        return Numbers(for_part, *self.given)


class Handle(DynamicSink[Any], StatelessSinkPartition[Any]):
    def __init__(self, handled: set[tuple[str, int]]) -> None:
        self.handled = handled

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Handle:
        return self

    def write_batch(self, items: list[tuple[str, int]]) -> None:
        self.handled.update(items)


@pytest.mark.parametrize("workers", [1, 3])
def test_bytewax_has_handled_one_snapshot_when_it_takes_the_next(workers: int) -> None:
    handled: set[tuple[str, int]] = set()
    missing: list[set[tuple[str, int]]] = []
    flow = Dataflow("flow")
    numbers = op.input("numbers", flow, Source(handled, missing))
    spread = op.key_on("spread", numbers, lambda item: f"{item[1] % 7}")  # over the workers
    passed = op.stateful_map("pass", spread, lambda state, item: (state, item))
    op.output("handle", op.key_rm("unkey", passed), Handle(handled))
    every_batch = timedelta(0)
    cluster_main(flow, [], 0, worker_count_per_proc=workers, epoch_interval=every_batch)
    assert len(missing) >= 3 * 60
    assert not any(missing)
