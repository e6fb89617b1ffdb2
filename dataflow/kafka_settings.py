"""What a deployment decides about its brokers: plain frozen structs with their defaults.

Knows no client, no file and no environment; `config` reads these from TOML and lays the environment over them. No
password stands here, so nothing that prints a configuration can print one: the client reads them when it connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from dataflow.errors import ConfigError

Seconds: TypeAlias = Annotated[float, Meta(gt=0)]

PREFIX = "FACTORY_KAFKA_"
"""Before the upper-case name of a security setting: the variable that overrides it."""

OWNED = {
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "metadata.broker.list",
    "transactional.id",
}
"""Client properties that the connector's promises rest on: nobody may set them."""

SECRET_PARTS = ("password", "pem", "secret", "token", "jaas")
"""A client property with one of these in its name may hold a secret, which must not stand in a configuration."""


class Security(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How clients prove who they are, and how they know the broker.

    The two passwords come from `FACTORY_KAFKA_PASSWORD` and `FACTORY_KAFKA_KEY_PASSWORD`, or from the files named here.
    """

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    ca: str | None = None
    """PEM file of the authorities that may sign the broker's certificate; None: the system's."""
    certificate: str | None = None
    """PEM file of the client's certificate."""
    key: str | None = None
    """PEM file of its private key."""
    key_password_file: str | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password_file: str | None = None
    verify_hostname: bool = True
    """Whether the broker's certificate must name the host that was called."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: one is missing")
        if self.uses_sasl and self.username is None:
            raise ValueError(f"protocol {self.protocol} needs a username")

    @property
    def uses_sasl(self) -> bool:
        """Whether clients prove themselves with a name and a password."""
        return self.protocol.startswith("sasl")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol.endswith("ssl")


class TopicSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a missing topic is made; an existing one stays as it is."""

    partitions: Annotated[int, Meta(ge=1)] = 1
    replication: Annotated[int, Meta(ge=1)] | None = None
    """None: the brokers' own default."""
    config: dict[str, str] = {}
    """Topic configuration, for instance `"retention.ms" = "604800000"`; passed through."""


class KafkaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is configured about the Kafka connector."""

    brokers: tuple[str, ...] = ("localhost:9092",)
    """`HOST:PORT` of the brokers that are asked first."""
    connect_timeout: Seconds = 15.0
    """How long brokers may take to answer at start."""
    outage_timeout: Seconds = 900.0
    """How long an output may wait for its broker in mid-run; the transaction timeout, 900 s at most by default."""
    create_topics: bool = False
    topics: dict[str, TopicSettings] = {}
    """By the logical name: commands, datasets, reports, models, acks, dead_letters."""
    transactional_id: str = "rtcef-model-factory"
    """What transactional ids begin with: `<this>-<topic>-<partition>`."""
    expired: Literal["stop", "resume"] = "stop"
    """Where messages expired before they were read: stop with an error, or say what was lost and read on."""
    client: dict[str, str | int | float | bool] = {}
    """Further librdkafka properties, for sources and sinks alike; passed through."""
    security: Security = Security()

    def __post_init__(self) -> None:
        if not self.brokers:
            raise ValueError("brokers: expected at least one HOST:PORT")
        for name in self.client:
            if name in OWNED:
                raise ValueError(f"client: {name} is the connector's own, it cannot be configured")
            if any(part in name for part in SECRET_PARTS):
                raise ValueError(
                    f"client: {name} may be a secret: give it by {PREFIX}PASSWORD or {PREFIX}KEY_PASSWORD, "
                    "or by security.password_file or security.key_password_file"
                )


def with_folder(settings: KafkaSettings, folder: Path) -> KafkaSettings:
    """Return the settings with the relative names of files starting from a folder."""
    files = {
        name: str(folder / file)
        for name in ("ca", "certificate", "key", "key_password_file", "password_file")
        if (file := getattr(settings.security, name)) is not None
    }
    return replace(settings, security=replace(settings.security, **files))


def with_environment(settings: KafkaSettings, environment: Mapping[str, str]) -> KafkaSettings:
    """Return the settings with what the environment overrides: `FACTORY_BROKERS`, `FACTORY_KAFKA_<SECURITY FIELD>`.

    Raises
    ------
    ConfigError
        If a variable has no usable value.
    """
    given = {
        name: value for name in Security.__struct_fields__ if (value := environment.get(f"{PREFIX}{name.upper()}"))
    }
    changes: dict[str, Any] = {"security": {**msgspec.to_builtins(settings.security), **given}}
    if brokers := environment.get("FACTORY_BROKERS"):
        changes["brokers"] = [broker.strip() for broker in brokers.split(",")]
    try:
        return msgspec.convert({**msgspec.to_builtins(settings), **changes}, KafkaSettings, strict=False)
    except msgspec.ValidationError as error:
        named = ", ".join(f"{PREFIX}{name.upper()}" for name in given)
        raise ConfigError(f"the environment's Kafka settings ({named or 'FACTORY_BROKERS'}): {error}") from error
