"""The shape of the repository: what lies at its top, and which way dependencies point."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "NOTICE",
    "README.md",
    "dataflow",
    "k8s",
    "pyproject.toml",
    "run.sh",
    "spst",
    "tests",
}


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs a git checkout")
def test_top_level_holds_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {path.partition("/")[0] for path in listed.split("\0") if path} == TOP_LEVEL


@pytest.mark.parametrize("package", ["spst", "dataflow"])
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def imports_of(module: str) -> Iterator[str]:
    """Yield what a module of ours imports, at its top or deeper."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "dataflow":
            yield from (f"dataflow.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def reached_from(module: str) -> set[str]:
    """Return what a module imports, and what the dataflow's modules among that import, and so on."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        new = set(imports_of(waiting.pop())) - reached
        reached |= new
        waiting += [name for name in new if name.startswith("dataflow.")]
    return reached


PURE = {
    *("__future__", "base64", "collections.abc", "dataclasses", "enum", "functools", "hashlib", "itertools", "json"),
    *("math", "msgspec", "msgspec.json", "msgspec.structs", "re", "typing"),
    *("spst.errors", "spst.hyperparameters"),
}


@pytest.mark.parametrize("module", ["dataflow.decide", "dataflow.evolve"])
def test_decide_and_evolve_reach_no_file_no_clock_and_no_stream_processor(module: str) -> None:
    reached = {name for name in reached_from(module) if not name.startswith("dataflow.")}
    assert reached <= PURE


def test_reached_from_follows_the_dataflow_s_own_modules() -> None:
    assert {"os", "dataflow.assembly", "spst"} <= reached_from("dataflow.perform")


def test_spst_loads_neither_dataflow_nor_a_stream_processor_nor_a_broker_client() -> None:
    loaded = modules_after("import spst")
    assert "spst" in loaded
    assert not loaded & {"dataflow", "bytewax", "confluent_kafka", "optuna", "matplotlib", "rich"}
