"""TLS, SASL and ACLs on Apache Kafka: the right client works, every other is told why it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
from msgspec.structs import replace

from dataflow.connectors.kafka import KafkaTopicSource
from dataflow.connectors.kafka_admin import Topic, TopicCheck
from dataflow.connectors.kafka_client import Clients, Link
from dataflow.connectors.kafka_sender import Sender
from dataflow.connectors.kafka_sink import KafkaTopicSink
from dataflow.errors import FactoryFault
from dataflow.kafka_settings import KafkaSettings, Security
from tests.brokers import DEADLINE, HOST, ApacheKafka
from tests.certificates import Authority
from tests.dataflow.connector_contract import line, take, values

pytestmark = pytest.mark.slow

PASSWORDS = {"factory": "factory-5ecret", "nobody": "nobody-5ecret", "reader": "reader-5ecret"}
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
TRANSACTIONAL_ID: Any = ResourceType["TRANSACTIONAL_ID"]  # the stubs lack it


class Secured:
    """A broker that lets nobody in without TLS, names and rights, and the authorities behind it."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.stranger = Authority(folder / "ours"), Authority(folder / "theirs")
        jaas = "org.apache.kafka.common.security"
        users = " ".join(f'user_{user}="{password}"' for user, password in PASSWORDS.items())
        sasl = {
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            "scram-sha-256.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
            "scram-sha-512.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
            "plain.sasl.jaas.config": f"{jaas}.plain.PlainLoginModule required {users};",
        }
        mutual = {
            "ssl.client.auth": "required",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.ca),
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        }
        keystores = {
            "secure": self.authority.keystore("secure", HOST),
            "mutual": self.authority.keystore("mutual", HOST),
            "expired": self.authority.keystore("expired", HOST, expired=True),
            "elsewhere": self.authority.keystore("elsewhere", "broker.elsewhere.example"),
        }
        properties = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # only the tests' own plain listener has no names
        }
        for listener, keystore in keystores.items():
            own = {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(keystore)}
            own |= mutual if listener == "mutual" else sasl
            properties |= {f"listener.name.{listener}.{name}": value for name, value in own.items()}
        listeners = {name.upper(): "SSL" if name == "mutual" else "SASL_SSL" for name in keystores}
        self.broker = ApacheKafka(folder, listeners, properties, PASSWORDS)

    def settings(self, listener: str = "secure", **changes: Any) -> KafkaSettings:
        """Return settings that work, but for the changes."""
        address = f"{HOST}:{self.broker.ports[listener.upper()]}"
        given = {"protocol": "sasl_ssl", "username": "factory", "ca": str(self.authority.ca), **changes}
        return KafkaSettings(brokers=(address,), connect_timeout=DEADLINE, security=Security(**given))

    def allow(self, user: str, name: str, *operations: Any, kind: Any = ResourceType.TOPIC) -> None:
        """Give a user rights."""
        pattern = ResourcePatternType.PREFIXED if kind == TRANSACTIONAL_ID else ResourcePatternType.LITERAL
        bindings = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        for made in self.broker._admin.create_acls(bindings).values():
            made.result(DEADLINE)

    def topic_for(self, user: str, *operations: Any) -> str:
        """Make a topic that a user has some rights to."""
        topic = self.broker.make_topic()
        if operations:
            self.allow(user, topic, *operations)
        return topic


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    secured = Secured(tmp_path_factory.mktemp("secured"))
    secured.broker.start()
    secured.allow("factory", "rtcef-model-factory", WRITE, DESCRIBE, kind=TRANSACTIONAL_ID)
    yield secured
    secured.broker.stop()


def environment(user: str = "factory") -> dict[str, str]:
    return {"FACTORY_KAFKA_PASSWORD": PASSWORDS[user]}


def check(settings: KafkaSettings, topic: str, secrets: dict[str, str] | None = None) -> None:
    TopicCheck(Clients(settings, secrets or environment()), {"reports": topic}).run(["reports"], keep_seconds=0)


@pytest.mark.parametrize("way", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "certificate"])
def test_factory_with_the_right_credentials_reads_and_writes(secured: Secured, tmp_path: Path, way: str) -> None:
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
    secured: Secured, listener: str, changes: dict[str, str], reason: str
) -> None:
    if "ca" in changes:
        changes = {"ca": str(secured.stranger.ca)}
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    with pytest.raises(FactoryFault, match=reason) as refused:
        check(secured.settings(listener, **changes), topic)
    assert PASSWORDS["factory"] not in str(refused.value)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_client_with_a_wrong_password_is_refused(secured: Secured, mechanism: str) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    with pytest.raises(FactoryFault, match=r"invalid credentials|Invalid username or password") as refused:
        check(secured.settings(mechanism=mechanism), topic, {"FACTORY_KAFKA_PASSWORD": "wr0ng-5ecret"})
    assert "5ecret" not in str(refused.value)


@pytest.mark.parametrize("flaw", ["none", "expired", "stranger"])
def test_client_with_a_certificate_that_is_no_good_is_refused(secured: Secured, flaw: str) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    authority = secured.stranger if flaw == "stranger" else secured.authority
    certificate, key = authority.issue("factory", expired=flaw == "expired")
    files = {} if flaw == "none" else {"certificate": str(certificate), "key": str(key)}
    with pytest.raises(FactoryFault, match=r"the broker does not accept this client's certificate: .* alert"):
        check(secured.settings("mutual", protocol="ssl", username=None, **files), topic)


@pytest.mark.parametrize("changes", [{"protocol": "ssl"}, {"protocol": "plaintext"}])
def test_client_that_speaks_another_protocol_gets_no_answer(secured: Secured, changes: dict[str, str]) -> None:
    settings = replace(secured.settings(**changes), connect_timeout=3.0)
    with pytest.raises(FactoryFault, match=r"no broker of .* answered within 3 s: .*; check brokers and security"):
        check(settings, "any")


def test_host_name_may_go_unverified_where_it_is_said_so(secured: Secured) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    check(secured.settings("elsewhere", verify_hostname=False), topic)


def test_client_without_rights_gets_nothing(secured: Secured) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    secured.broker.send(topic, b"a secret")
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
    assert secured.broker.values(topic) == [b"a secret"]


@pytest.mark.parametrize(("granted", "lacking"), [((DESCRIBE,), "READ"), ((READ,), "WRITE")])
def test_client_that_lacks_one_right_is_told_which(secured: Secured, granted: tuple[Any, ...], lacking: str) -> None:
    topic = secured.topic_for("reader", *granted)
    with pytest.raises(FactoryFault, match=rf"reader has no right to {lacking} these topics: {topic} \(reports\)"):
        check(secured.settings(username="reader"), topic, environment("reader"))


def test_client_that_may_not_see_the_configuration_is_warned(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    topic = secured.topic_for("factory", READ, WRITE, DESCRIBE)
    check(secured.settings(), topic)
    assert f"topic {topic}: its configuration may not be read" in caplog.text
    caplog.clear()
    secured.allow("factory", topic, AclOperation.DESCRIBE_CONFIGS)
    check(secured.settings(), topic)
    assert "configuration" not in caplog.text
