"""What cannot be used is refused at start, with one clear line and before anything is consumed.

A recovery store of another topology is the init container's to refuse (`tests/dataflow/test_pod.py`); brokers and
topics are in `test_kafka.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.factory import Factory
from tests.e2e.neighbours import FileTopics

CONFIGURATIONS = {
    "unknown field": ("[defaults]\npatern = 'p.sre'", "{file}: [defaults]: Object contains unknown field `patern`"),
    "missing pattern": (
        "[defaults]\npattern = 'p.sre'",
        "{file}: [defaults]: pattern: expected a file, found none at ",
    ),
    "one folder": (
        "[lines.harbour]\n[lines.Harbour]",
        "{file}: [lines.harbour] and [lines.Harbour] differ in case only and may share a folder",
    ),
    "unknown predicates": ("predicates = ['missing_module']", "predicates: "),
}


def refusal(factory: Factory) -> str:
    """Start a factory that ends by itself; return what its one line says."""
    factory.start()
    assert factory.wait() != 0
    (line,) = factory.log.read_text().splitlines()
    (stopped,) = factory.events("stopped")
    assert line.startswith('{"time"')
    return str(stopped["text"])


def prepared(folder: Path, configuration: str) -> Factory:
    """A factory with a command that waits in its topic."""
    (folder / "root").mkdir()
    (folder / "settings").mkdir()
    (folder / "settings" / "factory.toml").write_text(configuration)
    FileTopics(folder / "root" / "topics").send("commands", b'{"key":"k","type":"train","id":"c","timestamp":1}')
    return Factory(folder / "root", folder, {})


@pytest.mark.parametrize("flaw", CONFIGURATIONS)
def test_configuration_is_refused(flaw: str, tmp_path: Path) -> None:
    configuration, expected = CONFIGURATIONS[flaw]
    factory = prepared(tmp_path, configuration)
    text = refusal(factory)
    assert text.startswith(expected.format(file=factory.environment["FACTORY_CONFIG"]))
    assert not (tmp_path / "root" / "lines").exists()


def test_volume_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    factory = prepared(tmp_path, "")
    (tmp_path / "file").touch()
    factory.environment["FACTORY_DATA_ROOT"] = str(tmp_path / "file" / "root")
    assert refusal(factory) == f"{tmp_path}/file/root: cannot make and write it: Not a directory"


def test_health_without_what_readiness_needs_is_refused(tmp_path: Path) -> None:
    factory = prepared(tmp_path, "")
    factory.environment["FACTORY_HEALTH_PORT"] = "8081"
    assert refusal(factory).startswith("FACTORY_HEALTH_PORT is set, so BYTEWAX_RECOVERY_DIRECTORY must be too")
