"""One, two and three processes as Kubernetes starts them, over Kafka: no line's session is lost or doubled.

The scenario with many lines is played through kills and changes of the number of pods, and compared with a run of one
process over files that nobody disturbed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import NoidaDb
from tests.e2e.cluster import Cluster
from tests.e2e.history import History, undisturbed_history
from tests.e2e.kafka_topics import KafkaTopics
from tests.e2e.run import Run
from tests.e2e.test_faults import finish, play_on
from tests.e2e.test_kafka import SETTINGS

KEYS = tuple(f"line-{number}" for number in range(12))
PARTITIONS = 6
STRETCH = 40
"""Outputs between two things that happen; all lines together have about 330."""

Report = Callable[[str], None]


@pytest.fixture(scope="module")
def many_undisturbed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> History:
    """What the scenario gives with many lines, in one process, over files."""
    return undisturbed_history(root, tmp_path_factory.mktemp("many"), keys=KEYS)


@contextmanager
def cluster_over(broker: NoidaDb, root: Path, folder: Path) -> Iterator[tuple[Run, Cluster]]:
    """Begin a run on an empty root, with a cluster that has no pods yet."""
    topics = KafkaTopics(broker, PARTITIONS)
    run = Run(root, folder, topics=topics, keys=KEYS)
    with (folder / "settings" / "factory.toml").open("a") as file:
        file.write(SETTINGS)
    overlay = {"FACTORY_CONNECTOR": "kafka", "FACTORY_BROKERS": broker.address}
    cluster = run.factory = Cluster(root, folder, overlay)
    try:
        yield run, cluster
    finally:
        cluster.kill()
        topics.close()
        shutil.rmtree(root)


@pytest.mark.parametrize(
    "numbers",
    [pytest.param((2,), marks=pytest.mark.slow), pytest.param((3, 2, 3, 1), marks=pytest.mark.heavy)],
    ids=str,
)
def test_cluster_is_killed_and_rescaled_and_nobody_can_tell(
    numbers: tuple[int, ...], own_noida: NoidaDb, root: Path, tmp_path: Path, many_undisturbed: History, report: Report
) -> None:
    spread = []
    with cluster_over(own_noida, root, tmp_path) as (run, cluster):
        for turn, number in enumerate(numbers, start=1):
            cluster.scale(number)
            play_on(run, STRETCH)
            cluster.pods[-1].kill()  # the others end, and all are started again
            play_on(run, STRETCH)
            run.play(until=lambda: all(cluster.homes()))
            spread.append(cluster.homes())
            if turn < len(numbers):
                cluster.terminate()
        report(f"pods {numbers} over {len(KEYS)} lines: {finish(run, many_undisturbed)}")
    for homes in spread:
        assert set().union(*homes) <= set(KEYS)
        assert sum(map(len, homes)) == len(set().union(*homes)), "a line was opened by two pods"
        assert all(homes), f"a pod had nothing to do: {homes}"
    report(f"lines per pod: {[[len(home) for home in homes] for homes in spread]}")
