"""The whole demo, three real processes: everything happens, and a factory that is killed in between changes nothing."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dataflow.demo import processes
from dataflow.demo.__main__ import main
from dataflow.demo.controller import SEARCH_SPACE
from spst import load_model
from tests.brokers import ApacheKafka
from tests.e2e.factory import PROJECT
from tests.e2e.killing_controller import KILLED_AFTER

SUMMARY = {
    "datasets_assembled",
    "acks",
    "buckets_deleted",
    "trains",
    "steps",
    "steps_failed",
    "best_params",
    "best_mcc",
    "next_day_mcc",
    "final_model",
    "seconds",
    "stage_seconds",
}
TIMES = {"seconds", "stage_seconds", "pt"}


@dataclass(frozen=True)
class Run:
    """What a run of the demo left."""

    root: Path
    status: int
    printed: str

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.root / "summary.json").read_text())
        return summary

    def topic(self, name: str) -> list[dict[str, Any]]:
        """Return a topic's messages without times and without the data root."""
        path = self.root / "topics" / f"{name}.jsonl"
        lines = path.read_text().replace(str(self.root), "ROOT").splitlines() if path.exists() else []
        return [_timeless(json.loads(line)) for line in lines]

    def worth(self) -> dict[str, Any]:
        """Return the summary without times and without the data root."""
        summary = self.summary
        return _timeless(summary | {"final_model": str(Path(summary["final_model"]).relative_to(self.root))})

    def models(self) -> dict[str, bytes]:
        """Return the model files."""
        return {path.name: path.read_bytes() for path in (self.root / "lines/default/models").iterdir()}


def _timeless(message: dict[str, Any]) -> dict[str, Any]:
    if message.get("metrics"):
        message["metrics"] = _timeless(json.loads(message["metrics"]))
    return {name: value for name, value in message.items() if name not in TIMES}


def demo(root: Path, *options: str) -> Run:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = main(["--data-root", str(root), "--plain", "--speed", "1000", *options])
    return Run(root, status, printed.getvalue())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return demo(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "CONTROLLER", "tests.e2e.killing_controller")
        return demo(tmp_path_factory.mktemp("killed"))


def test_demo_does_everything(undisturbed: Run) -> None:
    assert undisturbed.status == 0, undisturbed.printed
    summary = undisturbed.summary
    assert summary.keys() == SUMMARY
    counts = {name: value for name, value in summary.items() if isinstance(value, int)}
    assert counts == {
        "datasets_assembled": 7,
        "acks": 7,
        "buckets_deleted": 3,
        "trains": 2,
        "steps": 12,
        "steps_failed": 0,
    }
    assert summary["best_params"].keys() == SEARCH_SPACE.keys()
    assert summary["best_mcc"] > 0.5
    assert summary["next_day_mcc"] > 0.4
    assert summary["seconds"] > sum(summary["stage_seconds"].values()) > 0


def test_demo_leaves_the_announced_models_and_only_them(undisturbed: Run) -> None:
    models = undisturbed.topic("model_versions")
    assert [model["creation_method"] for model in models] == ["retrain", "optimisation", "retrain"]
    files = sorted(path.name for path in (undisturbed.root / "lines/default/models").iterdir())
    assert files == sorted(Path(model["path"]).name for model in models)
    final = Path(undisturbed.summary["final_model"])
    assert load_model(final).hyperparameters.order == undisturbed.summary["best_params"]["order"]


def test_demo_locks_a_dataset_that_outlives_its_successor(undisturbed: Run) -> None:
    reports = undisturbed.topic("model_reports")
    assert {report["dataset_version"] for report in reports[1:-1]} == {3}  # the search's, though 4 and 5 came meanwhile
    assert reports[-1]["dataset_version"] == 6
    datasets = {path.name for path in (undisturbed.root / "lines/default/datasets").iterdir()}
    assert datasets == {"dataset_version_6.csv", "dataset_version_6.csv.json"}


def test_demo_tells_a_harbour_master_what_the_model_is_worth(undisturbed: Run) -> None:
    trained, next_day = undisturbed.printed.strip().splitlines()[-2:]
    assert trained.startswith("Of 141 arrivals in the 4 days")
    assert "announced within the 5 positions before" in trained
    assert next_day.startswith("Of 11 arrivals on the next day, which it had not seen")


def test_readme_s_transcript_has_the_shape_of_a_run(undisturbed: Run) -> None:
    """Numbers, and so which step was the best so far, may differ with the versions of Optuna and NumPy."""

    def shape(text: str) -> list[str]:
        plain = re.sub(r"\S*/demo-data/run-1|  best so far|  best *$", "", text, flags=re.MULTILINE)
        plain = re.sub(r"(?<![a-z])\d[\d.,]*(e-\d+)?", "#", plain)
        return sorted(" ".join(line.split()) for line in plain.splitlines())

    transcript = re.search(r"```text\n( +0\.0 s  data root.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert transcript is not None
    assert shape(transcript.group(1)) == shape(undisturbed.printed.replace(str(undisturbed.root), "/demo-data/run-1"))


def test_demo_ends_as_if_nothing_had_happened_when_its_factory_is_killed(undisturbed: Run, killed: Run) -> None:
    assert killed.status == 0, killed.printed
    assert killed.printed.count("was killed by SIGKILL; started again") == len(KILLED_AFTER)
    assert killed.worth() == undisturbed.worth()


@pytest.mark.parametrize("topic", ["model_reports", "model_versions", "assembly_reports", "factory_dead_letters"])
def test_demo_s_killed_factory_says_everything_once(undisturbed: Run, killed: Run, topic: str) -> None:
    assert killed.topic(topic) == undisturbed.topic(topic)


def test_demo_s_killed_factory_makes_the_same_models(undisturbed: Run, killed: Run) -> None:
    assert killed.models() == undisturbed.models()


def test_demo_over_its_own_broker_does_the_same(undisturbed: Run, tmp_path: Path) -> None:
    run = demo(tmp_path, "--kafka")
    assert run.status == 0, run.printed
    assert run.worth() == undisturbed.worth()
    assert run.models() == undisturbed.models()
    address = re.search(r"broker +started as process \d+, listens on (127\.0\.0\.1):(\d+)", run.printed)
    assert address is not None
    assert (tmp_path / "broker").is_dir()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address[1], int(address[2])))


@pytest.mark.slow
def test_demo_over_a_broker_of_ours_does_the_same_once(
    own_kafka: ApacheKafka, undisturbed: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = demo(tmp_path / "first", "--bootstrap", own_kafka.address)
    assert run.status == 0, run.printed
    assert run.worth() == undisturbed.worth()
    assert run.models() == undisturbed.models()
    assert demo(tmp_path / "second", "--bootstrap", own_kafka.address).status == 1
    error = capfd.readouterr().err
    assert len(error.splitlines()) == 1
    assert "hold messages of an earlier run: dataset_versions, assembly_reports," in error


def test_demo_gives_up_with_the_factory_s_last_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A configuration that cannot be used: the factory does not start, however often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTORY_DURABILITY", "chatty")
        assert main(["--data-root", str(tmp_path), "--plain"]) == 1
    error = capfd.readouterr().err
    assert len(error.splitlines()) == 1
    assert "chatty" in error


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let processes that are started obey Ctrl-C: whatever a job in the background starts ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("transport", [[], ["--kafka"]])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_asked_to_end_ends_its_processes(
    how: signal.Signals, transport: list[str], tmp_path: Path
) -> None:
    options = ["--data-root", str(tmp_path), "--plain", "--speed", "0.001", *transport]
    command = [sys.executable, "-m", "dataflow.demo", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = _up_to("dataset 0 assembled", process.stdout)
        process.send_signal(how)
        _, error = process.communicate()
    assert process.returncode == 130
    assert error == "demo: interrupted\n"
    for pid in re.findall(r"started as process (\d+)", told):
        assert not Path(f"/proc/{pid}").exists()


def _up_to(words: str, lines: Iterable[str]) -> str:
    """Return the lines up to the one with these words."""
    told = ""
    for line in lines:
        told += line
        if words in line:
            break
    assert words in told
    return told
