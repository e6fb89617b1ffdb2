"""The README against the code: what is generated is up to date, what is named exists.

`python -m tests.test_readme` writes the generated parts anew.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dataflow.config import OVERRIDES, effective, load_config
from dataflow.diagram import state_diagram
from dataflow.errors import Code

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text()

CONFIGURATION: Mapping[str, Any] = json.loads(effective(load_config(None, {})))
TABLES = ["defaults", "limits", "journal", "memory", "kafka"]


def _diagram() -> str:
    return f"```mermaid\n{state_diagram()}\n```"


def _error_codes() -> str:
    rows = (f"| `{code}` | {code.explanation} |" for code in Code)
    return "\n".join(("| code | meaning |", "|---|---|", *rows))


GENERATED: Mapping[str, Callable[[], str]] = {"state diagram": _diagram, "error codes": _error_codes}


def _part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- begin: {name} -->\n).*?\n?(?=<!-- end: {name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", GENERATED)
def test_readme_generated_parts_are_up_to_date(name: str) -> None:
    part = _part(name).search(TEXT)
    assert part is not None
    assert part.group() == GENERATED[name]() + "\n", "run: python -m tests.test_readme"


def _settings_rows(table: str) -> dict[str, str]:
    """Return the defaults that the README gives for a table of the configuration file, by name."""
    part = TEXT.partition(f"| {table} | default |")[2].partition("\n\n")[0]
    return {name: default.strip("`") for name, default in re.findall(r"^\| `(\w+)` \| (.*?) \|", part, re.MULTILINE)}


def _default(value: Any) -> str:
    return "none" if value is None else json.dumps(value).strip('"')


def _check_rows(table: str, fields: Mapping[str, Any]) -> None:
    given = _settings_rows(table)
    assert given.keys() == fields.keys()
    scalars = {name: _default(value) for name, value in fields.items() if not isinstance(value, list | dict)}
    assert {name: given[name] for name in scalars} == scalars


@pytest.mark.parametrize("table", TABLES)
def test_readme_names_every_setting_of_a_table_with_its_default(table: str) -> None:
    _check_rows(f"[{table}]", {name: value for name, value in CONFIGURATION[table].items() if name != "limits"})


def test_readme_names_every_setting_outside_the_tables_with_its_default() -> None:
    fields = {name: value for name, value in CONFIGURATION.items() if name not in (*TABLES, "lines")}
    _check_rows("file", fields | {"data_root": "data", "buckets": "buckets"})


@pytest.mark.parametrize("variable", ["FACTORY_CONFIG", "FACTORY_BROKERS", *OVERRIDES])
def test_readme_names_every_environment_variable(variable: str) -> None:
    assert f"`{variable}`" in TEXT


def _shell_commands() -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`((?:\./run\.sh|python -m)[^`]*)`", TEXT)


def test_readme_commands_are_verbs_of_run_sh() -> None:
    usage = subprocess.run([str(ROOT / "run.sh"), "help"], capture_output=True, text=True, check=True).stdout
    verbs = set(re.findall(r"\./run\.sh (?:\[)?(\w+)", usage))
    used = {match.group(1) for command in _shell_commands() if (match := re.match(r"\./run\.sh (\w+)", command))}
    assert "./run.sh" in {command.partition(" ")[0] for command in _shell_commands()}
    assert {"test"} <= used <= verbs


def test_readme_modules_exist() -> None:
    modules = {match.group(1) for command in _shell_commands() if (match := re.search(r"python -m ([\w.]+)", command))}
    assert {"dataflow.diagram", "bytewax.run"} <= modules
    assert not [module for module in modules if importlib.util.find_spec(module) is None]


def test_readme_paths_exist() -> None:
    named = re.findall(r"`((?:dataflow|spst|tests|k8s)/[\w./]+)`|\]\(([\w./]+)\)", TEXT)
    paths = {path for pair in named for path in pair if path}
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]


if __name__ == "__main__":
    for name, make in GENERATED.items():
        before, after = _part(name).split(TEXT, maxsplit=1)
        TEXT = f"{before}{make()}\n{after}"
    README.write_text(TEXT)
