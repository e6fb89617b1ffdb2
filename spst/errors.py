"""The library's errors: one small tree, so that a caller can catch everything with `SpstError`."""

from __future__ import annotations


class SpstError(Exception):
    """Base of everything that the library raises on purpose."""


class PatternError(SpstError):
    """A pattern or its declarations cannot be read or used; says where, what was expected and what stood there."""


class AlphabetError(SpstError):
    """The alphabet explodes, or an event fits no symbol because predicates declared exclusive are both true."""


class AutomatonError(SpstError):
    """The automaton explodes, or cannot be built from the pattern."""


class EventsError(SpstError):
    """Events cannot be read: no such file, a missing column, a malformed line."""


class BadRowsError(EventsError):
    """More rows than allowed lack a needed value; names the first bad line."""


class HyperparameterError(SpstError):
    """A hyperparameter lies outside its range."""


class ModelFormatError(SpstError):
    """A model file is truncated, altered, foreign or of a newer schema; nothing of it was executed."""
