"""What is done for every decision, what is refused, and that doing it twice changes nothing."""

from __future__ import annotations

import ast
import errno
import inspect
import os
import sys
import textwrap
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dataflow import perform
from dataflow.config import Config
from dataflow.decisions import (
    Assemble,
    Assembled,
    Decision,
    Done,
    Fit,
    Fitted,
    Lock,
    Outcome,
    Purpose,
    Refused,
    Reject,
    Sweep,
    Swept,
    Wait,
)
from dataflow.errors import Code, FactoryFault
from dataflow.messages import DatasetNotice
from dataflow.perform import Performer, Stopwatch
from dataflow.state import Dataset
from dataflow.storage import LineFiles
from spst import Hyperparameters, load_model
from tests.dataflow.workshop import HEADER, make_workshop, rewrite, rows

POINT = Hyperparameters(order=2, p_min=0.001, gamma=0.001, threshold=0.2, k=3)


class Bench:
    """One line's performer with its files."""

    def __init__(self, root: Path, more: str = "") -> None:
        self.workshop = make_workshop(root)
        self.restart(more)

    def restart(self, more: str = "") -> None:
        self.config: Config = self.workshop.config(more)
        self.files = LineFiles(self.config.data_root, "k")
        self.files.prepare()
        self.performer = Performer(self.config)
        self.watch = Stopwatch()

    def do(self, decision: Decision) -> Outcome:
        self.watch = Stopwatch()
        return self.performer.perform(decision, self.files, self.config.line("k"), self.watch)

    def assemble(self, *held: Dataset, **fields: Any) -> Dataset:
        outcome = self.do(self.notice(*held, **fields))
        assert isinstance(outcome, Assembled), outcome
        return outcome.dataset

    def notice(self, *held: Dataset, **fields: Any) -> Assemble:
        notice = self.workshop.notice(**fields)
        assert isinstance(notice, DatasetNotice)
        return Assemble(notice=notice, held=held)

    def there(self) -> set[str]:
        return {str(path.relative_to(self.files.folder)) for path in self.files.folder.glob("*/*")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def fit(dataset: Dataset, purpose: Purpose = "train", *, point: Hyperparameters = POINT, model_id: int = 1) -> Fit:
    return Fit(
        model_id=model_id,
        purpose=purpose,
        dataset=dataset,
        hyperparameters=point,
        key="k",
        command_id="c-1",
        timestamp=7,
    )


def locked(bench: Bench) -> Dataset:
    dataset = bench.assemble()
    assert bench.do(Lock(dataset=dataset, timestamp=7)) == Done()
    return dataset


# --- assembly


def test_assembled_dataset_is_on_disk_with_its_manifest(bench: Bench) -> None:
    outcome = bench.do(bench.notice(version=5, buckets=(1, 0)))
    assert isinstance(outcome, Assembled)
    dataset = outcome.dataset
    content = bench.files.path("datasets/dataset_version_5.csv").read_bytes()
    assert content.decode() == HEADER + rows(1, 1000) + rows(0, 0)
    assert outcome.path == str(bench.config.data_root / "lines/k/datasets/dataset_version_5.csv")
    assert dataset.sha256 == sha256(content).hexdigest()
    assert (dataset.bytes, dataset.rows, dataset.buckets_range) == (len(content), 200, (1, 0))
    assert (dataset.first_timestamp, dataset.last_timestamp, dataset.timestamp) == (0, 1099, 5)
    assert [content[bucket.start :][: bucket.bytes].decode() for bucket in dataset.buckets] == [rows(1, 1000), rows(0)]
    manifest = msgspec.json.decode(bench.files.path(dataset.manifest).read_bytes())
    assert (manifest["schema"], manifest["sha256"], manifest["rows"]) == (1, dataset.sha256, 200)
    assert bench.there() == {dataset.path, dataset.manifest}


def test_assembling_twice_gives_the_same(bench: Bench) -> None:
    first = bench.do(bench.notice())
    assert isinstance(first, Assembled)
    paths = [bench.files.path(name) for name in bench.there()]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
    assert bench.do(bench.notice(first.dataset)) == first
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths] == before


def test_version_that_comes_again_with_other_content_gets_a_name_of_its_own(bench: Bench) -> None:
    first = bench.assemble(buckets=(0, 1))
    other = bench.assemble(first, buckets=(1, 2))
    assert other.file == f"dataset_version_0-{other.sha256[:8]}.csv"
    assert bench.files.is_intact(first.path, first.sha256)
    assert bench.assemble(first, other, buckets=(1, 2)).file == other.file
    third = bench.assemble(first, other, buckets=(2,))
    assert len({first.file, other.file, third.file}) == 3
    assert bench.assemble(other, third, buckets=(0, 1)).file == first.file  # let go of, so free again


def test_version_whose_dataset_is_gone_may_have_its_name_again(bench: Bench) -> None:
    bench.assemble(buckets=(0, 1))
    other = bench.assemble(buckets=(1, 2))
    assert other.file == "dataset_version_0.csv"
    assert bench.files.is_intact(other.path, other.sha256)


def test_held_dataset_that_was_damaged_is_mended_by_its_notice(bench: Bench) -> None:
    first = bench.assemble()
    bench.files.path(first.path).write_text("damaged")
    assert bench.assemble(first) == first
    assert bench.files.is_intact(first.path, first.sha256)


def test_refused_bucket_leaves_nothing(bench: Bench) -> None:
    bench.workshop.bucket(1, HEADER + "1,A\n")
    outcome = bench.do(bench.notice())
    assert isinstance(outcome, Refused)
    assert (outcome.code, "b_1, line 2" in outcome.text) == (Code.BAD_BUCKET, True)
    assert bench.there() == set()


def test_refusal_names_a_file_whose_name_is_no_text(bench: Bench) -> None:
    bench.workshop.bucket(1).unlink()
    folder = bench.workshop.buckets / "b_1"
    folder.mkdir()
    (folder / os.fsdecode(b"part-\xff")).write_text("1\n")
    outcome = bench.do(bench.notice())
    assert isinstance(outcome, Refused)
    assert b"part-" in msgspec.json.encode(outcome)


# --- locks


def test_lock_names_the_session_and_what_it_holds(bench: Bench) -> None:
    dataset = locked(bench)
    lock = msgspec.json.decode(bench.files.path(dataset.lock).read_bytes())
    assert lock == {"session": 7, "dataset": dataset.file, "sha256": dataset.sha256}


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_dataset_that_is_not_the_one_assembled_is_refused(bench: Bench, damage: str) -> None:
    dataset = locked(bench)
    path = bench.files.path(dataset.path)
    path.unlink() if damage == "gone" else path.write_text(HEADER)
    decisions: tuple[Decision, ...] = (
        Lock(dataset=dataset, timestamp=7),
        fit(dataset),
        Sweep(dataset=dataset, grid=(POINT,)),
    )
    codes = {outcome.code for outcome in map(bench.do, decisions) if isinstance(outcome, Refused)}
    assert codes == {Code.DATASET_CHANGED}


def test_dataset_is_verified_after_a_restart(bench: Bench) -> None:
    dataset = locked(bench)
    path = bench.files.path(dataset.path)
    content = path.read_text()
    path.write_text(content.replace(",A,", ",B,", 1))
    bench.restart()
    outcome = bench.do(fit(dataset))
    assert isinstance(outcome, Refused)
    assert outcome.code == Code.DATASET_CHANGED
    rewrite(path, content.encode())
    assert isinstance(bench.do(fit(dataset)), Fitted)


@pytest.mark.parametrize("damage", ["changed", "gone"])
@pytest.mark.parametrize("purpose", ["step", "finalise"])
def test_lock_that_somebody_changed_is_noticed(bench: Bench, damage: str, purpose: Purpose) -> None:
    dataset = locked(bench)
    path = bench.files.path(dataset.lock)
    path.unlink() if damage == "gone" else path.write_text("mine")
    outcome = bench.do(fit(dataset, purpose))
    assert isinstance(outcome, Refused)
    assert (outcome.code, str(path) in outcome.text) == (Code.DATASET_CHANGED, True)


# --- models


def test_step_is_scored_and_its_model_saved(bench: Bench) -> None:
    dataset = locked(bench)
    outcome = bench.do(fit(dataset, "step", model_id=7))
    assert isinstance(outcome, Fitted)
    path = bench.files.path("models/model_7.spst")
    assert (outcome.file, outcome.path) == ("model_7.spst", str(path))
    assert outcome.sha256 == sha256(path.read_bytes()).hexdigest()
    metrics = outcome.metrics
    assert metrics["f_val"] == -metrics["mcc"]
    assert metrics["tp"] + metrics["tn"] + metrics["fp"] + metrics["fn"] == metrics["n_forecasts"] == 200
    assert metrics["rows_skipped"] == 0
    assert {"best_threshold", "best_mcc", "precision", "recall", "f1"} <= metrics.keys()
    assert metrics["seconds"].keys() == {"prepare", "fit", "score", "save"}
    assert set(bench.watch.seconds) == {"prepare", "fit", "score", "save"}
    assert outcome.pt == bench.watch.milliseconds


@pytest.mark.parametrize("purpose", ["train", "finalise"])
def test_final_model_has_no_metrics(bench: Bench, purpose: Purpose) -> None:
    outcome = bench.do(fit(locked(bench), purpose))
    assert isinstance(outcome, Fitted)
    assert outcome.metrics == {}


def test_model_says_where_it_comes_from(bench: Bench) -> None:
    dataset = bench.assemble(version=3)
    bench.do(fit(dataset, model_id=4))
    provenance = load_model(bench.files.path("models/model_4.spst")).provenance
    assert provenance["message"] == {"key": "k", "id": "c-1", "timestamp": 7}
    assert provenance["dataset"] == {
        "version": 3,
        "sha256": dataset.sha256,
        "rows": 200,
        "rows_skipped": 0,
        "first_timestamp": 0.0,
        "last_timestamp": 1099.0,
    }
    assert (provenance["model_id"], provenance["purpose"]) == (4, "train")
    assert {"python", "numpy", "scipy", "pyarrow"} <= provenance["versions"].keys()


def test_fitting_twice_gives_the_same_bytes(bench: Bench) -> None:
    dataset = bench.assemble()
    first = bench.do(fit(dataset))
    bench.restart()
    second = bench.do(fit(dataset))
    assert isinstance(first, Fitted)
    assert isinstance(second, Fitted)
    assert first.sha256 == second.sha256


def test_other_evaluation_scores_on_what_was_not_learnt_and_reports_both(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 'evaluation = "last-bucket"\n')
    dataset = locked(bench)
    step, final = bench.do(fit(dataset, "step")), bench.do(fit(dataset, model_id=2))
    assert isinstance(step, Fitted)
    assert isinstance(final, Fitted)
    assert step.metrics["n_forecasts"] == 100
    assert step.metrics["in_sample_mcc"] != step.metrics["mcc"]
    bench.restart()
    whole = bench.do(fit(dataset, model_id=2))
    assert isinstance(whole, Fitted)
    assert whole.sha256 == final.sha256, "what is deployed has learnt from everything"


@pytest.mark.parametrize(
    ("point", "code"),
    [
        (Hyperparameters(order=2, p_min=0.001, gamma=0.9, threshold=0.2, k=3), Code.BAD_PARAMS),
        (Hyperparameters(order=4, p_min=0.001, gamma=0.001, threshold=0.2, k=3), Code.BAD_PARAMS),
    ],
)
def test_hyperparameters_that_do_not_fit_are_refused(bench: Bench, point: Hyperparameters, code: Code) -> None:
    outcome = bench.do(fit(bench.assemble(), point=point))
    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert not list(bench.files.path("models").iterdir())


def test_bad_rows_beyond_the_limit_refuse_the_command_with_the_first(bench: Bench) -> None:
    bench.workshop.bucket(1, HEADER + "1,A,e1\n2,A,\n3,B,\n" + rows(1))
    outcome = bench.do(fit(bench.assemble(buckets=(1,))))
    assert isinstance(outcome, Refused)
    assert outcome.code == Code.BAD_DATASET
    assert "3" in outcome.text, "the line's number in the dataset"
    assert "2,A," in outcome.text


def test_few_bad_rows_are_skipped_and_counted(bench: Bench) -> None:
    bench.workshop.bucket(1, HEADER + "1,A,e1\n2,A,\n" + rows(1, number=200))
    dataset = bench.assemble(buckets=(1,))
    bench.do(Lock(dataset=dataset, timestamp=7))
    outcome = bench.do(fit(dataset, "step"))
    assert isinstance(outcome, Fitted)
    assert (outcome.metrics["rows_skipped"], outcome.metrics["n_forecasts"]) == (1, 201)


def test_dataset_without_a_needed_column_is_refused(bench: Bench) -> None:
    bench.workshop.bucket(1, "timestamp,type\n" + "1,A\n" * 50)
    outcome = bench.do(fit(bench.assemble(buckets=(1,))))
    assert isinstance(outcome, Refused)
    assert (outcome.code, "entity" in outcome.text) == (Code.BAD_DATASET, True)


def test_dataset_without_a_row_is_refused_where_no_number_of_events_is_asked_for(bench: Bench) -> None:
    bench.config = replace(bench.config, defaults=msgspec.structs.replace(bench.config.defaults, min_events=0))
    bench.workshop.bucket(0, HEADER)
    bench.workshop.bucket(1, "")
    refused = bench.do(fit(bench.assemble()))
    assert refused == Refused(
        code=Code.BAD_DATASET, text="there is no event to learn from: expected at least one bucket"
    )


def test_events_are_counted_after_bad_rows_and_resets(bench: Bench) -> None:
    bench.workshop.bucket(1, HEADER + "-1,RESET,e1\n" * 50 + rows(1, number=19))
    outcome = bench.do(fit(bench.assemble(buckets=(1,))))
    assert isinstance(outcome, Refused)
    assert (outcome.code, "has 19 in 69 rows" in outcome.text) == (Code.TOO_FEW_EVENTS, True)


@pytest.mark.parametrize("pattern", [";(IsEventTypePredicate(A)", "Unknown(A)", "", None])
def test_unusable_pattern_refuses_its_line_alone_until_it_is_mended(bench: Bench, pattern: str | None) -> None:
    path = bench.workshop.root / "other.sre"
    path.write_text(pattern or "")
    bench.restart('[lines.x]\npattern = "other.sre"\n')
    dataset = bench.assemble()
    settings = bench.config.line("x")
    if pattern is None:
        path.unlink()
    refused = bench.performer.perform(fit(dataset), bench.files, settings, Stopwatch())
    assert isinstance(refused, Refused)
    assert refused.code == Code.BAD_PATTERN
    assert isinstance(bench.do(fit(dataset)), Fitted)
    path.write_text(";(IsEventTypePredicate(A),IsEventTypePredicate(B)){order:2}")
    assert isinstance(bench.performer.perform(fit(dataset), bench.files, settings, Stopwatch()), Fitted)


def test_line_without_a_pattern_is_refused(bench: Bench) -> None:
    settings = msgspec.structs.replace(bench.config.line("k"), pattern=None)
    refused = bench.performer.perform(fit(bench.assemble()), bench.files, settings, Stopwatch())
    assert isinstance(refused, Refused)
    assert refused.code == Code.BAD_PATTERN


# --- sweeps


def test_sweep_scores_a_grid_as_steps_do(bench: Bench) -> None:
    dataset = locked(bench)
    other = Hyperparameters(order=1, p_min=0.01, gamma=0.001, threshold=0.1, k=2)
    swept = bench.do(Sweep(dataset=dataset, grid=(POINT, other)))
    assert isinstance(swept, Swept)
    for row, point in zip(swept.rows, (POINT, other), strict=True):
        step = bench.do(fit(dataset, "step", point=point))
        assert isinstance(step, Fitted)
        assert row.metrics == {name: step.metrics[name] for name in row.metrics or {}}
        assert row.metrics is not None
        assert "f_val" in row.metrics


def test_sweep_reports_what_does_not_fit_beside_what_does(bench: Bench) -> None:
    dataset = bench.assemble()
    wrong = Hyperparameters(order=2, p_min=0.001, gamma=0.9, threshold=0.2, k=3)
    swept = bench.do(Sweep(dataset=dataset, grid=(POINT, wrong)))
    assert isinstance(swept, Swept)
    assert [row.error is None for row in swept.rows] == [True, False]
    refused = bench.do(Sweep(dataset=dataset, grid=(wrong, wrong)))
    assert isinstance(refused, Refused)
    assert refused.code == Code.BAD_PARAMS


# --- what must hold for all


@pytest.mark.parametrize("decision", [Wait(), Reject(code=Code.NO_DATASET, text="none")])
def test_decisions_that_ask_for_nothing_do_nothing(bench: Bench, decision: Decision) -> None:
    assert bench.do(decision) == Done()
    assert (bench.there(), bench.watch.seconds) == (set(), {})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_our_disk_failing_is_no_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    dataset = locked(bench)
    before = bench.there()

    def refuse(fd: int, content: bytes) -> int:
        raise OSError(number, os.strerror(number))

    decisions: list[Decision] = [
        fit(dataset),
        fit(dataset, "step"),
        Lock(dataset=dataset, timestamp=8),
        bench.notice(version=9),
    ]
    for decision in decisions:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            with pytest.raises(FactoryFault, match=os.strerror(number)):
                bench.do(decision)
        assert bench.there() == before
        assert not isinstance(bench.do(decision), Refused), "it goes on when the disk is back"
        before = bench.there()


@pytest.mark.parametrize(("purpose", "flushes"), [("step", 0), ("train", 2), ("finalise", 2)])
def test_model_is_flushed_with_its_name_unless_it_is_intermediate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, purpose: Purpose, flushes: int
) -> None:
    dataset = locked(bench)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    bench.do(fit(dataset, purpose))
    assert len(flushed) == flushes


def test_nothing_is_read_or_written_between_preparing_and_saving(bench: Bench) -> None:
    """Of a step on a prepared dataset, the only file opened is the model's draft."""
    dataset = locked(bench)
    bench.do(fit(dataset, "step"))  # Python and its libraries load what they need on first use
    opened: list[str] = []
    recording = True

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if recording and event == "open":
            opened.append(Path(str(arguments[0])).name)

    sys.addaudithook(audit)
    bench.do(fit(dataset, "step", model_id=2))
    recording = False
    assert opened == [".draft"]


def test_fitting_names_no_files_between_preparing_and_saving() -> None:
    """The stages of a fit, as they stand in the code: only `prepare` and `save` may name the line's files."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(perform.Performer._fit))).body
    stages = {
        item.context_expr.args[0].value: ast.unparse(node)
        for node in ast.walk(function)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.context_expr, ast.Call) and isinstance(item.context_expr.args[0], ast.Constant)
    }
    assert list(stages) == ["prepare", "fit", "score", "save"]
    assert {name for name, code in stages.items() if "files" in code} == {"prepare", "save"}
