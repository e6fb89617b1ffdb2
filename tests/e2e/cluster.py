"""Several factory processes as Kubernetes runs them: environment, init container, entry point, restarts, own volumes.

Every pod has an address of its own on the loopback network and the same port, as pods have. The test plays the kubelet.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.brokers import free_port
from tests.e2e.factory import PROJECT, Factory

ENVIRONMENT = PROJECT / "k8s" / "base" / "environment.env"
SET = "model-factory"

MOST_RESTARTS = 100
"""Of all pods since somebody did something to them; when one ends the others follow, and find each other again."""

GRACE_SECONDS = 30
"""What a pod gets to end after SIGTERM; then Kubernetes kills it, which must not matter."""


class Pod(Factory):
    """One pod: the processes change, its volume stays.

    Parameters
    ----------
    root : Path
        The data root, shared by all pods.
    folder : Path
        The pod's own.
    environment : Mapping of str to str
        What a pod's manifest says and differs from the base.
    """

    def __init__(self, root: Path, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        base = dict(line.split("=", 1) for line in ENVIRONMENT.read_text().splitlines())
        own = {
            "FACTORY_DATA_ROOT": str(root),
            "FACTORY_HEALTH_PORT": str(free_port()),
            "BYTEWAX_HOSTFILE_PATH": str(folder / "hosts"),
            "BYTEWAX_RECOVERY_DIRECTORY": str(folder / "recovery" / "store"),
            "BYTEWAX_SNAPSHOT_INTERVAL": "1",
            "BYTEWAX_DATAFLOW_API_PORT": str(free_port()),
            "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(folder),
        }
        super().__init__(root, folder, {**base, **own, **environment})

    def prepare(self) -> None:
        """Run the init container."""
        with self.log.open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "dataflow.pod"], cwd=PROJECT, env=self.environment, stderr=log, check=True
            )

    def start(self) -> None:
        """Start the container, of which the environment says everything."""
        command = [sys.executable, "-m", "bytewax.run", "dataflow.flow:flow"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=PROJECT, env=self.environment, stdout=log, stderr=log)
        self.starts += 1

    def ask_to_end(self) -> None:
        """SIGTERM, whatever it is doing."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """Wait until it has ended, for as long as Kubernetes would."""
        if self._process is not None:
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


class Cluster(Factory):
    """A StatefulSet of pods; to a run it is one factory.

    Parameters
    ----------
    root, folder, environment
        As of a factory; `environment` is what an overlay adds.
    """

    def __init__(self, root: Path, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(root, folder, environment)
        self.pods: list[Pod] = []
        self._all: list[Pod] = []
        self._own = dict(environment)
        self._restarts = 0

    def scale(self, number: int) -> None:
        """Start a number of pods with empty recovery stores, as `rescale.sh` does when all have ended."""
        peer = f"127.0.0.1{{ordinal}}:{free_port()}"
        config = self.environment["FACTORY_CONFIG"]
        self.pods = [
            Pod(
                self._root, self._folder / f"{len(self._all)}-{ordinal}",
                {**self._own, "FACTORY_CONFIG": config, "FACTORY_PODS": str(number), "FACTORY_PEER": peer}
                | {"BYTEWAX_POD_NAME": f"{SET}-{ordinal}", "BYTEWAX_STATEFULSET_NAME": SET},
            )
            for ordinal in range(number)
        ]  # fmt: skip
        self._all += self.pods
        self.start()

    def start(self) -> None:
        """Start all pods on what their volumes hold."""
        self._restarts = 0
        self.starts += 1
        for pod in self.pods:
            pod.prepare()
            pod.start()

    def is_running(self) -> bool:
        """Start again what has ended; whether that helps."""
        for pod in self.pods:
            if not pod.is_running():
                pod.start()
                self.starts += 1
                self._restarts += 1
        return self._restarts <= MOST_RESTARTS

    def kill(self) -> None:
        """SIGKILL to all."""
        for pod in self.pods:
            pod.kill()

    def terminate(self) -> int:
        """Scale to nothing. Who leaves first ends the others, so their status says nothing."""
        for pod in self.pods:
            pod.ask_to_end()
        for pod in self.pods:
            pod.end()
        return 0

    def events(self, name: str) -> list[dict[str, object]]:
        """Return the log's lines of one kind, of all pods that ever were."""
        return [event for pod in self._all for event in pod.events(name)]

    def last_words(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(f"{pod.log}:\n{pod.last_words()}" for pod in self.pods)

    def homes(self) -> list[set[str]]:
        """Return the lines that each pod has opened."""
        return [{str(event["key"]) for event in pod.events("opened")} for pod in self.pods]
