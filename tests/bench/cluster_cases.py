"""The case of several processes: a thousand model lines over a broker, shared by one, two and three pods."""

from __future__ import annotations

import os
import shutil
import time
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.cases import DATA, case, write_bucket
from tests.bench.flow_cases import DEADLINE_S, STEPS, command, notice
from tests.bench.generate import port_pattern
from tests.bench.kafka_cases import a_broker
from tests.bench.measure import Figure, Row, row
from tests.brokers import Broker
from tests.e2e.cluster import Cluster
from tests.e2e.neighbours import INPUTS, OUTPUTS

PARTITIONS = 12
CONFIG = """\
log_level = "warning"
[defaults]
pattern = "port.sre"
declarations = "port.declarations.sre"
max_order = 3
k_max = 5
[kafka]
connect_timeout = 120.0
"""


@case("F3 several processes")
def several_processes(quick: bool) -> Iterator[Row]:
    """Commands of a session per line, sent at once; from the first command to the last announced model."""
    lines = 50 if quick else 1_000
    alone = 0.0
    for pods in (1, 2, 3):
        rate = commands_per_second(lines, pods)
        yield row(f"F3 processes: {pods}, cores: {os.cpu_count()}, lines: {lines}", "commands/s", Figure(rate))
        if pods > 1:
            yield row(f"F3 {pods} processes / one", "x", Figure(rate / alone))
        alone = alone or rate


def commands_per_second(lines: int, pods: int) -> float:
    """Run all sessions in a cluster of its own."""
    root = (DATA / "cluster").absolute()
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("broker", "settings", "root/buckets"):
        (root / folder).mkdir(parents=True)
    write_bucket(0, 2_000).rename(root / "root" / "buckets" / "b_0")
    for name, text in zip(("port.sre", "port.declarations.sre"), port_pattern(3), strict=True):
        (root / "settings" / name).write_text(text)
    (root / "settings" / "factory.toml").write_text(CONFIG)
    broker = a_broker(root / "broker")
    broker.start()
    overlay = {"FACTORY_CONNECTOR": "kafka", "FACTORY_BROKERS": broker.address}
    cluster = Cluster(root / "root", root, overlay)
    try:
        for topic in (*INPUTS.values(), *OUTPUTS.values()):
            broker.make_topic(PARTITIONS, topic)
        cluster.scale(pods)
        send(broker, "datasets", (notice("b_", key) for key in range(lines)))
        await_outputs(broker, "acks", lines, cluster)
        start = time.perf_counter()
        send(broker, "commands", (command(key, turn) for turn in range(STEPS + 2) for key in range(lines)))
        await_outputs(broker, "models", lines, cluster)
        return lines * (STEPS + 2) / (time.perf_counter() - start)
    finally:
        cluster.kill()
        broker.stop()


def send(broker: Broker, stream: str, bodies: Iterator[dict[str, Any]]) -> None:
    """Send messages to the partitions of their lines."""
    producer = Producer(broker.client(linger_ms=5))
    for body in bodies:
        key = body["key"].encode()
        producer.produce(INPUTS[stream], msgspec.json.encode(body), key, zlib.crc32(key) % PARTITIONS)
        producer.poll(0)
    producer.flush()


def await_outputs(broker: Broker, output: str, number: int, cluster: Cluster) -> None:
    """Wait until a topic has so many messages."""
    reader = Consumer(broker.client(group_id="bench", enable_auto_commit=False))
    reader.assign([TopicPartition(OUTPUTS[output], partition, 0) for partition in range(PARTITIONS)])
    end = time.monotonic() + DEADLINE_S
    while number > 0:
        number -= sum(message.error() is None for message in reader.consume(500, timeout=0.2))
        if not cluster.is_running() or time.monotonic() > end:
            raise RuntimeError(f"{output}: {number} are missing: {cluster.last_words()}")
    reader.close()
