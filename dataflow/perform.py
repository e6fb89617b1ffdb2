"""What a decision needs of the volume and of the library: the only impure part of handling a message.

Everything here may run twice, after a crash, with the same names and the same result. A peer's fault becomes `Refused`,
with nothing of the attempt left; a fault of our own disk is raised, and the message is handled again later.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from dataflow.assembly import assemble
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
    Refused,
    Sweep,
    SweepRow,
    Swept,
)
from dataflow.errors import Code, RequestRejected
from dataflow.messages import Number
from dataflow.prepared import TrainingSets, check_intact
from dataflow.pulse import pulse
from dataflow.settings import LineSettings
from dataflow.state import Dataset
from dataflow.storage import LineFiles, draft
from spst import (
    AlphabetError,
    AutomatonError,
    HyperparameterError,
    Hyperparameters,
    Model,
    PatternError,
    Score,
    SpstError,
    TrainingSet,
)

_FAULTS = (
    (HyperparameterError, Code.BAD_PARAMS),
    ((PatternError, AlphabetError, AutomatonError), Code.BAD_PATTERN),
    (SpstError, Code.BAD_DATASET),
)
"""What the library refuses -> what the peer is told; the first that fits."""

MANIFEST_SCHEMA = 1

_LIBRARIES = ("rtcef-model-factory", "numpy", "scipy", "pyarrow")


@dataclass
class Stopwatch:
    """Seconds that the stages of one message took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start

    def rounded(self) -> dict[str, float]:
        """Return the stages so far, to the microsecond."""
        return {name: round(seconds, 6) for name, seconds in self.seconds.items()}

    @property
    def milliseconds(self) -> int:
        """All stages so far."""
        return round(1000 * sum(self.seconds.values()))


class Performer:
    """Performs the decisions of every line of a worker.

    Parameters
    ----------
    config : Config
        Where buckets are, and how much is held in memory.
    """

    def __init__(self, config: Config) -> None:
        self._buckets = config.buckets
        self._sets = TrainingSets(config.memory)
        self._versions = _versions()

    def perform(self, decision: Decision, files: LineFiles, settings: LineSettings, watch: Stopwatch) -> Outcome:
        """Do what was decided.

        Parameters
        ----------
        decision : Decision
            What to do.
        files : LineFiles
            The line's files.
        settings : LineSettings
            The line's settings.
        watch : Stopwatch
            Times the stages.

        Raises
        ------
        FactoryFault
            Our volume refuses.
        """
        try:
            match decision:
                case Assemble():
                    return self._assemble(decision, files, settings, watch)
                case Lock():
                    return self._lock(decision, files)
                case Fit():
                    return self._fit(decision, files, settings, watch)
                case Sweep():
                    return self._sweep(decision, files, settings, watch)
                case _:
                    return Done()
        except RequestRejected as rejected:
            return Refused(code=rejected.code, text=_printable(rejected.text))
        except SpstError as error:
            code = next(code for kinds, code in _FAULTS if isinstance(error, kinds))
            return Refused(code=code, text=_printable(str(error)))

    def _assemble(self, decision: Assemble, files: LineFiles, settings: LineSettings, watch: Stopwatch) -> Outcome:
        notice = decision.notice
        with watch.stage("assemble"), draft(files.path("datasets")) as copy:
            made = assemble(self._buckets, notice.path_prefix, notice.buckets_range, settings.columns, copy)
            dataset = Dataset(
                version=notice.version,
                file=_dataset_name(notice.version, made.sha256, decision.held),
                sha256=made.sha256,
                rows=made.rows,
                bytes=made.bytes,
                buckets=made.buckets,
                buckets_range=notice.buckets_range,
                prefix=notice.path_prefix,
                first_timestamp=made.first_timestamp,
                last_timestamp=made.last_timestamp,
                timestamp=notice.timestamp,
            )
            if not files.is_intact(dataset.path, dataset.sha256):
                copy.keep_as(dataset.file)
                files.trust(dataset.path, dataset.sha256)
        manifest = _manifest(dataset)
        if not files.is_intact(dataset.manifest, hashlib.sha256(manifest).hexdigest()):
            files.write(dataset.manifest, manifest)
        return Assembled(dataset=dataset, path=str(files.path(dataset.path)))

    def _lock(self, decision: Lock, files: LineFiles) -> Outcome:
        check_intact(files, decision.dataset)
        files.write(decision.dataset.lock, _lock_text(decision.dataset, decision.timestamp))
        return Done()

    def _fit(self, decision: Fit, files: LineFiles, settings: LineSettings, watch: Stopwatch) -> Outcome:
        if decision.purpose != "train":
            _check_lock(decision, files)
        with watch.stage("prepare"):
            training = self._training_set(decision.dataset, files, settings)
        name = f"model_{decision.model_id}.spst"
        with watch.stage("fit"):
            learnt = training if decision.purpose == "step" else _everything(training, settings)
            model = learnt.fit(decision.hyperparameters, _provenance(decision, training) | {"versions": self._versions})
        with watch.stage("score"):
            scores = _scores(training, model, settings) if decision.purpose == "step" else {}
        with watch.stage("save"):
            announced = decision.purpose != "step"  # nothing reads an intermediate model: finalising fits anew
            sha256 = files.write(f"models/{name}", model.to_bytes(), durable=announced)
        metrics = scores and scores | {"rows_skipped": training.rows_skipped, "seconds": watch.rounded()}
        path = str(files.path(f"models/{name}"))
        return Fitted(file=name, path=path, sha256=sha256, pt=watch.milliseconds, metrics=metrics)

    def _sweep(self, decision: Sweep, files: LineFiles, settings: LineSettings, watch: Stopwatch) -> Outcome:
        with watch.stage("prepare"):
            training = self._training_set(decision.dataset, files, settings)
        with watch.stage("sweep"):
            rows = _sweep_rows(training, decision.grid)
        return Swept(rows=rows, pt=watch.milliseconds)

    def _training_set(self, dataset: Dataset, files: LineFiles, settings: LineSettings) -> TrainingSet:
        training = self._sets.get(files, dataset, settings)
        if training.n_events < settings.min_events:
            raise RequestRejected(
                Code.TOO_FEW_EVENTS,
                f"expected at least {settings.min_events} events, dataset {dataset.version} has {training.n_events} "
                f"in {training.rows} rows",
            )
        return training


def _printable(text: str) -> str:
    """Return a text that JSON can hold: file names need not be UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _dataset_name(dataset_version: int, sha256: str, held: Sequence[Dataset]) -> str:
    """Return the name of a dataset's file: one that is held keeps its content."""
    name = f"dataset_version_{dataset_version}.csv"
    clashes = any(other.file == name and other.sha256 != sha256 for other in held)
    return f"dataset_version_{dataset_version}-{sha256[:8]}.csv" if clashes else name


def _manifest(dataset: Dataset) -> bytes:
    """Return what stands beside a dataset for those who read the volume: no path and no clock, so always the same."""
    fields = msgspec.structs.asdict(dataset)
    del fields["prefix"]
    return msgspec.json.format(msgspec.json.encode({"schema": MANIFEST_SCHEMA} | fields), indent=1) + b"\n"


def _lock_text(dataset: Dataset, timestamp: Number) -> bytes:
    """Return the content of a lock: which session holds what."""
    return msgspec.json.encode({"session": timestamp, "dataset": dataset.file, "sha256": dataset.sha256}) + b"\n"


def _check_lock(decision: Fit, files: LineFiles) -> None:
    assert decision.timestamp is not None, "commands of a session have a timestamp"
    lock = decision.dataset.lock
    expected = _lock_text(decision.dataset, decision.timestamp)
    if not files.is_intact(lock, hashlib.sha256(expected).hexdigest()):
        raise RequestRejected(
            Code.DATASET_CHANGED,
            f"{files.path(lock)}: expected {expected.decode().strip()}; the lock is gone, or somebody changed it. Find "
            "out who else works on this volume, then begin a new session",
        )


def _everything(training: TrainingSet, settings: LineSettings) -> TrainingSet:
    """Return the set that learns from all its events: what is deployed leaves none out."""
    return training if settings.evaluation == "in-sample" else training.in_sample()


def _scores(training: TrainingSet, model: Model, settings: LineSettings) -> dict[str, Any]:
    scores = _metrics(training.score(model))
    if settings.evaluation != "in-sample":
        scores["in_sample_mcc"] = training.in_sample().score(model).mcc
    return scores


def _metrics(score: Score) -> dict[str, Any]:
    """Return a score by the names of the protocol."""
    return {{"forecasts": "n_forecasts"}.get(name, name): value for name, value in score.as_dict().items()}


def _sweep_rows(training: TrainingSet, grid: Sequence[Hyperparameters]) -> tuple[SweepRow, ...]:
    """Score a grid; if some of it cannot be used, each of it alone.

    Raises
    ------
    HyperparameterError
        If nothing of it can be used.
    """
    try:
        return tuple(SweepRow(metrics=_metrics(score)) for score in training.sweep(grid, progress=pulse.beat).scores)
    except HyperparameterError as error:
        rows = tuple(_sweep_row(training, point) for point in grid)
        if all(row.metrics is None for row in rows):
            raise error
        return rows


def _sweep_row(training: TrainingSet, point: Hyperparameters) -> SweepRow:
    pulse.beat()
    try:
        return SweepRow(metrics=_metrics(training.sweep([point]).scores[0]))
    except HyperparameterError as error:
        return SweepRow(error=str(error))


def _provenance(decision: Fit, training: TrainingSet) -> dict[str, Any]:
    """Return where a model comes from; no position and no clock, so that a replay makes the same file."""
    dataset = decision.dataset
    return {
        "model_id": decision.model_id,
        "purpose": decision.purpose,
        "message": {"key": decision.key, "id": decision.command_id, "timestamp": decision.timestamp},
        "dataset": {
            "version": dataset.version,
            "sha256": dataset.sha256,
            "rows": training.rows,
            "rows_skipped": training.rows_skipped,
            "first_timestamp": training.first_timestamp,
            "last_timestamp": training.last_timestamp,
        },
    }


def _versions() -> dict[str, str]:
    """Return what ran; the factory has no version where it runs from a clone that was not installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
