"""The shape of the repository: what lies at its top, and which way dependencies point."""

from __future__ import annotations

import shutil
import subprocess
import sys
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


def test_spst_loads_neither_dataflow_nor_a_stream_processor_nor_a_broker_client() -> None:
    loaded = modules_after("import spst")
    assert "spst" in loaded
    assert not loaded & {"dataflow", "bytewax", "confluent_kafka", "optuna", "matplotlib", "rich"}
