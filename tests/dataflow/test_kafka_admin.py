"""What is refused before anything is consumed, and that the refusal names what to do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from dataflow.config import load_config
from dataflow.connectors import OUTPUTS, open_connectors
from dataflow.connectors.kafka_admin import Topic, TopicCheck, _checked
from dataflow.connectors.kafka_client import Clients
from dataflow.errors import FactoryFault
from dataflow.kafka_settings import KafkaSettings, TopicSettings
from tests.brokers import NoidaDb, free_port
from tests.dataflow.kafka_ends import settings_of

DAY = 86_400


def check(settings: KafkaSettings, outputs: tuple[str, ...] = (), **names: str) -> dict[str, Topic]:
    return TopicCheck(Clients(settings, {}), names).run(outputs, keep_seconds=DAY)


def test_check_tells_partitions_and_limits(noida: NoidaDb) -> None:
    commands, reports = noida.make_topic(partitions=3), noida.make_topic(max_message_bytes="5000000")
    topics = check(settings_of(noida), ("reports",), commands=commands, reports=reports)
    assert (topics["commands"].name, topics["commands"].partitions) == (commands, 3)
    assert (topics["reports"].name, topics["reports"].max_bytes) == (reports, 5_000_000)


def test_check_refuses_unreachable_brokers_with_the_reason() -> None:
    for patience in (1.0, 8.0, 64.0):  # on a busy machine the time may be over before the first attempt is
        settings = KafkaSettings(brokers=(f"127.0.0.1:{free_port()}",), connect_timeout=patience)
        with pytest.raises(
            FactoryFault, match=rf"no broker of 127.0.0.1:\d+ answered within {patience:g} s: "
        ) as caught:
            check(settings, commands="any")
        if "refused" in str(caught.value):
            break
    assert "refused" in str(caught.value)


def test_check_refuses_a_name_that_is_no_host() -> None:
    settings = KafkaSettings(brokers=("no-such-host.invalid:9092",), connect_timeout=0.5)
    with pytest.raises(FactoryFault, match=r"no broker of no-such-host.invalid:9092 answered within"):
        check(settings, commands="any")


def test_check_names_missing_topics(noida: NoidaDb) -> None:
    there = noida.make_topic()
    with pytest.raises(FactoryFault, match=r"topics are missing: gone-1 \(commands\), gone-2 \(acks\); create"):
        check(settings_of(noida), commands="gone-1", datasets=there, acks="gone-2")


def test_check_makes_missing_topics_as_configured(noida: NoidaDb, caplog: pytest.LogCaptureFixture) -> None:
    name = noida.make_topic() + "-reports"
    wish = TopicSettings(
        partitions=2, replication=1, config={"retention.ms": "90000000", "max.message.bytes": "300000"}
    )
    settings = settings_of(noida, create_topics=True, topics={"reports": wish})
    topics = check(settings, ("reports",), reports=name)
    assert (topics["reports"].partitions, topics["reports"].max_bytes) == (2, 300_000)
    assert f"created topic {name}" in caplog.text
    assert noida.configuration(name)["retention.ms"] == "90000000"
    assert check(settings, ("reports",), reports=name) == topics


def test_check_lets_two_processes_make_the_same_topics(noida: NoidaDb) -> None:
    name = noida.make_topic()
    check_of_the_slower: Any = TopicCheck(Clients(settings_of(noida, create_topics=True), {}), {"reports": name})
    check_of_the_slower._create(["reports"])
    assert check_of_the_slower.run(["reports"], DAY)["reports"].name == name


@pytest.mark.parametrize(
    ("retention", "accepted"), [("-1", True), ("86400000", True), ("86399999", False), ("0", False)]
)
def test_check_refuses_outputs_that_are_forgotten_before_journals_forget_them(
    noida: NoidaDb, retention: str, accepted: bool
) -> None:
    name = noida.make_topic(retention_ms=retention)
    if accepted:
        assert check(settings_of(noida), ("reports",), reports=name)
    else:
        with pytest.raises(FactoryFault, match=rf"topic {name} keeps messages for .* set its retention.ms to 86400000"):
            check(settings_of(noida), ("reports",), reports=name)
    assert check(settings_of(noida), commands=name)


def test_connectors_are_opened_by_configuration(noida: NoidaDb, tmp_path: Path) -> None:
    marker = noida.make_topic()
    names = {"commands": f"{marker}-c", "datasets": f"{marker}-d", **{name: f"{marker}-{name}" for name in OUTPUTS}}
    file = tmp_path / "factory.toml"
    topics = "".join(f'{logical} = "{name}"\n' for logical, name in names.items())
    file.write_text(f'connector = "kafka"\n[kafka]\ncreate_topics = true\nconnect_timeout = 120.0\n[topics]\n{topics}')
    environment = {"FACTORY_BROKERS": f" {noida.address} ", "FACTORY_DATA_ROOT": str(tmp_path / "data")}
    connectors = open_connectors(load_config(file, environment))
    assert connectors.commands.list_parts() == ["0"]
    assert set(connectors.sinks) == set(OUTPUTS)
    assert (tmp_path / "data" / "kafka").is_dir()


def test_check_warns_where_it_may_not_look(noida: NoidaDb, caplog: pytest.LogCaptureFixture) -> None:
    topic = Topic("model_reports", 1, "id")
    refusal = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with caplog.at_level(logging.WARNING):
        assert _checked(topic, refusal, DAY) == topic
    assert "its retention.ms is at least 86400000" in caplog.text
