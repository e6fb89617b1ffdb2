"""Fixtures of the tests from outside, and their verdicts in the summary."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.history import History, undisturbed_history
from tests.e2e.run import Run

REPORT = pytest.StashKey[list[str]]()

Begin = Callable[..., Run]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[REPORT]:
        terminalreporter.section("faults from outside")
        for line in config.stash[REPORT]:
            terminalreporter.write_line(line)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a line to the summary of the test run."""
    return request.config.stash[REPORT].append


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root: one path for all runs, because outputs name files on it."""
    return tmp_path_factory.mktemp("volume") / "root"


@pytest.fixture(scope="session")
def undisturbed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> History:
    """What the scenario gives if nothing happens to the factory."""
    return undisturbed_history(root, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def begin(undisturbed: History, root: Path, tmp_path: Path) -> Iterator[Begin]:
    """Begin a run of the scenario on an empty root; the factory does not outlive the test."""
    runs: list[Run] = []

    def begin(environment: Mapping[str, str] | None = None) -> Run:
        runs.append(Run(root, tmp_path, environment))
        return runs[-1]

    yield begin
    for run in runs:
        run.factory.kill()
    shutil.rmtree(root, ignore_errors=True)
