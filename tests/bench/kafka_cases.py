"""The cases over a broker on this machine: how long a command takes to its report, in peace and in a flood."""

from __future__ import annotations

import itertools
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.cases import DATA, PORT_EVENTS, case, traffic_file
from tests.bench.generate import port_pattern
from tests.bench.measure import Figure, Row, median, row
from tests.brokers import ApacheKafka, Broker, NoidaDb
from tests.e2e.factory import Factory

FLOOD_RATE = 5_000
SESSION = 15
CONFIG = """\
log_level = "warning"
[defaults]
pattern = "port.sre"
declarations = "port.declarations.sre"
max_order = 5
k_max = 5
[kafka]
create_topics = true
"""


class Controller:
    """An in-process controller of one model line: sends a command, waits for its report."""

    def __init__(self, broker: Broker) -> None:
        self._producer = Producer(broker.client(linger_ms=0))
        self._reports = Consumer(broker.client(group_id="bench", enable_auto_commit=False, fetch_wait_max_ms=10))
        self._reports.assign([TopicPartition("model_reports", 0, 0)])
        self._ids, self._turn = itertools.count(), 0

    def send(self, topic: str, **body: Any) -> None:
        """Send a message and wait until the broker has it."""
        self._producer.produce(topic, msgspec.json.encode(body), partition=0)
        self._producer.flush()

    def session(self, timestamp: int) -> float:
        """Seconds of a whole session: opt_initialise, the steps, and opt_finalise to its report."""
        start = time.perf_counter()
        self.initialise(timestamp)
        for _ in range(SESSION):
            self.step(timestamp)
        self._answered(type="opt_finalise", timestamp=timestamp, best_i=0)
        return time.perf_counter() - start

    def initialise(self, timestamp: int) -> None:
        """Open a session."""
        self.send("factory_commands", type="opt_initialise", id=next(self._ids), timestamp=timestamp)

    def step(self, timestamp: int) -> float:
        """Milliseconds from sending an opt_step to its report, which must tell success."""
        start = time.perf_counter()
        self._turn += 1
        self._answered(
            type="opt_step", timestamp=timestamp, params={"params": [0.01 / 1.01 ** (self._turn % 400), 0.0005]}
        )
        return (time.perf_counter() - start) * 1e3

    def _answered(self, **command: Any) -> None:
        number = next(self._ids)
        self.send("factory_commands", id=number, **command)
        while (message := self._reports.poll(60)) is None or message.error():
            if message is None:
                raise RuntimeError("no report within 60 s")
        report = msgspec.json.decode(message.value() or b"")
        if report["status"] != "success" or report["reply_id"] != number:
            raise RuntimeError(f"expected the report of command {number}, came {report}")


@case("E6 over a broker")
def latency(quick: bool) -> Iterator[Row]:
    """Command to report for opt_step on a 30 k dataset; a session; and both while dead letters pour in."""
    root = (DATA / "kafka").absolute()
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("broker", "root/buckets", "settings"):
        (root / folder).mkdir(parents=True)
    for name, text in zip(("port.sre", "port.declarations.sre"), port_pattern(5), strict=True):
        (root / "settings" / name).write_text(text)
    (root / "settings" / "factory.toml").write_text(CONFIG)
    shutil.copy(traffic_file(PORT_EVENTS), root / "root" / "buckets" / "b_0")
    broker = a_broker(root / "broker")
    broker.start()
    environment = {"FACTORY_CONNECTOR": "kafka", "FACTORY_BROKERS": broker.address}
    factory = Factory(root / "root", root, environment)
    try:
        factory.start()
        yield from measured(broker, root, 50 if quick else 400)
    finally:
        factory.kill()
        broker.stop()


def a_broker(folder: Path) -> Broker:
    """Apache Kafka where it can be had: clients of noida-db never rest, and take the cores from what is measured."""
    try:
        return ApacheKafka(folder)
    except pytest.skip.Exception:
        return NoidaDb(folder)


def measured(broker: Broker, root: Path, steps: int) -> Iterator[Row]:
    """The rows, with broker and factory running."""
    await_topics(broker)
    controller = Controller(broker)
    buckets = {"path_prefix": f"{root}/root/buckets/b_", "buckets_range": [0], "version": 0, "timestamp": 1}
    controller.send("dataset_versions", dataset_id="ds", bucket_count=1, **buckets)
    await_ack(broker)
    controller.initialise(1)
    for _ in range(20):
        controller.step(1)
    yield from percentiles(f", {type(broker).__name__}", [controller.step(1) for _ in range(steps)], (15, 60))
    sessions = [controller.session(2 + number) for number in range(5)]
    yield row(f"E6 a session: opt_initialise, {SESSION} steps, opt_finalise", "s", median(sessions), 1.0)
    controller.initialise(100)
    letters, flood = end_of(broker, "factory_dead_letters"), Flood(broker)
    flood.start()
    start = time.perf_counter()
    flooded = [controller.step(100) for _ in range(steps)]
    spent = time.perf_counter() - start
    answered = (end_of(broker, "factory_dead_letters") - letters) / spent
    sent = flood.finish()
    yield row(f"E6 dead letters written while {sent:.0f} unreadable messages/s came", "1/s", Figure(answered))
    yield from percentiles(" in that flood", flooded, (None, 250))


def percentiles(when: str, milliseconds: list[float], bounds: tuple[float | None, float | None]) -> Iterator[Row]:
    """Median and 99th percentile of latencies."""
    cuts = statistics.quantiles(milliseconds, n=100)
    yield row(f"E6 opt_step to report, p50{when}", "ms", Figure(cuts[49], cuts[74] - cuts[24]), bounds[0])
    yield row(f"E6 opt_step to report, p99{when}", "ms", Figure(cuts[98]), bounds[1])


def end_of(broker: Broker, topic: str) -> int:
    """Return the offset at which a topic of one partition ends."""
    watcher = Consumer(broker.client(group_id="bench-end"))
    _, end = watcher.get_watermark_offsets(TopicPartition(topic, 0), 10)
    watcher.close()
    return int(end)


class Flood(threading.Thread):
    """Sends lines that are no messages, `FLOOD_RATE` a second."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(daemon=True)
        self._producer = Producer(broker.client(linger_ms=5))
        self._over = threading.Event()
        self._sent, self._start = 0, 0.0

    def run(self) -> None:
        """Send, a hundredth of a second's worth at a time."""
        self._start = time.perf_counter()
        while not self._over.wait(0.01):
            due = int((time.perf_counter() - self._start) * FLOOD_RATE) - self._sent
            for _ in range(due):
                self._producer.produce("factory_commands", b"no message", partition=0)
            self._sent += due
            self._producer.poll(0)

    def finish(self) -> float:
        """Stop, and return how many were sent a second."""
        self._over.set()
        self.join()
        return self._sent / (time.perf_counter() - self._start)


def await_topics(broker: Broker) -> None:
    """Wait until the factory has made its topics."""
    watcher = Consumer(broker.client(group_id="bench-topics"))
    end = time.monotonic() + 120
    while "model_reports" not in watcher.list_topics(timeout=10).topics:
        if time.monotonic() > end:
            raise RuntimeError("the factory made no topics within 120 s")
        time.sleep(0.1)
    watcher.close()


def await_ack(broker: Broker) -> None:
    """Wait until the dataset is acknowledged."""
    acks = Consumer(broker.client(group_id="bench-acks", enable_auto_commit=False))
    acks.assign([TopicPartition("assembly_reports", 0, 0)])
    if acks.poll(120) is None:
        raise RuntimeError("no ACK within 120 s")
    acks.close()
