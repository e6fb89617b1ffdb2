"""The README's section about the library: every block of code in it runs, and prints what stands below it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spst import predicates

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split("\n## The library alone\n", 1)[1].split("\n## ", 1)[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the project's to relative paths; the README's predicates are forgotten afterwards."""
    (tmp_path / "dataflow").symlink_to(ROOT / "dataflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predicates, "_definitions", dict(predicates._definitions))
    return tmp_path


def run_shell(commands: str, folder: Path) -> str:
    """Run commands in which `python` is this Python."""
    (folder / "bin").mkdir(exist_ok=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-euc", commands], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_runs_and_prints_what_stands_below_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "readme"}
    printed, kinds = "", []
    for kind, content in BLOCK.findall(section()):
        kinds.append(kind)
        if kind == "python":
            exec(compile(content, "README.md", "exec"), names)
            printed = capsys.readouterr().out
        elif kind == "sh":
            printed = run_shell(content, folder)
            assert printed
        else:
            assert (kind, content) == ("text", printed)
    assert {"python", "sh", "text"} <= set(kinds)
