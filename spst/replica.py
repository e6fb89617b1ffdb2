"""The event-by-event run: the forecaster's own steps over every event of a stream, then a count of what came true.

Owns the slow, obvious counterpart of the fast path. With ``start="first"`` both agree to the last count; with
``start="leaf"`` it does what the reference implementation does (rules 9 and 10 of the golden results), for comparison
only. It also scores a model on events that it was not trained on. Must not know: files, predicates, counts of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from spst.model import Model
from spst.runs import NOT_STARTED, Runs, Start
from spst.scoring import Score, score_at, threshold_curve
from spst.symbols import Symbols
from spst.waiting import detection_within


@dataclass(frozen=True)
class PartitionReplay:
    """What one partition did.

    Attributes
    ----------
    value : str
        The partition's value; empty where the stream is one partition.
    events, skipped : int
        Its events, and those among them that were skipped before a start or restart.
    first_processed : int or None
        Place of its first processed event, from 1.
    detections : tuple of int
        The detections, counted in processed events, from 1.
    """

    value: str
    events: int
    skipped: int
    first_processed: int | None
    detections: tuple[int, ...]


@dataclass(frozen=True)
class Replay:
    """The score of a run and what every partition did, in order of appearance."""

    score: Score
    partitions: tuple[PartitionReplay, ...]


def replay(model: Model, stream: Symbols, *, start: Start = "first", forecast_at_detection: bool = True) -> Replay:
    """Run a model over a stream, event by event, and score its *next k* forecasts.

    Parameters
    ----------
    model : Model
        Its hyperparameters give the threshold and k.
    stream : Symbols
        Encoded with the model's alphabet.
    start : "first" or "leaf"
        Where a partition's run starts; see `spst.runs.Runs`.
    forecast_at_detection : bool
        Whether a forecast is made at an event that is a detection.
    """
    tracks = _tracks(model, stream, start)
    k, finals = model.hyperparameters.k, model.automaton.finals
    states, hits, partitions = [], [], []
    for value, track in zip(stream.values or ("",), tracks, strict=True):
        processed = np.array([state for state in track if state != NOT_STARTED], dtype=np.int64)
        detected = finals[processed % len(finals)]
        made = np.ones(len(processed), dtype=bool) if forecast_at_detection else ~detected
        states.append(processed[made])
        hits.append(_followed(detected.tolist(), k)[made])
        partitions.append(_partition(value, track, detected))
    probability = detection_within(model.tree, model.automaton, k)
    total = np.bincount(np.concatenate(states), minlength=len(probability)).astype(float)
    came_true = np.bincount(np.concatenate(states), np.concatenate(hits), minlength=len(probability)).astype(float)
    curve = threshold_curve(probability, came_true, total)
    detections = sum(len(partition.detections) for partition in partitions)
    return Replay(score_at(curve, model.hyperparameters.threshold, detections), tuple(partitions))


def _tracks(model: Model, stream: Symbols, start: Start) -> list[list[int]]:
    """The product state after every event of each partition, or NOT_STARTED."""
    values = stream.values or ("",)
    tracks: list[list[int]] = [[] for _ in values]
    runs = Runs(model.tree, model.automaton, model.hyperparameters.order, start)
    codes = repeat(0) if stream.partitions is None else stream.partitions.tolist()
    for symbol, code in zip(stream.symbols.tolist(), codes, strict=False):  # repeat() has no end
        if symbol == stream.n_symbols:
            runs.reset(values[code])
        else:
            tracks[code].append(runs.step(values[code], symbol))
    return tracks


def _followed(detected: Sequence[bool], k: int) -> npt.NDArray[np.bool_]:
    """Whether a detection lies within the next k events of each event; bool, shape (n_events,)."""
    hit = np.zeros(len(detected), dtype=bool)
    following = len(detected) + k  # out of reach of every event
    for place in range(len(detected) - 1, -1, -1):
        hit[place] = following - place <= k
        if detected[place]:
            following = place
    return hit


def _partition(value: str, track: Sequence[int], detected: npt.NDArray[np.bool_]) -> PartitionReplay:
    places = (place for place, state in enumerate(track, start=1) if state != NOT_STARTED)
    counters = (np.flatnonzero(detected) + 1).tolist()
    return PartitionReplay(value, len(track), track.count(NOT_STARTED), next(places, None), tuple(counters))
