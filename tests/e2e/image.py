"""The image without Docker: the Dockerfile's own commands in a root of their own, with this machine's Python as base.

What is taken from here is /usr and the interpreter, which a new virtual environment stands before. Everything else
is as the Dockerfile says: the same commands and paths, the same user, and a tree that cannot be written.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.e2e.factory import PROJECT

VENV = "/opt/venv"
SYSTEM = ("usr", "dev", "proc", "bin", "sbin", "lib", "lib64")
ETC = ("hosts", "ld.so.cache", "nsswitch.conf", "pip.conf", "resolv.conf", "ssl")
PYTHON = sys.base_prefix.lstrip("/")

ENTER = """\
set -e
root=$1; shift
mount --bind "$root" "$root"
for name in {system}; do
    if [ -L "/$name" ]; then ln -sfn "$(readlink "/$name")" "$root/$name"
    elif [ -d "/$name" ]; then mkdir -p "$root/$name" && mount --rbind "/$name" "$root/$name"; fi
done
[ -x "$root/{python}/bin" ] || {{ mkdir -p "$root/{python}" && mount --bind "/{python}" "$root/{python}"; }}
for path in {writable}; do mount --bind "$root/$path" "$root/$path"; done
mount -o "remount,bind,{mode}" "$root"
cd / && exec chroot "$root" "$@"
"""

Instruction = tuple[str, str]


def stages(dockerfile: Path) -> list[list[Instruction]]:
    """Return the instructions of every stage: name and arguments."""
    lines = (line for line in dockerfile.read_text().splitlines() if line and not line.startswith("#"))
    found: list[list[Instruction]] = [[]]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append((name, arguments.strip()))
    return found[1:]


class Image:
    """One stage's tree, and what runs in it.

    Parameters
    ----------
    root : Path
        Its folder; everything above it must be open to all users.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {"PATH": f"{VENV}/bin:/usr/bin:/usr/sbin", "HOME": "/tmp"}
        self.user = "0:0"
        self.entrypoint: list[str] = []
        self._folder = "/"
        (root / "tmp").mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "etc").mkdir()
        for path in map(Path("/etc").joinpath, ETC):
            if path.exists():
                subprocess.run(["cp", "-rL", path, root / "etc"], check=True)
        self._checked([f"/{PYTHON}/bin/python{sys.version_info[0]}.{sys.version_info[1]}", "-m", "venv", VENV])

    def build(self, instructions: Sequence[Instruction], environment: Mapping[str, str]) -> None:
        """Carry out a stage; the environment is that of its commands only."""
        for name, arguments in instructions:
            if name == "RUN":
                command = re.sub(r"--mount=\S+", "", arguments)
                self._checked(["sh", "-ec", f"cd {self._folder}\n{command}"], environment)
            elif name == "COPY":
                self._copy(*arguments.split())
            elif name == "ENV":
                self.environment |= dict(pair.split("=", 1) for pair in shlex.split(arguments))
            elif name == "WORKDIR":
                self._folder = arguments
                self._path(arguments).mkdir(parents=True, exist_ok=True)
            elif name == "USER":
                self.user = arguments
            elif name == "ENTRYPOINT":
                self.entrypoint = [word.strip('", ') for word in arguments.strip("[]").split(",")]
            else:
                assert name in {"ARG", "FROM", "LABEL"}, f"the test does not know {name}"

    def started(
        self, command: Sequence[str], environment: Mapping[str, str], writable: Sequence[str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command as the image's user, without rights, in a tree where only some folders can be written."""
        user, group = self.user.split(":")
        for path in writable:
            self._path(path).mkdir(parents=True, exist_ok=True)
            os.chown(self._path(path), int(user), int(group))
        rights = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self._entered(writable, "ro"), "setpriv", *rights, "--inh-caps=-all", *command],
                env={**self.environment, **environment}, stdout=output, stderr=output,
            )  # fmt: skip

    def _copy(self, *words: str) -> None:
        *sources, target = words
        for source in sources:
            place = self._path(self._folder) / target
            place = place / Path(source).name if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-r", PROJECT / source, place], check=True)

    def _path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _entered(self, writable: Sequence[str] = (), mode: str = "rw") -> list[str]:
        paths = " ".join(path.lstrip("/") for path in writable)
        script = ENTER.format(system=" ".join(SYSTEM), python=PYTHON, writable=paths, mode=mode)
        return ["unshare", "--mount", "sh", "-c", script, "enter", str(self.root)]

    def _checked(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        done = subprocess.run(
            [*self._entered(), *command],
            env={**(environment or {}), **self.environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def need_namespaces() -> None:
    """Skip the test where this user may not enter a root of its own."""
    try:
        tried = subprocess.run(
            ["unshare", "--mount", "sh", "-c", "mount --bind /etc /etc && setpriv --reuid=65532 --clear-groups true"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        pytest.skip(f"needs Linux and util-linux: {error}")
    if tried.returncode:
        pytest.skip(f"needs root, to enter a root of its own: {tried.stderr.strip()}")
