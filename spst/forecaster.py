"""A model at work: events in, forecasts out, one at a time or in batches.

Owns the reading of single events and the snapshot of where every partition stands. Memory grows with the number of
partitions, never with the stream. Must not know: files, training, scores.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from spst.alphabet import Alphabet
from spst.automaton import Automaton
from spst.errors import HyperparameterError, ModelFormatError
from spst.events import Batch, Events
from spst.forecasts import METHODS, Intervals
from spst.hyperparameters import MAX_HORIZON
from spst.lookup import SymbolLookup
from spst.model import Model
from spst.reader import Event, EventReader, is_reset
from spst.runs import Runs, Standing
from spst.table import Kind
from spst.waiting import waiting_times

NO_FORECAST = RESET = -1  # among states, among symbols


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a model says after one event.

    Attributes
    ----------
    start, end : int
        First and last event of the interval that the forecast speaks about, counted from the next event of the same
        partition, which is 1; both 0 where no interval reaches the threshold.
    probability : float
        Probability that the next detection comes in that interval.
    positive : bool
        Whether the model expects it there.
    detection : bool
        Whether this very event is a detection.
    """

    start: int
    end: int
    probability: float
    positive: bool
    detection: bool


@dataclass(frozen=True)
class Forecasts:
    """One forecast for every row of a batch.

    Attributes
    ----------
    made : bool, shape (n_rows,)
        False for reset rows and bad rows; the other columns are 0 or False there.
    start, end : int64, probability : float64, positive, detection : bool; shape (n_rows,)
        As in `Forecast`.
    """

    made: npt.NDArray[np.bool_]
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]
    positive: npt.NDArray[np.bool_]
    detection: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, row: int) -> Forecast | None:
        if not self.made[row]:
            return None
        return Forecast(
            *(column[row].item() for column in (self.start, self.end, self.probability, self.positive, self.detection))
        )


class Forecaster:
    """Follows a stream of events and forecasts after each of them; made by `Model.forecaster`.

    Parameters
    ----------
    model : Model
    method : "next_k", "window", "smallest", "argmax" or "fixed_spread"
        See `spst.forecasts`.
    horizon : int or None
        How many events ahead the searching methods look; the model's k if None.
    **parameters
        Of the method. `threshold` and `k` default to the model's.

    Attributes
    ----------
    rows_skipped : int
        Events without a needed value: missing, empty, NaN or of the wrong kind. They leave no trace in their partition.

    Raises
    ------
    HyperparameterError
        The method is unknown, or a parameter is missing, unknown or out of its range.
    """

    def __init__(self, model: Model, method: str = "next_k", *, horizon: int | None = None, **parameters: Any) -> None:
        self.rows_skipped = 0
        self._alphabet = model.alphabet
        self._n_states = len(model.automaton.finals)
        self._partition_by = model.pattern.partition_by
        self._reader = EventReader(model.alphabet.columns, self._partition_by)
        self._runs = Runs(model.tree, model.automaton, model.hyperparameters.order)
        self._lookup = SymbolLookup(model.alphabet)
        self._fingerprint = _fingerprint(model.alphabet, model.automaton)
        intervals = intervals_of(model, method, horizon, parameters)
        detection = np.tile(model.automaton.finals, len(model.tree))
        self._table = (intervals.start, intervals.end, intervals.probability, intervals.positive, detection)
        self._forecasts: dict[int, Forecast] = {}

    def update(self, event: Event) -> Forecast | None:
        """Take one event.

        Parameters
        ----------
        event : mapping
            Attribute to value. Numbers may be written as text; a missing `type` is ``SampledCritical``.

        Returns
        -------
        Forecast or None
            None for a reset row (`timestamp` -1 or `type` RESET) and for an event that is skipped.

        Raises
        ------
        AlphabetError
            The event fits no symbol.
        """
        partition = self._reader.partition(event)
        if partition is not None and is_reset(event):
            self._runs.reset(partition)
            return None
        values = None if partition is None else self._reader.values(event)
        if partition is None or values is None:
            self.rows_skipped += 1
            return None
        return self._forecast(self._runs.step(partition, self._lookup(values)))

    def update_many(self, batch: Batch | Mapping[str, npt.ArrayLike]) -> Forecasts:
        """Take many rows at once; the same as `update` for each of them in turn, and much faster.

        Parameters
        ----------
        batch : Batch, or mapping of attribute to values, shape (n_rows,)
            A batch as `Events.batches` gives it for this forecaster's `columns` and partition, or plain columns.

        Raises
        ------
        EventsError
            A needed column is absent. Nothing has been taken then.
        AlphabetError
            An event fits no symbol. Nothing has been taken then.
        """
        if not isinstance(batch, Batch):
            batch = next(Events.from_columns(batch).batches(self._alphabet.columns, self._partition_by))
        symbols = np.full(len(batch.is_event), RESET)
        symbols[batch.is_event] = self._alphabet.encode(batch.columns)
        values = [""] if batch.partition is None else batch.partition.values
        codes = repeat(0) if batch.partition is None else batch.partition.codes.tolist()
        states = np.full(batch.rows, NO_FORECAST)
        pairs = zip(codes, symbols.tolist(), strict=False)  # repeat() has no end
        states[~batch.is_bad] = [self._step(values[code], symbol) for code, symbol in pairs]
        self.rows_skipped += batch.skipped
        made = states != NO_FORECAST
        return Forecasts(made, *(np.where(made, column[states], column.dtype.type(0)) for column in self._table))

    @property
    def columns(self) -> Mapping[str, Kind]:
        """The attributes that an event needs, and their kinds; the partition's beside them."""
        return self._alphabet.columns

    def reset(self, partition: str) -> None:
        """Forget a partition, as a reset row does."""
        self._runs.reset(partition)

    def state(self) -> dict[str, Any]:
        """Give where every partition stands, as plain data that JSON can hold."""
        partitions = {name: _Partition(standing.state or 0, standing.recent) for name, standing in self._runs.items()}
        snapshot = _Snapshot(self._fingerprint, self.rows_skipped, partitions)
        plain: dict[str, Any] = msgspec.to_builtins(snapshot)
        return plain

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where a forecaster stood when it gave `state`.

        It may have had another model, as long as that detects the same: alphabet and automaton must be equal, tree and
        hyperparameters may be newer.

        Raises
        ------
        ModelFormatError
            It is not such a state, or it does not fit this model.
        """
        try:
            snapshot = msgspec.convert(state, _Snapshot)
        except msgspec.ValidationError as error:
            raise ModelFormatError(f"not a forecaster's state: {error}") from error
        if snapshot.fingerprint != self._fingerprint:
            raise ModelFormatError("the state is of a forecaster with another alphabet or automaton; start without it")
        for name, p in snapshot.partitions.items():
            if p.state >= self._n_states or max(p.recent, default=0) >= len(self._alphabet):
                raise ModelFormatError(f"partition {name!r} stands where this model has no state or symbol")
        self._runs.replace({name: Standing(p.recent, p.state) for name, p in snapshot.partitions.items()})
        self.rows_skipped = snapshot.rows_skipped

    def _step(self, partition: str, symbol: int) -> int:
        if symbol == RESET:
            self._runs.reset(partition)
            return NO_FORECAST
        return self._runs.step(partition, symbol)

    def _forecast(self, state: int) -> Forecast:
        if state not in self._forecasts:
            self._forecasts[state] = Forecast(*(column[state].item() for column in self._table))
        return self._forecasts[state]


class _Partition(msgspec.Struct, frozen=True):
    state: Annotated[int, msgspec.Meta(ge=0)]
    recent: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]


class _Snapshot(msgspec.Struct, frozen=True):
    """What `Forecaster.state` gives; `fingerprint` is that of alphabet and automaton."""

    fingerprint: str
    rows_skipped: Annotated[int, msgspec.Meta(ge=0)]
    partitions: dict[str, _Partition]


def _fingerprint(alphabet: Alphabet, automaton: Automaton) -> str:
    """SHA-256 of what gives a standing its meaning: the symbols' numbers and the states' numbers."""
    digest = hashlib.sha256("\n".join(alphabet.texts).encode())
    for array in (alphabet.truth, automaton.transitions, automaton.finals):
        digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def intervals_of(model: Model, method: str, horizon: int | None, parameters: Mapping[str, Any]) -> Intervals:
    """Give the forecast of every state; the model tells the parameters that it knows. Raises as `Forecaster`."""
    if method not in METHODS:
        raise HyperparameterError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    known = {"threshold": model.hyperparameters.threshold, "k": model.hyperparameters.k, **parameters}
    names = list(inspect.signature(METHODS[method]).parameters)[1:]
    missing, unknown = set(names) - set(known), set(parameters) - set(names)
    if missing or unknown:
        raise HyperparameterError(
            f"{method} takes {', '.join(names)}; missing are {sorted(missing)}, unknown are {sorted(unknown)}"
        )
    if horizon is None:
        horizon = known["centre"] + known["width"] // 2 if method == "window" else known["k"]
    if not (isinstance(horizon, int) and 1 <= horizon <= MAX_HORIZON):
        raise HyperparameterError(f"the horizon must be a whole number from 1 to {MAX_HORIZON}, not {horizon!r}")
    waiting = waiting_times(model.tree, model.automaton, horizon)
    return METHODS[method](waiting, **{name: known[name] for name in names})
