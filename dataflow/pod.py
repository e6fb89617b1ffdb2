"""What a pod does before the factory starts in it: the list of its peers, and its one part of the recovery store.

`python -m dataflow.pod` is the init container. The recovery store of N pods has N parts; each lies alone on its pod's
own volume and is made there once, since SQLite's log must not lie on a network file system. A part of another topology
is refused: Bytewax would start, find the rest missing, and begin from nothing. It knows no message and no model line.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bytewax.recovery import init_db_dir

from dataflow.disk import fsync_folder, our_disk
from dataflow.errors import ConfigError, FactoryFault

NAMED = {
    "pod": "BYTEWAX_POD_NAME",
    "set": "BYTEWAX_STATEFULSET_NAME",
    "hosts": "BYTEWAX_HOSTFILE_PATH",
    "store": "BYTEWAX_RECOVERY_DIRECTORY",
    "pods": "FACTORY_PODS",
    "peer": "FACTORY_PEER",
}
"""What is needed -> the variable that says it; the first four are Bytewax's own."""

ORDINAL = "{ordinal}"
"""What stands for a pod's number in `FACTORY_PEER`, the `HOST:PORT` of a pod."""

RESCALE = "if the number of pods was changed, stop them all and run k8s/rescale.sh: the journals keep everything"

PATIENCE = 120.0
"""Seconds in which a pod's name must become known: name servers remember for half a minute that it was not."""


@dataclass(frozen=True)
class Pod:
    """One process among others.

    Parameters
    ----------
    ordinal : int
        Its number, from 0; Bytewax takes it for the process id.
    pods : int
        How many there are.
    peer : str
        Address of a pod, with `{ordinal}` in it.
    hosts, store : Path
        Where the list of addresses goes, and the folder of the recovery store.
    """

    ordinal: int
    pods: int
    peer: str
    hosts: Path
    store: Path

    def address(self, ordinal: int) -> str:
        """Return `HOST:PORT` of a pod."""
        return self.peer.replace(ORDINAL, str(ordinal))

    def write_hosts(self) -> None:
        """Write the address of every pod, in order of their numbers."""
        lines = (self.address(ordinal) + "\n" for ordinal in range(self.pods))
        with our_disk(self.hosts, "write the addresses of all pods"):
            self.hosts.write_text("".join(lines))

    def initialise_store(self) -> None:
        """Make this pod's part of the recovery store, unless it is there.

        Raises
        ------
        FactoryFault
            What is there is the part of another pod, of another number of pods, or damaged; or the volume refuses.
        """
        name = f"part-{self.ordinal}.sqlite3"
        with our_disk(self.store, "make the recovery store"):
            self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = {part.name: _topology(part) for part in sorted(self.store.glob("part-*.sqlite3"))}
            if found == {name: (self.ordinal, self.pods)}:
                return
            if found:
                parts = ", ".join(f"{part} (number {index} of {count})" for part, (index, count) in found.items())
                expected = f"{name} (number {self.ordinal} of {self.pods})"
                raise FactoryFault(f"{self.store}: expected {expected} alone, found {parts}; {RESCALE}")
            self._make(name)

    def _make(self, name: str) -> None:
        drafts = self.store / ".drafts"
        shutil.rmtree(drafts, ignore_errors=True)  # of a start that was interrupted
        drafts.mkdir(mode=0o700)
        init_db_dir(drafts, self.pods)
        with (drafts / name).open("rb") as part:
            os.fsync(part.fileno())
        os.replace(drafts / name, self.store / name)
        fsync_folder(self.store)
        shutil.rmtree(drafts)


def pod_of(environment: Mapping[str, str]) -> Pod:
    """Return the pod that the environment describes.

    Raises
    ------
    ConfigError
        A variable is missing or cannot be used.
    """
    if missing := [variable for variable in NAMED.values() if not environment.get(variable)]:
        raise ConfigError(f"expected {', '.join(NAMED.values())}; not set: {', '.join(missing)}")
    said = {name: environment[variable] for name, variable in NAMED.items()}
    prefix, _, ordinal = said["pod"].rpartition("-")
    if prefix != said["set"] or not ordinal.isdecimal():
        raise ConfigError(f"{NAMED['pod']}: expected {said['set']}-NUMBER, came {said['pod']!r}")
    if not said["pods"].isdecimal() or int(said["pods"]) < 1:
        raise ConfigError(f"{NAMED['pods']}: expected a number from 1, came {said['pods']!r}")
    if ORDINAL not in said["peer"] or not said["peer"].rpartition(":")[2].replace(ORDINAL, "").isdecimal():
        raise ConfigError(f"{NAMED['peer']}: expected HOST:PORT with {ORDINAL} in it, came {said['peer']!r}")
    if int(ordinal) >= int(said["pods"]):
        raise ConfigError(f"{said['pod']} is one too many for {NAMED['pods']}={said['pods']}; {RESCALE}")
    return Pod(int(ordinal), int(said["pods"]), said["peer"], Path(said["hosts"]), Path(said["store"]))


def await_name(address: str, patience: float = PATIENCE) -> None:
    """Wait until a pod's own name is known: Bytewax ends at once if it is not.

    Raises
    ------
    FactoryFault
        It does not become known.
    """
    host, deadline = address.rpartition(":")[0], time.monotonic() + patience
    while True:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            if time.monotonic() < deadline:
                time.sleep(1)
                continue
            raise FactoryFault(
                f"{host} cannot be resolved: {error}; is there a headless service of this name, with "
                "publishNotReadyAddresses?"
            ) from error
        return


def _topology(part: Path) -> tuple[int, int]:
    """Return which part of how many a file of a recovery store is."""
    try:
        with closing(sqlite3.connect(part)) as database:
            ((index, count),) = database.execute("SELECT part_index, part_count FROM parts")
    except (sqlite3.Error, ValueError) as error:
        raise FactoryFault(
            f"{part}: not a part of a recovery store ({error}); remove it: the journals keep everything"
        ) from error
    return index, count


def main() -> None:
    """Prepare the pod that the environment describes, or say in one line why it cannot start."""
    try:
        pod = pod_of(os.environ)
        pod.initialise_store()
        pod.write_hosts()
        await_name(pod.address(pod.ordinal))
    except FactoryFault as error:
        sys.exit(f"pod: {error}")


if __name__ == "__main__":
    main()
