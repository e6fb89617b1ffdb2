"""The image's steps carried out without Docker, and both of its containers started as the manifests start them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import msgspec
import pytest

from tests.brokers import free_port
from tests.e2e.factory import DEADLINE, PROJECT
from tests.e2e.image import Image, need_namespaces, stages
from tests.e2e.manifests import K8S, rendered

WRITABLE = ("/data", "/recovery", "/run/factory")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="factory-image-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def pins() -> list[str]:
    lines = (K8S / "constraints.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def need_index(folder: Path) -> None:
    """Skip the test where pip has nowhere to get the image's packages from."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--dest", str(folder / "probe")]
    (smallest,) = (pin for pin in pins() if pin.startswith("prometheus-client"))
    tried = subprocess.run([*command, smallest], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"pip reaches no index: {tried.stderr.strip()[-200:]}")


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="the image's versions of SciPy and NumPy need Python 3.11")
def test_image_is_built_and_starts(folder: Path) -> None:
    need_namespaces()
    need_index(folder)
    wheels, final = stages(K8S / "Dockerfile")
    first = Image(folder / "wheels")
    first.build(wheels, os.environ)
    image = Image(folder / "image")
    shutil.move(first.root / "wheels", image.root / "wheels")
    image.build(final, {})
    shutil.rmtree(image.root / "wheels")
    assert image.user == f"{rendered('local').pod['securityContext']['runAsUser']}:65532"
    port = free_port()
    environment = environment_of_the_pod(image, health=port)
    checks = ["sh", "-c", "test $(id -u) = 65532 && touch /data/written && ! touch /opt/written /tmp/written"]
    assert image.started(checks, environment, WRITABLE, folder / "log").wait(DEADLINE) == 0
    init = image.started(["python", "-m", "dataflow.pod"], environment, WRITABLE, folder / "log")
    assert init.wait(DEADLINE) == 0, (folder / "log").read_text()
    factory = image.started(image.entrypoint, environment, WRITABLE, folder / "log")
    try:
        await_ready(factory, port, folder / "log")
        factory.send_signal(signal.SIGTERM)
        assert factory.wait(DEADLINE) == 0, (folder / "log").read_text()
    finally:
        factory.kill()
        factory.wait()


def environment_of_the_pod(image: Image, health: int) -> dict[str, str]:
    """Write the configuration where the pod has it; return the pod's environment, but for ports and addresses."""
    manifests = rendered("local")
    factory = manifests.containers[-1]
    volume = next(each for each in manifests.pod["volumes"] if each["name"] == "config")
    config = image.root / manifests.mounted(factory, "config").lstrip("/")
    config.mkdir()
    for name, content in manifests.one("ConfigMap", volume["configMap"]["name"])["data"].items():
        (config / name).write_text(content)
    return manifests.environment(factory, "model-factory-0", {}) | {
        "FACTORY_HEALTH_PORT": str(health),
        "FACTORY_PEER": f"127.0.0.1{{ordinal}}:{free_port()}",
        "BYTEWAX_DATAFLOW_API_PORT": str(free_port()),
        "BYTEWAX_SNAPSHOT_INTERVAL": "1",
    }


def await_ready(factory: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Ask as the kubelet does until the factory is ready."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert factory.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except ConnectionError:
            time.sleep(0.1)
        finally:
            connection.close()


def test_image_has_every_dependency_pinned() -> None:
    wanted = msgspec.toml.decode((PROJECT / "pyproject.toml").read_bytes())["project"]["dependencies"]
    names = {pin.partition("==")[0] for pin in pins()}
    assert {name for need in wanted if "python_version" not in need for name in [need.split(">")[0]]} <= names


def test_image_holds_no_compiler_and_copies_no_secrets() -> None:
    wheels, final = stages(K8S / "Dockerfile")
    assert [name for name, _ in final if name == "COPY"] == []
    assert not any("apt-get" in arguments for name, arguments in wheels + final if name == "RUN")
    assert final[-1] == ("ENTRYPOINT", '["python", "-m", "bytewax.run", "dataflow.flow:flow"]')
