"""What an operator applies: valid by Kubernetes' own schemas, consistent in itself, and what the code expects."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest

from dataflow.config import load_config
from dataflow.pod import pod_of
from tests.e2e.factory import PROJECT
from tests.e2e.manifests import K8S, OVERLAYS, Manifests, rendered, written

VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
SECRETS = {"username": "factory", "password": "secret", "ca.crt": "certificate"}
PODS = {"local": 1, "kafka": 3}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifests(overlay: str) -> Manifests:
    return rendered(overlay)


@pytest.mark.parametrize("file", written())
def test_base_is_valid(file: str) -> None:
    kubernetes_validate.validate(written()[file], kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_overlay_is_valid(version: str, manifests: Manifests) -> None:
    for resource in manifests.resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_validation_finds_a_misspelt_field() -> None:
    resource = written()["statefulset.yaml"]
    resource["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.heavy
def test_api_server_takes_every_overlay() -> None:
    for tool in ("go", "etcd", "kubectl", "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: see k8s/dry-run.sh --help")
    ran = subprocess.run([K8S / "dry-run.sh"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    kinds = sum(len(rendered(overlay).resources) for overlay in OVERLAYS)
    assert ran.stdout.count("serverside-applied (server dry run)") == kinds, ran.stdout


def test_references_lead_somewhere(manifests: Manifests) -> None:
    configs = {each["metadata"]["name"] for each in manifests.resources if each["kind"] == "ConfigMap"}
    stateful_set, pod = manifests.one("StatefulSet")["spec"], manifests.pod
    assert stateful_set["serviceName"] == manifests.one("Service")["metadata"]["name"]
    assert pod["serviceAccountName"] == manifests.one("ServiceAccount")["metadata"]["name"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] in configs
    assert (
        volumes["data"]["persistentVolumeClaim"]["claimName"]
        == (manifests.one("PersistentVolumeClaim")["metadata"]["name"])
    )
    claims = {each["metadata"]["name"] for each in stateful_set["volumeClaimTemplates"]}
    mounted = {mount["name"] for container in manifests.containers for mount in container["volumeMounts"]}
    assert mounted == volumes.keys() | claims
    for container in manifests.containers:
        assert {source["configMapRef"]["name"] for source in container["envFrom"]} <= configs


def test_everything_selects_the_pods(manifests: Manifests) -> None:
    labels = manifests.one("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert manifests.one("StatefulSet")["spec"]["selector"]["matchLabels"] == labels
    assert manifests.one("Service")["spec"]["selector"] == labels
    assert manifests.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifests.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    (claim,) = manifests.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["labels"].items() > labels.items()


def test_containers_have_no_rights(manifests: Manifests) -> None:
    pod = manifests.pod["securityContext"]
    assert (pod["runAsNonRoot"], pod["runAsUser"] > 0) == (True, True)
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert manifests.pod["automountServiceAccountToken"] is False
    for container in manifests.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}


def environments(manifests: Manifests, ordinal: int) -> list[dict[str, str]]:
    pod = f"{manifests.one('StatefulSet')['metadata']['name']}-{ordinal}"
    return [manifests.environment(container, pod, SECRETS) for container in manifests.containers]


def test_pods_know_themselves_and_their_peers(overlay: str, manifests: Manifests) -> None:
    replicas = manifests.one("StatefulSet")["spec"]["replicas"]
    assert replicas == PODS[overlay]
    service, (prepare, factory) = manifests.one("Service"), manifests.containers
    for ordinal in range(replicas):
        first, second = environments(manifests, ordinal)
        assert first.items() <= second.items()
        pod = pod_of(first)
        assert (pod.ordinal, pod.pods) == (ordinal, replicas)
        host, port = pod.address(2).split(":")
        assert host == f"{manifests.one('StatefulSet')['metadata']['name']}-2.{service['metadata']['name']}"
        assert int(port) in {each["containerPort"] for each in factory["ports"]}
        assert str(pod.hosts.parent) == manifests.mounted(prepare, "run") == manifests.mounted(factory, "run")
        assert str(pod.store.parent) == manifests.mounted(prepare, "recovery") == manifests.mounted(factory, "recovery")


def test_ports_are_those_that_processes_open(manifests: Manifests) -> None:
    environment = environments(manifests, 0)[-1]
    factory = manifests.containers[-1]
    ports = {each["name"]: each["containerPort"] for each in factory["ports"]}
    assert ports == {
        "peers": int(environment["FACTORY_PEER"].partition(":")[2]),
        "metrics": int(environment["BYTEWAX_DATAFLOW_API_PORT"]),
        "health": int(environment["FACTORY_HEALTH_PORT"]),
    }
    probes = {name: factory[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {each["port"] for each in probes.values()} == {"health"}
    assert [each["path"] for each in probes.values()] == ["/live", "/live", "/ready"]
    served = {each["name"]: each["port"] for each in manifests.one("Service")["spec"]["ports"]}
    assert served.items() <= ports.items()
    policy = manifests.one("NetworkPolicy")["spec"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": ports["peers"]}], [{"port": ports["metrics"]}]]


def test_configuration_can_be_used(overlay: str, manifests: Manifests, tmp_path: Path) -> None:
    volume = next(each for each in manifests.pod["volumes"] if each["name"] == "config")
    files = manifests.one("ConfigMap", volume["configMap"]["name"])["data"]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    environment = environments(manifests, 0)[-1]
    file = Path(environment.pop("FACTORY_CONFIG"))
    factory = manifests.containers[-1]
    assert str(file.parent) == manifests.mounted(factory, "config")
    config = load_config(tmp_path / file.name, environment)
    assert (config.connector, str(config.data_root)) == (
        {"local": "files", "kafka": "kafka"}[overlay],
        manifests.mounted(factory, "data"),
    )
    for name, content in files.items():
        if name.endswith(".sre"):
            assert content == (PROJECT / "dataflow" / "demo" / name).read_text()


def test_kafka_has_its_credentials_from_a_secret(tmp_path: Path) -> None:
    manifests = rendered("kafka")
    environment = environments(manifests, 0)[-1]
    security = load_config(None, environment | {"FACTORY_CONFIG": ""}).kafka.security
    folder = manifests.mounted(manifests.containers[-1], "kafka")
    assert (security.protocol, security.username) == ("sasl_ssl", SECRETS["username"])
    assert (security.ca, security.password_file) == (f"{folder}/ca.crt", f"{folder}/password")
    assert SECRETS["password"] not in environment.values()
    broker_port = int(environment["FACTORY_BROKERS"].partition(":")[2])
    assert manifests.one("NetworkPolicy")["spec"]["egress"][-1]["ports"] == [{"port": broker_port}]


FAKE = """#!/bin/sh
echo "$@" >> {calls}
case "$1 $2" in
    "get statefulset") printf '%s' "{wanted}" ;;
    "get pods") printf '%s' "{pods}" ;;
esac
"""


def rescale(folder: Path, wanted: str, pods: str) -> tuple[int, str, list[str]]:
    """Run the script with a kubectl that notes what it is told; return status, complaint and notes."""
    calls = folder / "calls"
    calls.touch()
    fake = folder / "kubectl"
    fake.write_text(FAKE.format(calls=calls, wanted=wanted, pods=pods))
    fake.chmod(0o755)
    done = subprocess.run(
        [K8S / "rescale.sh", K8S / "overlays" / "kafka", "--context", "here"],
        env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr, calls.read_text().splitlines()


NOTHING = "--replicas=0 --namespace model-factory"


@pytest.mark.parametrize("wanted", ["0", ""], ids=["scaled to nothing", "not there"])
def test_rescale_empties_the_stores_and_applies(wanted: str, tmp_path: Path) -> None:
    status, complaint, calls = rescale(tmp_path, wanted, "")
    assert (status, complaint) == (0, "")
    assert [call.split()[0] for call in calls] == ["get", "get", "delete", "apply"]
    labels = "app.kubernetes.io/name=model-factory,app.kubernetes.io/component=recovery"
    options = "--context here --namespace model-factory"
    assert calls[2] == f"delete persistentvolumeclaims --selector {labels} --wait=true {options}"
    assert calls[3] == f"apply -k {K8S}/overlays/kafka {options}"
    assert all(call.endswith(options) for call in calls)


@pytest.mark.parametrize(
    ("wanted", "pods", "complaint"),
    [
        ("3", "", f"the StatefulSet wants 3 pods: kubectl scale statefulset/model-factory {NOTHING}"),
        ("0", "pod/model-factory-2", "pods run; wait until they have ended: pod/model-factory-2"),
    ],
)
def test_rescale_refuses_while_pods_run(wanted: str, pods: str, complaint: str, tmp_path: Path) -> None:
    status, said, calls = rescale(tmp_path, wanted, pods)
    assert (status, said) == (1, f"rescale.sh: {complaint}\n")
    assert {call.split()[0] for call in calls} == {"get"}
