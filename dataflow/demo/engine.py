"""The demo's inference engine: loads an announced model, lets it forecast after every event, and counts what came true.

Knows the library alone: this is all that a deployment of a model needs of this project.
"""

from __future__ import annotations

import csv
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from spst import Events, TrainingSet, load_model


@dataclass(frozen=True)
class Foresight:
    """What a model's forecasts were worth over some days.

    Attributes
    ----------
    horizon : int
        Events of the same vessel that a forecast looks ahead.
    arrivals : int
        Detections of the pattern.
    announced : int
        Those that were forecast at one of the vessel's last `horizon` events before.
    false_alarms : int
        Events at which an arrival was forecast that did not come within the vessel's next `horizon` events.
    days : int
        Length of the time looked at.
    mcc : float
        Matthews correlation of forecasts and truth.
    """

    horizon: int
    arrivals: int
    announced: int
    false_alarms: int
    days: int
    mcc: float

    @property
    def false_alarms_a_day(self) -> float:
        """Mean number of false alarms in 24 hours."""
        return self.false_alarms / self.days


def foresee(model_file: Path, days: Sequence[Sequence[str]]) -> Foresight:
    """Run a model over some days as over one stream.

    Parameters
    ----------
    model_file : Path
        A model whose pattern is partitioned.
    days : sequence of days
        Each the lines of a CSV file with its header.
    """
    model = load_model(model_file)
    columns = _columns(days)
    horizon = model.hyperparameters.k
    score = TrainingSet.prepare(
        Events.from_columns(columns), model.pattern, order=model.hyperparameters.order, k_max=horizon
    ).score(model)
    forecasts = model.forecaster().update_many(columns)
    vessels = columns[str(model.pattern.partition_by)].tolist()
    announced = count_announced(vessels, forecasts.positive.tolist(), forecasts.detection.tolist(), horizon)
    return Foresight(
        horizon=horizon,
        arrivals=score.detections,
        announced=announced,
        false_alarms=score.fp,
        days=len(days),
        mcc=score.mcc,
    )


def count_announced(vessels: Iterable[str], positive: Iterable[bool], detection: Iterable[bool], horizon: int) -> int:
    """Count the detections that a positive forecast preceded, at most `horizon` events of the same vessel earlier."""
    recent: defaultdict[str, deque[bool]] = defaultdict(lambda: deque(maxlen=horizon))
    announced = 0
    for vessel, forecast, detected in zip(vessels, positive, detection, strict=True):
        announced += detected and any(recent[vessel])
        recent[vessel].append(forecast)
    return announced


def _columns(days: Sequence[Sequence[str]]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.str_]]]:
    """Return the columns of the days, one after the other, as text."""
    names = days[0][0].strip().split(",")
    rows = chain.from_iterable(csv.reader(lines[1:]) for lines in days)
    return {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
