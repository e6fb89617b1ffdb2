"""Patterns: what to detect, with the suffixes and declarations that go with it.

Owns what makes a pattern usable and its text; the grammar is `spst.parser`'s, the nodes are `spst.expressions`'s. Knows
no alphabet, automaton or file.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, TypeAlias

from spst.errors import PatternError
from spst.expressions import (
    And,
    Choice,
    Complement,
    Expression,
    Not,
    Or,
    Predicate,
    Sentence,
    Sequence,
    SkipAny,
    SkipNext,
    Star,
    accepts_empty,
    atoms,
    depth,
    text_of,
)
from spst.parser import MAX_DEPTH, SUFFIXES, TOO_DEEP, Parsed, parse, parse_declarations
from spst.predicates import needed_columns
from spst.table import Kind

__all__ = [
    "And",
    "Choice",
    "Complement",
    "Expression",
    "Not",
    "Or",
    "Pattern",
    "Policy",
    "Predicate",
    "Sentence",
    "Sequence",
    "SkipAny",
    "SkipNext",
    "Star",
    "parse_pattern",
    "parse_patterns",
]

WindowType: TypeAlias = Literal["count", "time"]
Policy: TypeAlias = Literal["overlap", "nonoverlap"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pattern:
    """A pattern with its suffixes and declarations.

    Parameters
    ----------
    expression : Expression
        What to detect; does not accept the empty word.
    order : int or None
        Largest length of a context, in events; None if the text does not say.
    partition_by : str or None
        Column whose values have contexts and automaton runs of their own.
    window, window_type : int or None, str or None
        Accepted for the sake of other automaton classes; without effect here.
    policy : str or None
        Count policy, ``"overlap"`` or ``"nonoverlap"``; None if the text does not say.
    extras : tuple of Sentence
        Features that refine the alphabet.
    exclusives : tuple of frozenset of Predicate
        Sets of which at most one predicate is true for an event.

    Raises
    ------
    PatternError
        The expression accepts the empty word or is nested too deeply, or an attribute is used both as a number and as a
        text.
    """

    expression: Expression
    order: int | None = None
    partition_by: str | None = None
    window: int | None = None
    window_type: WindowType | None = None
    policy: Policy | None = None
    extras: tuple[Sentence, ...] = ()
    exclusives: tuple[frozenset[Predicate], ...] = ()

    def __post_init__(self) -> None:
        if max(map(_depth, (self.expression, *self.extras))) > MAX_DEPTH:
            raise PatternError(TOO_DEEP)
        if accepts_empty(self.expression):
            raise PatternError(
                "the pattern accepts the empty word, so it would be detected without any event; "
                "add a step that must occur"
            )
        needed_columns(self.predicates)

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """The distinct predicates of the expression and the extras, in order of appearance."""
        return tuple(dict.fromkeys(p for part in (self.expression, *self.extras) for p in atoms(part)))

    @property
    def columns(self) -> dict[str, Kind]:
        """The columns that the predicates need and their kinds; `partition_by` and time are not among them."""
        return needed_columns(self.predicates)

    @cached_property
    def declarations_text(self) -> str:
        """The extras and exclusive sets as text that parses to them again."""
        extras = [f"+({','.join(map(str, self.extras))})"] if self.extras else []
        return "\n".join(extras + [f"~({','.join(sorted(map(str, group)))})" for group in self.exclusives])

    def __str__(self) -> str:
        values = [(suffix, getattr(self, name)) for suffix, (name, _) in SUFFIXES.items()]
        return str(self.expression) + "".join(
            f"{{{key}:{text_of(value)}}}" for key, value in values if value is not None
        )


def _depth(expression: Expression) -> int:
    try:
        return depth(expression)
    except RecursionError:
        return MAX_DEPTH + 1


def parse_pattern(text: str, declarations: str = "") -> Pattern:
    """Parse the text of one pattern.

    Parameters
    ----------
    text : str
        The pattern, as in an ``.sre`` file.
    declarations : str
        Its extra and exclusive predicates.

    Returns
    -------
    Pattern

    Raises
    ------
    PatternError
        The text cannot be read or used, or holds several patterns; with line, column, what was expected and what stood
        there.
    """
    patterns = parse_patterns(text, declarations)
    if len(patterns) > 1:
        raise PatternError(f"{len(patterns)} patterns, separated by &, where one is wanted; keep one of them")
    return patterns[0]


def parse_patterns(text: str, declarations: str = "") -> tuple[Pattern, ...]:
    """Parse one or more patterns separated by ``&``; the declarations hold for each. Raises as `parse_pattern`."""
    extras, exclusives = parse_declarations(declarations)

    def pattern(parsed: Parsed) -> Pattern:
        try:
            return Pattern(parsed.expression, **parsed.suffixes, extras=extras, exclusives=exclusives)
        except PatternError as error:
            raise PatternError(str(error), text=text, line=parsed.line, column=parsed.column) from error

    patterns = tuple(map(pattern, parse(text)))
    if any(p.window or p.window_type for p in patterns):
        _say_that_windows_have_no_effect()
    return patterns


@cache
def _say_that_windows_have_no_effect() -> None:
    _log.warning("{window} and {windowType} are accepted and have no effect: this class of model has no windows")
