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
from spst.pattern import Pattern, parse_pattern, parse_patterns
from spst.predicates import load_predicates, predicate

__all__ = [
    "AlphabetError",
    "AutomatonError",
    "BadRowsError",
    "EventsError",
    "HyperparameterError",
    "ModelFormatError",
    "Pattern",
    "PatternError",
    "SpstError",
    "load_predicates",
    "parse_pattern",
    "parse_patterns",
    "predicate",
]
