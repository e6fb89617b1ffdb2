"""The manifests as tests see them: rendered by whichever kustomize is there, and what a container's environment is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("local", "kafka")

Resource = dict[str, Any]


class Manifests:
    """The resources that an overlay makes.

    Parameters
    ----------
    resources : list of dict
        As Kubernetes gets them.
    """

    def __init__(self, resources: list[Resource]) -> None:
        self.resources = resources

    def one(self, kind: str, name: str | None = None) -> Resource:
        """Return the resource of a kind, or that of them with a name."""
        (found,) = (
            each for each in self.resources if each["kind"] == kind and name in (None, each["metadata"]["name"])
        )
        return found

    @property
    def pod(self) -> Resource:
        """Specification of the pods."""
        spec: Resource = self.one("StatefulSet")["spec"]["template"]["spec"]
        return spec

    @property
    def containers(self) -> list[Resource]:
        """All containers of a pod, in the order in which they start."""
        return [*self.pod["initContainers"], *self.pod["containers"]]

    def environment(self, container: Resource, pod: str, secrets: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a container in a pod; secrets by their keys."""
        found: dict[str, str] = {}
        for source in container["envFrom"]:
            found |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container["env"]:
            found[variable["name"]] = variable.get("value") or _value(variable["valueFrom"], pod, secrets)
        return found

    def mounted(self, container: Resource, volume: str) -> str:
        """Return where a container has a volume."""
        (path,) = (each["mountPath"] for each in container["volumeMounts"] if each["name"] == volume)
        return str(path)


def _value(source: Resource, pod: str, secrets: Mapping[str, str]) -> str:
    if "fieldRef" in source:
        assert source["fieldRef"]["fieldPath"] == "metadata.name"
        return pod
    return secrets[source["secretKeyRef"]["key"]]


def written() -> dict[str, Resource]:
    """Return the resources of the base as they are written, by their files."""
    paths = (path for path in (K8S / "base").glob("*.yaml") if path.name != "kustomization.yaml")
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(paths)}


@cache
def rendered(overlay: str) -> Manifests:
    """Return what an overlay makes; skip the test where no kustomize is."""
    command = next(
        (command for command in (["kubectl", "kustomize"], ["kustomize", "build"]) if shutil.which(command[0])), None
    )
    if command is None:
        pytest.skip("needs kubectl, or kustomize: go install sigs.k8s.io/kustomize/kustomize/v5@v5.5.0")
    made = subprocess.run([*command, K8S / "overlays" / overlay], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    return Manifests(list(yaml.safe_load_all(made.stdout)))
