"""run.sh with stand-ins for all it calls: which interpreter it takes, and its one clear line where it cannot go on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "dirname", "cat", "cksum", "awk", "grep", "tail", "find", "rm", "mkdir", "cp")

INTERPRETER = """#!/usr/bin/env bash
case "$*" in
    -V) echo "Python {version}.9" ;;
    *ensurepip,\\ venv*) exit {venv_status} ;;
    *sys.version_info*) echo {version} ;;
    "-m venv"*) mkdir -p .venv/bin .venv/lib && cp "$0" .venv/bin/python ;;
    "-m ensurepip") ;;
    "-m pip install"*) {install} ;;
    "-m pip uninstall"*) ;;
    *) echo "ran with {version}: $*" ;;
esac
"""


class Machine:
    """A folder with run.sh, and a PATH that holds nothing but a few tools and stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.project, self.bin = folder / "project", folder / "bin"
        self.project.mkdir()
        self.bin.mkdir()
        for name in ("run.sh", "pyproject.toml"):
            shutil.copy(ROOT / name, self.project)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.script("env", 'exec "$@"')
        self.free_space(megabytes=50_000)

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text if text.startswith("#!") else f"#!{shutil.which('bash')}\n{text}\n")
        path.chmod(0o755)

    def python(self, name: str, version: str, *, venv: bool = True, install: str = "true") -> None:
        text = INTERPRETER.format(version=version, venv_status=0 if venv else 1, install=install)
        self.script(name, text.replace("/usr/bin/env bash", str(shutil.which("bash"))))

    def free_space(self, megabytes: int) -> None:
        self.script("df", f"echo header; echo disk 0 0 {megabytes * 1024} 0% /")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "HOME": "/nowhere", **variables}
        command = [str(self.project / "run.sh"), *arguments]
        return subprocess.run(
            [str(shutil.which("bash")), *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refused(machine: Machine, *arguments: str, **variables: str) -> str:
    """Return the one line with which run.sh ends."""
    run = machine.run(*arguments, **variables)
    assert run.returncode != 0
    assert run.stdout == ""
    return run.stderr.splitlines()[-1]


def test_run_sh_starts_the_demo_with_the_newest_interpreter_that_works(machine: Machine) -> None:
    machine.script("python3.12", "echo 'shim: no such version' >&2; exit 127")
    machine.python("python3.11", "3.11")
    machine.python("python3", "3.10")
    run = machine.run()
    assert run.returncode == 0
    assert run.stdout == "ran with 3.11: -m dataflow.demo\n"


def test_run_sh_hands_options_to_the_demo(machine: Machine) -> None:
    machine.python("python3", "3.10")
    assert machine.run("--steps", "3").stdout == "ran with 3.10: -m dataflow.demo --steps 3\n"


def test_run_sh_installs_once_and_again_when_the_metadata_or_the_interpreter_change(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    assert "making .venv" in machine.run("demo").stderr
    assert machine.run("demo").stderr == ""
    with (machine.project / "pyproject.toml").open("a") as metadata:
        metadata.write("# another dependency\n")
    assert "making .venv with Python 3.11" in machine.run("demo").stderr
    machine.python("python3.10", "3.10")
    assert machine.run("demo").stderr == ""
    assert "making .venv with Python 3.10" in machine.run("demo", PYTHON="python3.10").stderr


def test_run_sh_adds_the_tools_for_tests_to_the_environment_of_the_demo(machine: Machine) -> None:
    machine.python("python3", "3.10", install="echo $6")
    machine.run("demo")
    run = machine.run("test", "-q")
    assert "making .venv" not in run.stderr
    assert "installing what 'dev' needs" in run.stderr
    assert run.stdout == "ran with 3.10: -m pytest -q\n"
    assert machine.run("demo").stderr == ""


def test_run_sh_installs_a_broker_only_for_a_demo_that_asks_for_one(machine: Machine) -> None:
    machine.python("python3", "3.10", install="echo $6 >>installed")
    installed = machine.project / "installed"
    machine.run("demo", "--steps", "3")
    assert installed.read_text() == ".[demo]\n"
    run = machine.run("demo", "--kafka", "--steps", "3")
    assert "installing what 'broker' needs" in run.stderr
    assert run.stdout == "ran with 3.10: -m dataflow.demo --kafka --steps 3\n"
    assert machine.run("demo", "--kafka").stderr == ""
    assert installed.read_text() == ".[demo]\n.[broker]\n"


def test_run_sh_tools_for_tests_include_the_broker(machine: Machine) -> None:
    machine.python("python3", "3.10")
    machine.run("test")
    assert machine.run("demo", "--kafka").stderr == ""


def test_run_sh_uses_uv_where_no_interpreter_fits(machine: Machine) -> None:
    machine.python("python3", "3.13")
    machine.python("standin", "3.12")
    machine.script("uv", "echo $* >uv.log; mkdir -p .venv/bin .venv/lib; cp $(dirname $0)/standin .venv/bin/python")
    assert machine.run().stdout == "ran with 3.12: -m dataflow.demo\n"
    assert "--python 3.12" in (machine.project / "uv.log").read_text()


def test_run_sh_without_python_says_how_to_get_one(machine: Machine) -> None:
    assert refused(machine) == "run.sh: no Python found: sudo apt-get install python3 python3-venv"


def test_run_sh_with_a_python_that_is_too_new_prints_the_command_that_helps(machine: Machine) -> None:
    machine.python("python3", "3.13")
    line = refused(machine)
    assert line.startswith("run.sh: Python 3.13 found, 3.10, 3.11 or 3.12 needed")
    assert line.endswith("python3 -m venv ~/.uv && ~/.uv/bin/pip install uv && PATH=~/.uv/bin:$PATH ./run.sh")


def test_run_sh_without_the_venv_module_names_its_package(machine: Machine) -> None:
    machine.python("python3", "3.11", venv=False)
    assert refused(machine) == "run.sh: Python 3.11 has no venv module: sudo apt-get install python3.11-venv"


@pytest.mark.parametrize(
    ("chosen", "found"), [("python3.13", "Python 3.13"), ("/no/such/python", "no Python that starts")]
)
def test_run_sh_refuses_a_chosen_interpreter_that_does_not_fit(machine: Machine, chosen: str, found: str) -> None:
    machine.python("python3", "3.11")
    machine.python("python3.13", "3.13")
    line = refused(machine, PYTHON=chosen)
    assert line == f"run.sh: PYTHON={chosen} is {found}; 3.10, 3.11 or 3.12 is needed"


def test_run_sh_takes_a_chosen_interpreter_whose_path_has_a_space(machine: Machine) -> None:
    machine.python("my python", "3.11")
    assert machine.run(PYTHON=f"{machine.bin}/my python").stdout == "ran with 3.11: -m dataflow.demo\n"


def test_run_sh_without_space_says_how_much_is_needed(machine: Machine) -> None:
    machine.python("python3", "3.11")
    machine.free_space(megabytes=123)
    assert refused(machine) == f"run.sh: no space: 600 MB needed in {machine.project}, 123 MB free"
    assert not (machine.project / ".venv").exists()


def test_run_sh_shows_the_installer_s_reason_and_tries_again_the_next_time(machine: Machine) -> None:
    machine.python("python3", "3.11", install="echo collecting; echo 'ERROR: no index answers'; exit 1")
    assert refused(machine) == "run.sh: installing failed: ERROR: no index answers"
    machine.python("python3", "3.11")
    assert machine.run().stdout == "ran with 3.11: -m dataflow.demo\n"


def test_run_sh_factory_makes_its_recovery_store_and_starts_the_flow(machine: Machine, tmp_path: Path) -> None:
    machine.python("python3", "3.12")
    assert refused(machine, "factory") == "run.sh: factory: FACTORY_DATA_ROOT must name the folder to work in"
    store = tmp_path / "volume" / "recovery"
    run = machine.run("factory", "-w", "1", FACTORY_DATA_ROOT=str(store.parent))
    assert run.stdout.splitlines() == [
        f"ran with 3.12: -m bytewax.recovery {store} 1",
        f"ran with 3.12: -m bytewax.run dataflow.flow:flow -r {store} -s 5 -b 0 -w 1",
    ]
    assert store.stat().st_mode & 0o777 == 0o700


def test_run_sh_help_lists_every_verb(machine: Machine) -> None:
    run = machine.run("help")
    assert run.returncode == 0
    for verb in ("demo", "test", "bench", "factory", "check", "help"):
        assert f"./run.sh {verb}" in run.stdout or f"[{verb}]" in run.stdout


def test_run_sh_refuses_an_unknown_verb(machine: Machine) -> None:
    run = machine.run("tset")
    assert run.returncode == 2
    assert run.stderr.startswith("run.sh: unknown verb tset\nusage:")


def test_scripts_are_executable() -> None:
    assert all(os.access(ROOT / script, os.X_OK) for script in ("run.sh", ".ci/run"))
