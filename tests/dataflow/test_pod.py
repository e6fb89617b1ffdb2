"""A pod gets its part of the recovery store once, and no other topology's."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow, Stream
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main

from dataflow.errors import ConfigError, FactoryFault
from dataflow.pod import RESCALE, Pod, await_name, pod_of

ENVIRONMENT = {
    "BYTEWAX_POD_NAME": "model-factory-1",
    "BYTEWAX_STATEFULSET_NAME": "model-factory",
    "BYTEWAX_HOSTFILE_PATH": "hosts",
    "BYTEWAX_RECOVERY_DIRECTORY": "store",
    "FACTORY_PODS": "3",
    "FACTORY_PEER": "model-factory-{ordinal}.model-factory-peers:2101",
}


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """The second of three."""
    hosts, store = tmp_path / "hosts", tmp_path / "volume" / "store"
    return Pod(ordinal=1, pods=3, peer="model-factory-{ordinal}.peers:2101", hosts=hosts, store=store)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pod_writes_the_addresses_of_all(pod: Pod) -> None:
    pod.write_hosts()
    assert pod.hosts.read_text().splitlines() == [f"model-factory-{number}.peers:2101" for number in range(3)]


def test_pod_makes_its_part_alone_and_once(pod: Pod) -> None:
    pod.initialise_store()
    part = pod.store / "part-1.sqlite3"
    made = part.read_bytes()
    assert names(pod.store) == ["part-1.sqlite3"]
    assert pod.store.stat().st_mode & 0o777 == 0o700
    pod.initialise_store()
    assert names(pod.store) == ["part-1.sqlite3"]
    assert part.read_bytes() == made


def test_pod_that_was_interrupted_begins_again(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_old: Path, _new: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pod.initialise_store()
    assert names(pod.store) == [".drafts"]
    pod.initialise_store()
    assert names(pod.store) == ["part-1.sqlite3"]


def test_parts_made_by_each_pod_are_one_store(tmp_path: Path) -> None:
    """Bytewax takes parts that were made apart, here laid together, and resumes from them."""
    together = tmp_path / "store"
    together.mkdir()
    for ordinal in range(3):
        pod = Pod(ordinal, 3, "", tmp_path / "hosts", tmp_path / str(ordinal))
        pod.initialise_store()
        (pod.store / f"part-{ordinal}.sqlite3").rename(together / f"part-{ordinal}.sqlite3")
    out: list[int] = []
    flow = Dataflow("numbers")
    items: list[int | TestingSource.EOF] = [1, 2, TestingSource.EOF(), 3]
    numbers: Stream[int] = op.input("in", flow, TestingSource(items))
    op.output("out", numbers, TestingSink(out))
    for _ in range(2):
        cluster_main(flow, [], 0, recovery_config=RecoveryConfig(str(together)), worker_count_per_proc=1)
    assert out == [1, 2, 3]


@pytest.mark.parametrize(
    ("ordinal", "pods", "expected"),
    [
        (1, 2, "part-1.sqlite3 (number 1 of 2)"),
        (1, 4, "part-1.sqlite3 (number 1 of 4)"),
        (0, 3, "part-0.sqlite3 (number 0 of 3)"),
    ],
)
def test_pod_refuses_a_part_of_another_topology(ordinal: int, pods: int, expected: str, pod: Pod) -> None:
    pod.initialise_store()
    other = replace(pod, ordinal=ordinal, pods=pods)
    with pytest.raises(FactoryFault) as caught:
        other.initialise_store()
    found = "part-1.sqlite3 (number 1 of 3)"
    assert str(caught.value) == f"{pod.store}: expected {expected} alone, found {found}; {RESCALE}"
    pod.initialise_store()


def test_pod_refuses_a_whole_store(pod: Pod) -> None:
    pod.store.mkdir(parents=True)
    init_db_dir(pod.store, 3)
    with pytest.raises(FactoryFault, match=r"alone, found part-0.sqlite3 \(number 0 of 3\), part-1.sqlite3 \("):
        pod.initialise_store()


@pytest.mark.parametrize("content", [b"", b"no database, and longer than its header would have to be" * 4])
def test_pod_refuses_a_damaged_part(content: bytes, pod: Pod) -> None:
    pod.store.mkdir(parents=True)
    (pod.store / "part-1.sqlite3").write_bytes(content)
    with pytest.raises(FactoryFault, match=r"part-1.sqlite3: not a part of a recovery store .*; remove it:"):
        pod.initialise_store()


def test_pod_is_read_from_the_environment() -> None:
    expected = Pod(1, 3, "model-factory-{ordinal}.model-factory-peers:2101", Path("hosts"), Path("store"))
    assert pod_of(ENVIRONMENT) == expected
    assert expected.address(2) == "model-factory-2.model-factory-peers:2101"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"BYTEWAX_POD_NAME": "factory"}, "BYTEWAX_POD_NAME: expected model-factory-NUMBER, came 'factory'"),
        ({"BYTEWAX_POD_NAME": "other-0"}, "BYTEWAX_POD_NAME: expected model-factory-NUMBER, came 'other-0'"),
        ({"BYTEWAX_POD_NAME": "model-factory-3"}, f"model-factory-3 is one too many for FACTORY_PODS=3; {RESCALE}"),
        ({"FACTORY_PODS": "0"}, "FACTORY_PODS: expected a number from 1, came '0'"),
        ({"FACTORY_PODS": "three"}, "FACTORY_PODS: expected a number from 1, came 'three'"),
        ({"FACTORY_PEER": "peers:2101"}, "FACTORY_PEER: expected HOST:PORT with {ordinal} in it, came 'peers:2101'"),
        ({"FACTORY_PEER": "{ordinal}"}, "FACTORY_PEER: expected HOST:PORT with {ordinal} in it, came '{ordinal}'"),
        ({"FACTORY_PODS": ""}, f"expected {', '.join(ENVIRONMENT)}; not set: FACTORY_PODS"),
    ],
)
def test_pod_refuses_an_environment_that_it_cannot_use(change: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        pod_of(ENVIRONMENT | change)


def test_pod_waits_until_its_name_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(host: str, _port: None) -> None:
        asked.append(host)
        if len(asked) < 4:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    await_name("model-factory-1.peers:2101")
    assert asked == ["model-factory-1.peers"] * 4


def test_pod_whose_name_stays_unknown_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(_host: str, _port: None) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(FactoryFault, match=r"^model-factory-1\.peers cannot be resolved: .*; is there a headless"):
        await_name("model-factory-1.peers:2101", patience=0)


def test_pod_as_the_init_container_prepares_and_refuses_in_one_line(tmp_path: Path) -> None:
    said = {
        "BYTEWAX_HOSTFILE_PATH": str(tmp_path / "hosts"),
        "BYTEWAX_RECOVERY_DIRECTORY": str(tmp_path / "store"),
        "FACTORY_PEER": "127.0.0.1:2210{ordinal}",
    }

    def run(**change: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dataflow.pod"]
        environment = ENVIRONMENT | said | change | {"PATH": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    first = run()
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    assert (tmp_path / "hosts").read_text() == "127.0.0.1:22100\n127.0.0.1:22101\n127.0.0.1:22102\n"
    other = run(FACTORY_PODS="2")
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr.startswith(f"pod: {tmp_path}/store: expected part-1.sqlite3 (number 1 of 2) alone, found ")
    assert other.stderr.count("\n") == 1
