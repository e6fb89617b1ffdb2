"""TLS, SASL and ACLs on Apache Kafka: the right client works, every other is told why it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AclOperation
from msgspec.structs import replace

from dataflow.connectors.kafka import KafkaTopicSource
from dataflow.connectors.kafka_admin import Topic, TopicCheck
from dataflow.connectors.kafka_client import Clients, Link
from dataflow.connectors.kafka_sender import Sender
from dataflow.connectors.kafka_sink import KafkaTopicSink
from dataflow.errors import FactoryFault
from dataflow.kafka_settings import KafkaSettings
from tests.brokers import DEADLINE
from tests.dataflow.connector_contract import line, take, values
from tests.secured import DESCRIBE, PASSWORDS, READ, WRITE, SecuredKafka

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    broker.start()
    yield broker
    broker.stop()


def environment(user: str = "factory") -> dict[str, str]:
    return {"FACTORY_KAFKA_PASSWORD": PASSWORDS[user]}


def check(settings: KafkaSettings, topic: str, secrets: dict[str, str] | None = None) -> None:
    TopicCheck(Clients(settings, secrets or environment()), {"reports": topic}).run(["reports"], keep_seconds=0)


@pytest.mark.parametrize("way", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "certificate"])
def test_factory_with_the_right_credentials_reads_and_writes(secured: SecuredKafka, tmp_path: Path, way: str) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    if way == "certificate":
        certificate, key = secured.authority.issue("factory", password=b"key-5ecret")
        files = {"certificate": str(certificate), "key": str(key)}
        settings = secured.settings("mutual", protocol="ssl", username=None, **files)
        clients = Clients(settings, {"FACTORY_KAFKA_KEY_PASSWORD": "key-5ecret"})
    else:
        clients = Clients(secured.settings(mechanism=way), environment())
    described = TopicCheck(clients, {"it": topic}).run(["it"], keep_seconds=0)["it"]
    sink = KafkaTopicSink(clients, described).build_part("flow.reports", "0", None)
    sink.write_batch([line("a/1/0")])
    sink.snapshot()
    source = KafkaTopicSource(clients, described, "commands", tmp_path).build_part("flow.commands", "0", None)
    assert values(take(source, 1)) == [line("a/1/0")[1]]
    sink.close()
    source.close()


@pytest.mark.parametrize(
    ("listener", "changes", "reason"),
    [
        pytest.param("secure", {"username": "stranger"}, "invalid credentials with SASL mechanism", id="no-such-user"),
        pytest.param("secure", {"ca": "stranger"}, "not accepted: unable to get local issuer", id="wrong-ca"),
        pytest.param("expired", {}, "not accepted: certificate has expired", id="expired-certificate"),
        pytest.param("elsewhere", {}, "not accepted: IP address mismatch", id="another-host"),
    ],
)
def test_client_is_told_why_it_is_refused(
    secured: SecuredKafka, listener: str, changes: dict[str, str], reason: str
) -> None:
    if "ca" in changes:
        changes = {"ca": str(secured.stranger.ca)}
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    with pytest.raises(FactoryFault, match=reason) as refused:
        check(secured.settings(listener, **changes), topic)
    assert PASSWORDS["factory"] not in str(refused.value)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_client_with_a_wrong_password_is_refused(secured: SecuredKafka, mechanism: str) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    with pytest.raises(FactoryFault, match=r"invalid credentials|Invalid username or password") as refused:
        check(secured.settings(mechanism=mechanism), topic, {"FACTORY_KAFKA_PASSWORD": "wr0ng-5ecret"})
    assert "5ecret" not in str(refused.value)


@pytest.mark.parametrize("flaw", ["none", "expired", "stranger"])
def test_client_with_a_certificate_that_is_no_good_is_refused(secured: SecuredKafka, flaw: str) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    authority = secured.stranger if flaw == "stranger" else secured.authority
    certificate, key = authority.issue("factory", expired=flaw == "expired")
    files = {} if flaw == "none" else {"certificate": str(certificate), "key": str(key)}
    with pytest.raises(FactoryFault, match=r"the broker does not accept this client's certificate: .* alert"):
        check(secured.settings("mutual", protocol="ssl", username=None, **files), topic)


@pytest.mark.parametrize("changes", [{"protocol": "ssl"}, {"protocol": "plaintext"}])
def test_client_that_speaks_another_protocol_gets_no_answer(secured: SecuredKafka, changes: dict[str, str]) -> None:
    settings = replace(secured.settings(**changes), connect_timeout=3.0)
    with pytest.raises(FactoryFault, match=r"no broker of .* answered within 3 s: .*; check brokers and security"):
        check(settings, "any")


def test_host_name_may_go_unverified_where_it_is_said_so(secured: SecuredKafka) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    check(secured.settings("elsewhere", verify_hostname=False), topic)


def test_client_without_rights_gets_nothing(secured: SecuredKafka) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    secured.send(topic, b"a secret")
    settings = secured.settings(username="nobody")
    with pytest.raises(FactoryFault, match=rf"nobody has no right to DESCRIBE these topics: {topic} \(reports\)"):
        check(settings, topic, environment("nobody"))
    clients = Clients(settings, environment("nobody"))
    consumer = clients.consumer(Link("test"), auto_offset_reset="error")
    with pytest.raises(KafkaException, match="Failed to get watermark offsets"):
        consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=DEADLINE)
    consumer.close()
    refusals: list[KafkaError | None] = []
    producer = clients.producer(Link("test"))
    producer.produce(topic, b"forged", on_delivery=lambda error, _: refusals.append(error))
    producer.flush(DEADLINE)
    assert [error and error.code() for error in refusals] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    with pytest.raises(FactoryFault, match="no right to WRITE and DESCRIBE the transactional id rtcef-model-factory-"):
        Sender(clients, Topic(topic, 1, topic), 0)
    assert secured.values(topic) == [b"a secret"]


@pytest.mark.parametrize(("granted", "lacking"), [((DESCRIBE,), "READ"), ((READ,), "WRITE")])
def test_client_that_lacks_one_right_is_told_which(
    secured: SecuredKafka, granted: tuple[Any, ...], lacking: str
) -> None:
    topic = secured.topic_for("reader", *granted)
    with pytest.raises(FactoryFault, match=rf"reader has no right to {lacking} these topics: {topic} \(reports\)"):
        check(secured.settings(username="reader"), topic, environment("reader"))


def test_client_that_may_not_see_the_configuration_is_warned(
    secured: SecuredKafka, caplog: pytest.LogCaptureFixture
) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    check(secured.settings(), topic)
    assert f"topic {topic}: its configuration may not be read" in caplog.text
    caplog.clear()
    secured.allow("factory", topic, AclOperation.DESCRIBE_CONFIGS)
    check(secured.settings(), topic)
    assert "configuration" not in caplog.text
