"""The pure core stays pure: nothing in it reaches for a clock, a file, the environment, Bytewax or Kafka."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dataflow

ORDER = [
    "errors", "messages", "settings", "decoding", "state", "params", "decisions", "answers", "decide", "evolve",
    "diagram",
]  # fmt: skip
"""The pure modules; none imports one that stands behind it."""

ALLOWED = {
    "__future__", "base64", "collections", "dataclasses", "enum", "hashlib", "itertools", "math", "msgspec", "re",
    "sys", "typing",
}  # fmt: skip
"""Nothing of these knows what time it is or where it runs; `sys` is for the diagram's output."""

SPST = {"spst.errors", "spst.hyperparameters"}
FOLDER = Path(str(dataflow.__file__)).parent


def imported(module: str) -> set[str]:
    """Return the full names of the modules that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {str(node.module)} if node.module != "dataflow" else {f"dataflow.{a.name}" for a in node.names}
    return names


@pytest.mark.parametrize("module", ORDER)
def test_pure_module_imports_nothing_that_acts(module: str) -> None:
    pure = {f"dataflow.{other}" for other in ORDER}
    outside = {name for name in imported(module) - pure - SPST if name.split(".")[0] not in ALLOWED}
    assert not outside, f"{module} imports {outside}"


@pytest.mark.parametrize("module", ORDER)
def test_pure_module_opens_and_prints_nothing(module: str) -> None:
    calls = {
        node.func.id
        for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}


def test_imports_point_one_way() -> None:
    """Import order is the architecture: no module imports one that stands behind it."""
    for place, module in enumerate(ORDER):
        behind = {f"dataflow.{other}" for other in ORDER[place:]}
        assert not imported(module) & behind, f"{module} imports {imported(module) & behind}"
