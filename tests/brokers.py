"""Brokers that tests start themselves, on 127.0.0.1 and a free port, and that end with them.

`NoidaDb` is one binary from PyPI that speaks enough of Kafka's protocol and starts in milliseconds: for function.
`ApacheKafka` is the real thing, fetched once by Maven: for durability and security. Both keep their data and port when
they are stopped and started again.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from dataflow.demo.broker import HOST as HOST
from dataflow.demo.broker import free_port as free_port
from dataflow.demo.broker import noida_command

DEADLINE = 120.0
"""Seconds after which a broker that should answer is given up; it usually takes milliseconds, or two seconds."""

KAFKA_VERSION = "4.1.0"


class Broker(ABC):
    """A broker process and what tests do with it beside the code under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return the command that runs it in the foreground."""

    @property
    def address(self) -> str:
        """`HOST:PORT`."""
        return f"{HOST}:{self.port}"

    def client(self, **properties: Any) -> dict[str, Any]:
        """Return properties of a client of ours."""
        return {"bootstrap.servers": self.address, "log_level": 2} | {
            name.replace("_", "."): value for name, value in properties.items()
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *self.command()], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._admin: Any = AdminClient(self.client())  # kept, or its futures fail; stubs lack delete_records
        deadline = time.monotonic() + DEADLINE
        while not _answers(self._admin):
            told = (self.folder / "broker.log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"the broker ended by itself: {told}"
            assert time.monotonic() < deadline, f"the broker does not answer: {told}"

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait until it has ended."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(DEADLINE)
            self._process = None

    def make_topic(self, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """Make a topic, of a name that no other test uses."""
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        dotted = {setting.replace("_", "."): value for setting, value in config.items()}
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dotted)
        self._admin.create_topics([new])[name].result(DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while len(self._admin.list_topics(timeout=DEADLINE).topics.get(name, _Absent).partitions) < partitions:
            assert time.monotonic() < deadline, f"{name} does not show"
        return name

    def delete_topic(self, topic: str) -> None:
        """Delete a topic, and wait until it is gone."""
        self._admin.delete_topics([topic])[topic].result(DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while topic in self._admin.list_topics(timeout=DEADLINE).topics:
            assert time.monotonic() < deadline, f"{topic} is still there"

    def add_partitions(self, topic: str, total: int) -> None:
        """Give a topic more partitions."""
        self._admin.create_partitions([NewPartitions(topic, total)])[topic].result(DEADLINE)

    def configuration(self, topic: str) -> dict[str, str | None]:
        """Return a topic's configuration."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        found = self._admin.describe_configs([resource])[resource].result(DEADLINE)
        return {name: entry.value for name, entry in found.items()}

    def configure_topic(self, topic: str, **config: str) -> None:
        """Change a topic's configuration."""
        entries = [
            ConfigEntry(setting.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for setting, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self._admin.incremental_alter_configs([resource])[resource].result(DEADLINE)

    def expire(self, topic: str, before: int, partition: int = 0) -> None:
        """Delete the messages below an offset, as retention would."""
        (deleted,) = self._admin.delete_records([TopicPartition(topic, partition, before)]).values()
        deleted.result(DEADLINE)

    def send(self, topic: str, *values: bytes | None, partition: int = 0, key: bytes | None = None) -> None:
        """Append messages to a topic."""
        failures: list[KafkaError] = []
        producer = Producer(self.client(message_max_bytes=100_000_000))
        for value in values:
            producer.produce(
                topic, value, key, partition, on_delivery=lambda error, _: failures.append(error) if error else None
            )
        assert producer.flush(DEADLINE) == 0
        assert not failures

    def read(self, topic: str, partition: int = 0, isolation: str = "read_committed") -> list[Message]:
        """Return everything that a reader finds in a partition."""
        consumer = Consumer(
            self.client(group_id="test", isolation_level=isolation, enable_partition_eof=True, enable_auto_commit=False)
        )
        low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=DEADLINE)
        consumer.assign([TopicPartition(topic, partition, low)])
        found: list[Message] = []
        try:
            while True:
                (message,) = consumer.consume(1, timeout=DEADLINE)
                error = message.error()
                if error and error.code() == KafkaError._PARTITION_EOF:
                    return found
                assert error is None, error
                found.append(message)
        finally:
            consumer.close()

    def values(self, topic: str, partition: int = 0) -> list[bytes | None]:
        """Return the values of all committed messages of a partition."""
        return [message.value() for message in self.read(topic, partition)]


class _Absent:
    partitions: tuple[()] = ()


def _answers(admin: AdminClient) -> bool:
    try:
        admin.list_topics(timeout=5)
    except KafkaException:
        return False
    return True


class NoidaDb(Broker):
    """The test broker from PyPI."""

    def command(self) -> Sequence[str | Path]:
        """Return the command that the demo runs, too."""
        return noida_command(self.folder / "data", self.port)


class ApacheKafka(Broker):
    """A one-node Apache Kafka in KRaft mode.

    Parameters
    ----------
    folder : Path
        For its data, configuration and log.
    listeners : Mapping of str to str
        Further listeners beside the tests' own plain one: name -> security protocol.
    properties : Mapping of str to str
        Further broker properties.
    scram : Mapping of str to str
        Users of SCRAM-SHA-256 and SCRAM-SHA-512, and their passwords.
    """

    def __init__(
        self,
        folder: Path,
        listeners: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder)
        self._jars = kafka_jars()
        self.ports = {name: free_port() for name in listeners or {}}
        ports = {"TESTS": self.port, "CONTROLLER": free_port()} | self.ports
        protocols = {"TESTS": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **(listeners or {})}
        addresses = {name: f"{name}://{HOST}:{port}" for name, port in ports.items()}
        self._properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{ports['CONTROLLER']}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "TESTS",
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(at for name, at in addresses.items() if name != "CONTROLLER"),
            "listener.security.protocol.map": ",".join(f"{name}:{is_}" for name, is_ in protocols.items()),
            "log.dirs": str(folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "auto.create.topics.enable": "false",
            **(properties or {}),
        }
        self._format(scram or {})

    def command(self) -> Sequence[str | Path]:
        """Run the broker's main class, quick to start and modest in memory."""
        return [*self._java(), "kafka.Kafka", "server.properties"]

    def _format(self, scram: Mapping[str, str]) -> None:
        lines = [f"{name}={value}\n" for name, value in self._properties.items()]
        (self.folder / "server.properties").write_text("".join(lines))
        # One identity in 64 begins with a hyphen: apart from its option it would be taken for one.
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        config = ("-c", "server.properties")
        users = [
            argument
            for user, password in scram.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for argument in ("--add-scram", f"{mechanism}=[name={user},password={password}]")
        ]
        subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", *config, *users],
            cwd=self.folder, check=True, capture_output=True, timeout=DEADLINE,
        )  # fmt: skip

    def _java(self) -> list[str]:
        logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", logging, "-cp", f"{self._jars}/*"]


POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>rtcef-model-factory</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def kafka_jars() -> Path:
    """Return the folder of Apache Kafka's jars, fetched by Maven once; skip the test if they cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rtcef-model-factory"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if not shutil.which("java") or _java_version() < 17:
        pytest.skip("Apache Kafka needs Java 17 or later: apt-get install openjdk-17-jre-headless maven")
    if jars.is_dir():
        return jars
    if not shutil.which("mvn"):
        pytest.skip(f"Apache Kafka is fetched by Maven into {jars}: apt-get install maven")
    part = cache / f"{jars.name}.{os.getpid()}"
    part.mkdir(parents=True)
    (part / "pom.xml").write_text(POM)
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=."]
    fetched = subprocess.run(["mvn", "-q", "-B", *copy], cwd=part, capture_output=True, text=True, timeout=600)
    if fetched.returncode:
        shutil.rmtree(part)
        pytest.skip(f"Maven could not fetch Apache Kafka into {jars}: {fetched.stdout[-500:]}")
    try:
        part.rename(jars)
    except OSError:  # another test run was first
        shutil.rmtree(part)
    return jars


def _java_version() -> int:
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=DEADLINE).stderr
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else 0


AnyBroker = TypeVar("AnyBroker", bound=Broker)


@contextmanager
def running(broker: AnyBroker) -> Iterator[AnyBroker]:
    """Run a broker for as long as it is needed."""
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def noida(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoidaDb]:
    """Run one noida-db for all tests, which keep apart by the names of their topics."""
    with running(NoidaDb(tmp_path_factory.mktemp("noida"))) as broker:
        yield broker


@pytest.fixture
def own_noida(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoidaDb]:
    """Run a noida-db that belongs to one test."""
    with running(NoidaDb(tmp_path_factory.mktemp("noida"))) as broker:
        yield broker


@pytest.fixture
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Run an Apache Kafka that belongs to one test."""
    with running(ApacheKafka(tmp_path_factory.mktemp("kafka"))) as broker:
        yield broker


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Run one Apache Kafka for all tests that do not stop it."""
    with running(ApacheKafka(tmp_path_factory.mktemp("kafka"))) as broker:
        yield broker
