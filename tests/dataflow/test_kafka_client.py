"""Settings become client properties; passwords go into a client and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dataflow.config import effective, load_config
from dataflow.connectors.kafka_client import Clients, Link
from dataflow.errors import ConfigError, FactoryFault
from dataflow.kafka_settings import KafkaSettings, Security, with_environment

SECRET = "hunter2-and-more"


def properties(clients: Clients) -> dict[str, Any]:
    return clients._properties


def test_client_verifies_host_names_by_default() -> None:
    given = properties(Clients(KafkaSettings(security=Security(protocol="ssl")), {}))
    assert given["ssl.endpoint.identification.algorithm"] == "https"
    assert "sasl.mechanism" not in given
    lax = KafkaSettings(security=Security(protocol="ssl", verify_hostname=False))
    assert properties(Clients(lax, {}))["ssl.endpoint.identification.algorithm"] == "none"


@pytest.mark.parametrize("from_file", [False, True])
def test_client_takes_passwords_from_environment_or_file(tmp_path: Path, from_file: bool) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    security = Security(
        protocol="sasl_ssl", username="factory", mechanism="PLAIN", password_file=str(file) if from_file else None
    )
    environment = {} if from_file else {"FACTORY_KAFKA_PASSWORD": SECRET}
    given = properties(Clients(KafkaSettings(security=security), environment))
    assert (given["sasl.username"], given["sasl.password"]) == ("factory", SECRET)
    assert given["sasl.mechanism"] == "PLAIN"


def test_client_without_password_says_where_to_put_it() -> None:
    settings = KafkaSettings(security=Security(protocol="sasl_plaintext", username="factory"))
    with pytest.raises(FactoryFault, match="needs a password: set FACTORY_KAFKA_PASSWORD, or password_file"):
        Clients(settings, {})


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_client_names_a_password_file_it_cannot_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content:
        file.write_bytes(content)
    security = Security(protocol="sasl_ssl", username="factory", password_file=str(file))
    with pytest.raises(FactoryFault, match=f"password_file: {file} cannot be read"):
        Clients(KafkaSettings(security=security), {})


@pytest.mark.parametrize("field", ["ca", "certificate", "key"])
def test_client_names_a_certificate_it_cannot_read(tmp_path: Path, field: str) -> None:
    there, missing = tmp_path / "there.pem", tmp_path / "missing.pem"
    there.touch()
    files: dict[str, Any] = {name: str(missing if name == field else there) for name in ("ca", "certificate", "key")}
    with pytest.raises(FactoryFault, match=f"security: {field}: {missing} cannot be read: No such file"):
        Clients(KafkaSettings(security=Security(protocol="ssl", **files)), {})


def test_client_that_cannot_be_made_says_why() -> None:
    clients = Clients(KafkaSettings(client={"no.such.property": 1}), {})
    with pytest.raises(FactoryFault, match=r'no client can be made: No such .*"no\.such\.property"'):
        clients.admin(Link("test"))


def test_client_properties_pass_through() -> None:
    settings = KafkaSettings(client={"socket.keepalive.enable": True, "compression.type": "zstd", "client.id": "mine"})
    given = properties(Clients(settings, {}))
    assert (given["compression.type"], given["client.id"]) == ("zstd", "mine")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"client": {"isolation.level": "read_uncommitted"}}, "isolation.level is the connector's own"),
        ({"client": {"transactional.id": "x"}}, "transactional.id is the connector's own"),
        ({"client": {"sasl.password": "x"}}, "may be a secret: give it by FACTORY_KAFKA_PASSWORD"),
        ({"client": {"ssl.key.pem": "x"}}, "may be a secret"),
        ({"brokers": []}, "at least one HOST:PORT"),
        ({"security": {"protocol": "sasl_ssl"}}, "needs a username"),
        ({"security": {"protocol": "ssl", "certificate": "c.pem"}}, "certificate and key belong together"),
        ({"security": {"password": "x"}}, "unknown field `password`"),
        ({"connect_timeout": 0}, "> 0"),
        ({"topics": {"reports": {"partitions": 0}}}, ">= 1"),
    ],
)
def test_settings_refuse_what_cannot_work(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.convert(fields, KafkaSettings)


def test_environment_overrides_brokers_and_every_security_setting() -> None:
    given = {
        "protocol": "sasl_ssl", "ca": "/ca.pem", "certificate": "/c.pem", "key": "/k.pem", "mechanism": "SCRAM-SHA-256",
        "username": "factory", "key_password_file": "/kp", "password_file": "/p", "verify_hostname": "false",
    }  # fmt: skip
    environment = {f"FACTORY_KAFKA_{name.upper()}": value for name, value in given.items()}
    settings = with_environment(KafkaSettings(), {**environment, "FACTORY_BROKERS": "a:1, b:2"})
    assert settings.brokers == ("a:1", "b:2")
    assert settings.security == Security(**{**given, "verify_hostname": False})  # type: ignore[arg-type]
    assert set(given) == set(Security.__struct_fields__)


def test_environment_that_cannot_work_is_named() -> None:
    with pytest.raises(ConfigError, match=r"FACTORY_KAFKA_MECHANISM.*Invalid enum value 'GSSAPI'"):
        with_environment(KafkaSettings(), {"FACTORY_KAFKA_MECHANISM": "GSSAPI"})


def test_no_password_is_in_the_printed_configuration(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    toml = tmp_path / "factory.toml"
    toml.write_text(
        'connector = "kafka"\n[kafka.security]\nprotocol = "sasl_ssl"\nusername = "factory"\n'
        f'password_file = "{file}"\nkey_password_file = "{file}"\n'
    )
    environment = {"FACTORY_KAFKA_PASSWORD": SECRET, "FACTORY_KAFKA_KEY_PASSWORD": SECRET}
    config = load_config(toml, environment)
    assert SECRET not in effective(config)
    assert SECRET not in repr(config)
    assert "factory" in effective(config)


def test_files_in_the_configuration_start_from_its_folder(tmp_path: Path) -> None:
    toml = tmp_path / "factory.toml"
    toml.write_text(
        '[kafka.security]\nprotocol = "ssl"\nca = "ca.pem"\ncertificate = "/abs/c.pem"\nkey = "private/k.pem"\n'
    )
    security = load_config(toml, {"FACTORY_KAFKA_CA": "other.pem"}).kafka.security
    assert (security.ca, security.certificate) == ("other.pem", "/abs/c.pem")
    assert security.key == str(tmp_path / "private" / "k.pem")
