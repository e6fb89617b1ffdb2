"""Prediction suffix trees for complex event forecasting: patterns, training, scores, models and forecasts."""

from spst.errors import (
    AlphabetError,
    AutomatonError,
    BadRowsError,
    EventsError,
    HyperparameterError,
    ModelFormatError,
    PatternError,
    SpstError,
)
from spst.events import Events, read_events
from spst.forecaster import Forecast, Forecaster, Forecasts
from spst.hyperparameters import Hyperparameters
from spst.model import Model, load_model
from spst.pattern import Pattern, parse_pattern, parse_patterns
from spst.predicates import load_predicates, predicate
from spst.scoring import Score, ThresholdCurve
from spst.sweeps import SweepTable
from spst.symbols import SymbolCache
from spst.training import TrainingSet

__all__ = [
    "AlphabetError",
    "AutomatonError",
    "BadRowsError",
    "Events",
    "EventsError",
    "Forecast",
    "Forecaster",
    "Forecasts",
    "HyperparameterError",
    "Hyperparameters",
    "Model",
    "ModelFormatError",
    "Pattern",
    "PatternError",
    "Score",
    "SpstError",
    "SweepTable",
    "SymbolCache",
    "ThresholdCurve",
    "TrainingSet",
    "load_model",
    "load_predicates",
    "parse_pattern",
    "parse_patterns",
    "predicate",
    "read_events",
]
