"""An Apache Kafka that lets nobody in without TLS, names and rights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from dataflow.kafka_settings import KafkaSettings, Security
from tests.brokers import DEADLINE, HOST, ApacheKafka
from tests.certificates import Authority

PASSWORDS = {"factory": "factory-5ecret", "nobody": "nobody-5ecret", "reader": "reader-5ecret"}
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
TRANSACTIONAL_ID: Any = ResourceType["TRANSACTIONAL_ID"]  # the stubs lack it


class SecuredKafka(ApacheKafka):
    """A broker with a listener for every way to prove oneself, and for every certificate that must not be accepted.

    Parameters
    ----------
    folder : Path
        For everything, certificates included.
    """

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
        super().__init__(folder, listeners, properties, PASSWORDS)

    def start(self) -> None:
        """Start it; the factory may use the transactional ids that it uses by default."""
        super().start()
        self.allow("factory", "rtcef-model-factory", WRITE, DESCRIBE, kind=TRANSACTIONAL_ID)

    def settings(self, listener: str = "secure", **changes: Any) -> KafkaSettings:
        """Return settings that work, but for the changes."""
        address = f"{HOST}:{self.ports[listener.upper()]}"
        given = {"protocol": "sasl_ssl", "username": "factory", "ca": str(self.authority.ca), **changes}
        return KafkaSettings(brokers=(address,), connect_timeout=DEADLINE, security=Security(**given))

    def allow(self, user: str, name: str, *operations: Any, kind: Any = ResourceType.TOPIC) -> None:
        """Give a user rights, and wait until the broker acts on them."""
        pattern = ResourcePatternType.PREFIXED if kind == TRANSACTIONAL_ID else ResourcePatternType.LITERAL
        bindings = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        for made in self._admin.create_acls(bindings).values():
            made.result(DEADLINE)
        of_user = AclBindingFilter(kind, name, pattern, f"User:{user}", "*", AclOperation.ANY, AclPermissionType.ANY)
        deadline = time.monotonic() + DEADLINE
        while not set(bindings) <= set(self._admin.describe_acls(of_user).result(DEADLINE)):
            assert time.monotonic() < deadline, f"{user} did not get {operations} on {name}"

    def topic_for(self, user: str, *operations: Any) -> str:
        """Make a topic that a user has some rights to."""
        topic = self.make_topic()
        if operations:
            self.allow(user, topic, *operations)
        return topic
