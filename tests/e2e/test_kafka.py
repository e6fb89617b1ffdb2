"""The factory over Kafka, under fire: its consumers cannot tell, whether it is killed or its broker is restarted."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation

from tests.brokers import HOST, ApacheKafka, Broker, NoidaDb, free_port
from tests.e2e.factory import Factory
from tests.e2e.history import History
from tests.e2e.kafka_topics import KafkaTopics
from tests.e2e.moments import moment
from tests.e2e.neighbours import INPUTS, OUTPUTS
from tests.e2e.run import Run
from tests.e2e.test_faults import Report, finish, play_on
from tests.secured import DESCRIBE, PASSWORDS, READ, WRITE, SecuredKafka

SETTINGS = """
[kafka]
connect_timeout = 120.0
"""


@contextmanager
def run_over(
    broker: Broker, root: Path, folder: Path, environment: dict[str, str] | None = None, partitions: int = 1
) -> Iterator[Run]:
    """Begin a run of the scenario on an empty root; the factory ends with it."""
    topics = KafkaTopics(broker, partitions)
    given = environment or {"FACTORY_BROKERS": broker.address}
    run = Run(root, folder, {"FACTORY_CONNECTOR": "kafka", **given}, topics)
    with (folder / "settings" / "factory.toml").open("a") as file:
        file.write(SETTINGS)
    try:
        yield run
    finally:
        run.factory.kill()
        topics.close()
        shutil.rmtree(root)


def kill_on_the_way(run: Run, broker: Broker, seed: int, kills: int) -> str:
    """Kill and start again at random moments; every third time the recovery store is gone."""
    rng, lost = random.Random(seed), 0
    run.factory.start()
    for kill in range(kills):
        run.play(until=moment(rng, run))
        run.factory.kill()
        if kill % 3 == 2:
            run.factory.lose_recovery_store()
            lost += 1
        run.factory.start()
    return f"over {type(broker).__name__}, seed {seed}: {kills} kills, {lost} recovery stores deleted"


def test_factory_over_kafka_survives_kills(
    own_noida: NoidaDb, root: Path, tmp_path: Path, undisturbed: History, report: Report
) -> None:
    with run_over(own_noida, root, tmp_path) as run:
        story = kill_on_the_way(run, own_noida, 1, 3)
        report(f"{story}, {finish(run, undisturbed)}")


@pytest.mark.parametrize("flaw", ["no broker", "no topics"])
def test_factory_that_cannot_use_its_broker_ends_with_one_clear_line(
    flaw: str, own_noida: NoidaDb, root: Path, tmp_path: Path
) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    address, patience = (own_noida.address, 120) if flaw == "no topics" else (f"{HOST}:{free_port()}", 3)
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "factory.toml").write_text(f"[kafka]\nconnect_timeout = {patience}\n")
    factory = Factory(root, tmp_path, {"FACTORY_CONNECTOR": "kafka", "FACTORY_BROKERS": address})
    factory.start()
    assert factory.wait() != 0
    (stopped,) = factory.events("stopped")
    reason = "answered within 3 s" if flaw == "no broker" else "topics are missing: factory_commands (commands), "
    assert reason in str(stopped["text"])
    shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "partitions"), [(2, 1), (3, 1), (4, 3), (5, 3)])
def test_factory_over_apache_kafka_survives_many_kills(
    seed: int,
    partitions: int,
    own_kafka: ApacheKafka,
    root: Path,
    tmp_path: Path,
    undisturbed: History,
    report: Report,
) -> None:
    with run_over(own_kafka, root, tmp_path, partitions=partitions) as run:
        story = kill_on_the_way(run, own_kafka, seed, 12)
        report(f"{story}, {partitions} partitions, {finish(run, undisturbed)}")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_factory_waits_for_apache_kafka_to_come_back(
    how: signal.Signals, own_kafka: ApacheKafka, root: Path, tmp_path: Path, undisturbed: History, report: Report
) -> None:
    rng = random.Random(20)
    with run_over(own_kafka, root, tmp_path) as run:
        run.factory.start()
        for _ in range(3):
            play_on(run, rng.randint(5, 15))
            run.play(until=moment(rng, run))
            own_kafka.stop(how)
            own_kafka.start()
        assert run.factory.starts == 1
        report(f"over Apache Kafka, 3 broker restarts by {how.name}: {finish(run, undisturbed)}")


@pytest.mark.slow
def test_factory_killed_while_apache_kafka_is_away_says_so_at_start(
    own_kafka: ApacheKafka, root: Path, tmp_path: Path, undisturbed: History, report: Report
) -> None:
    with run_over(own_kafka, root, tmp_path) as run:
        run.factory.start()
        play_on(run, 12)
        own_kafka.stop()
        run.factory.kill()
        settings = tmp_path / "settings" / "factory.toml"
        patient = settings.read_text()
        settings.write_text(patient.replace("connect_timeout = 120.0", "connect_timeout = 2.0"))
        run.factory.start()
        assert run.factory.wait() != 0
        assert "answered within 2 s" in str(run.factory.events("stopped")[-1]["text"])
        settings.write_text(patient)
        own_kafka.start()
        run.factory.start()
        report(f"over Apache Kafka, killed during an outage: {finish(run, undisturbed)}")


@pytest.mark.slow
def test_factory_runs_the_scenario_over_tls_with_no_more_rights_than_it_needs(
    root: Path, tmp_path: Path, undisturbed: History, report: Report
) -> None:
    (tmp_path / "broker").mkdir()
    broker = SecuredKafka(tmp_path / "broker")
    broker.start()
    for topic in (*INPUTS.values(), *OUTPUTS.values()):
        broker.allow("factory", topic, READ, DESCRIBE)
    for topic in OUTPUTS.values():
        broker.allow("factory", topic, WRITE, AclOperation.DESCRIBE_CONFIGS)
    password = tmp_path / "password"
    password.write_text(PASSWORDS["factory"])
    environment = {
        "FACTORY_BROKERS": f"{HOST}:{broker.ports['SECURE']}",
        "FACTORY_KAFKA_PROTOCOL": "sasl_ssl",
        "FACTORY_KAFKA_CA": str(broker.authority.ca),
        "FACTORY_KAFKA_USERNAME": "factory",
        "FACTORY_KAFKA_PASSWORD_FILE": str(password),
    }
    try:
        with run_over(broker, root, tmp_path, environment) as run:
            story = kill_on_the_way(run, broker, 40, 3)
            report(f"{story}, SASL_SSL and ACLs, {finish(run, undisturbed)}")
            assert PASSWORDS["factory"] not in run.factory.log.read_text(errors="replace")
    finally:
        broker.stop()
