"""Kafka clients: how they are made, how they prove who they are, and what is told of their connections.

Owns the translation of settings into librdkafka properties and the reading of passwords, which go into a client and
nowhere else. It knows no topic and no message.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from dataflow import metrics
from dataflow.errors import FactoryFault
from dataflow.kafka_settings import PREFIX, KafkaSettings

log = logging.getLogger(__name__)

SLICE = 1.0
"""Seconds that a call to a broker may block before its caller looks around again."""

Client = TypeVar("Client")

TLS_ALERT = "SSL alert number"
"""In the text of a connection that the broker ended because of our certificate; its code is that of a lost one."""

NOT_OURS = {KafkaError.GROUP_AUTHORIZATION_FAILED}
"""What a consumer may say and we pass over: it asks for the coordinator of its group, but we use none."""

_CRITICAL = 2
"""syslog's level of librdkafka's own log lines: what is milder comes to us as an error, and we say it once."""


class Link:
    """One client's connection: says in the log and in a metric when its brokers go and when they come back.

    Parameters
    ----------
    name : str
        The client's name in both.
    """

    def __init__(self, name: str) -> None:
        self._name, self._connected = name, True
        metrics.broker_connected(name, True)
        self.reason: KafkaError | None = None
        """Why it does not reach its brokers, as last heard."""

    def on_error(self, error: KafkaError) -> None:
        """Take librdkafka's word for what went wrong; it goes on trying by itself."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.reason = error
        elif self._connected:
            log.warning("%s: no broker can be reached, waiting for one: %s", self._name, self.explanation())
            self._connected = False
            metrics.broker_connected(self._name, False)

    def on_statistics(self, text: str) -> None:
        """Look whether a broker is there again."""
        if not self._connected and "UP" in (broker.state for broker in _decode_statistics(text).brokers.values()):
            self.connected()

    def connected(self) -> None:
        """Note that a broker answered."""
        if not self._connected:
            log.warning("%s: a broker can be reached again", self._name)
            self._connected, self.reason = True, None
            metrics.broker_connected(self._name, True)

    def end(self) -> None:
        """Forget a client that is not used any more, and so would never tell that its brokers came back."""
        metrics.broker_forgotten(self._name)

    def explanation(self) -> str:
        """Return the last reason as text."""
        return "no answer" if self.reason is None else self.reason.str()


class _Broker(msgspec.Struct):
    state: str


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker]


_decode_statistics = msgspec.json.Decoder(_Statistics).decode


class Clients:
    """Makes clients that all have the deployment's brokers and security.

    Parameters
    ----------
    settings : KafkaSettings
        Brokers, security and further properties.
    environment : Mapping of str to str, optional
        Where passwords are, `os.environ` by default.

    Raises
    ------
    FactoryFault
        If a password is missing, or a file cannot be read.
    """

    def __init__(self, settings: KafkaSettings, environment: Mapping[str, str] = os.environ) -> None:
        self.settings = settings
        self._properties = _properties(settings) | _passwords(settings, environment)

    def consumer(self, link: Link, **properties: Any) -> Consumer:
        """Make a consumer that reads what it is assigned and commits nothing; `_` in names stands for `.`."""
        ours = {"group.id": "none", "enable.auto.commit": False, "isolation.level": "read_committed"}
        return self._made(Consumer, link, ours | {"max.poll.interval.ms": 86_400_000} | _dotted(properties))

    def producer(self, link: Link, **properties: Any) -> Producer:
        """Make a producer; `_` in names stands for `.`."""
        return self._made(Producer, link, _dotted(properties))

    def admin(self, link: Link) -> AdminClient:
        """Make a client that asks about topics."""
        return self._made(AdminClient, link, {})

    def _made(self, kind: Callable[..., Client], link: Link, properties: dict[str, Any]) -> Client:
        callbacks = {"error_cb": link.on_error, "stats_cb": link.on_statistics, "statistics.interval.ms": 1000}
        try:
            return kind(self._properties | callbacks | properties, logger=log)
        except KafkaException as error:
            raise FactoryFault(f"[kafka]: no client can be made: {kafka_error(error).str()}") from error


def is_refusal(error: KafkaError) -> bool:
    """Tell whether a connection failed for a reason that waiting does not cure."""
    return error.code() in {KafkaError._AUTHENTICATION, KafkaError._SSL} or TLS_ALERT in error.str()


def kafka_error(error: BaseException) -> KafkaError:
    """Return what librdkafka says inside an exception; what is not from it is a bug and goes on."""
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return error.args[0]
    raise error


def _dotted(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in properties.items()}


def _properties(settings: KafkaSettings) -> dict[str, Any]:
    security = settings.security
    given = {
        "ssl.ca.location": _checked("ca", security.ca),
        "ssl.certificate.location": _checked("certificate", security.certificate),
        "ssl.key.location": _checked("key", security.key),
        "sasl.username": security.username if security.uses_sasl else None,
        "sasl.mechanism": security.mechanism if security.uses_sasl else None,
    }
    return {
        "client.id": "rtcef-model-factory",
        "reconnect.backoff.max.ms": 2000,
        "log_level": _CRITICAL,
        **settings.client,
        "bootstrap.servers": ",".join(settings.brokers),
        "security.protocol": security.protocol,
        "ssl.endpoint.identification.algorithm": "https" if security.verify_hostname else "none",
        **{name: value for name, value in given.items() if value is not None},
    }


def _checked(name: str, file: str | None) -> str | None:
    """Return the file, if it can be read: librdkafka's own complaint does not name it."""
    if file is not None:
        _read(name, file)
    return file


def _passwords(settings: KafkaSettings, environment: Mapping[str, str]) -> dict[str, str]:
    security = settings.security
    found = {
        "sasl.password": _secret(f"{PREFIX}PASSWORD", "password_file", security.password_file, environment),
        "ssl.key.password": _secret(
            f"{PREFIX}KEY_PASSWORD", "key_password_file", security.key_password_file, environment
        ),
    }
    if security.uses_sasl and found["sasl.password"] is None:
        raise FactoryFault(
            f"[kafka] security: protocol {security.protocol} needs a password: "
            f"set {PREFIX}PASSWORD, or password_file to a file that holds it"
        )
    return {name: secret for name, secret in found.items() if secret is not None}


def _secret(variable: str, field: str, file: str | None, environment: Mapping[str, str]) -> str | None:
    if given := environment.get(variable):
        return given
    return None if file is None else _read(field, file).rstrip("\r\n")


def _read(field: str, file: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise FactoryFault(f"[kafka] security: {field}: {file} cannot be read: {reason}") from error
