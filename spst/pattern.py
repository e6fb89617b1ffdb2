"""From ``.sre`` text to patterns: the grammar's meaning, its refusals and their places.

    ;(a,b,..) sequence  +(a,b,..) choice  *(a) iteration  !(a) complement  #(a) skip till any  @(a) skip till next
    ^(p,q,..) and  |(p,q,..) or  -p not  Name(argument,..)
    {order:2} {partitionBy:mmsi} {window:1000} {windowType:count|time} {policy:overlap|nonoverlap}; patterns separated by &
    +(p,q,..) extra features and ~(p,q,..) exclusive predicates in the declarations;  // comments

Arguments are numbers, words, or texts in single quotes. Knows no alphabet, automaton or file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args
from lark.exceptions import VisitError
from lark.tree import Meta

import spst.builtin_predicates  # noqa: F401  # registers what every pattern can use
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
)
from spst.predicates import Kind, checked, needed_columns

__all__ = [
    "And",
    "Choice",
    "Complement",
    "Expression",
    "Not",
    "Or",
    "Pattern",
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

MAX_DEPTH = 60  # levels of nesting; far above any real pattern, far below Python's recursion limit
_TOO_DEEP = f"the pattern is nested more than {MAX_DEPTH} levels deep; write it flatter"
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
        The expression accepts the empty word or is nested too deeply, or an attribute is used both as a number and as a text.
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
        for part in (self.expression, *self.extras):
            _check_depth(part)
        if accepts_empty(self.expression):
            raise PatternError(
                "the pattern accepts the empty word, so it would be detected without any event; add a step that must occur"
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

    @property
    def declarations_text(self) -> str:
        """The extras and exclusive sets as text that parses to them again."""
        extras = [f"+({','.join(map(str, self.extras))})"] if self.extras else []
        return "\n".join(extras + [f"~({','.join(sorted(map(str, group)))})" for group in self.exclusives])

    def __str__(self) -> str:
        suffixes = [(key, getattr(self, name)) for key, (name, _) in _SUFFIXES.items()]
        return str(self.expression) + "".join(f"{{{key}:{_value(v)}}}" for key, v in suffixes if v is not None)


def _check_depth(expression: Expression) -> None:
    try:
        levels = depth(expression)
    except RecursionError:
        levels = MAX_DEPTH + 1
    if levels > MAX_DEPTH:
        raise PatternError(_TOO_DEEP)


def _value(value: int | str) -> str:
    return str(value) if isinstance(value, int) else str(Predicate("", (value,)))[1:-1]


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
        The text cannot be read or used, or holds several patterns; with line, column, what was expected and what stood there.
    """
    patterns = parse_patterns(text, declarations)
    if len(patterns) > 1:
        raise PatternError(f"{len(patterns)} patterns (separated by &) where one is wanted; keep one of them")
    return patterns[0]


def parse_patterns(text: str, declarations: str = "") -> tuple[Pattern, ...]:
    """Parse a text of one or more patterns separated by ``&``; the declarations hold for each. Raises as `parse_pattern`."""
    extras, exclusives = _parse(declarations, "declarations")
    patterns = tuple(replace(p, extras=extras, exclusives=exclusives) for p in _parse(text, "patterns"))
    if any(p.window is not None or p.window_type is not None for p in patterns):
        _say_window_has_no_effect()
    return patterns


@cache
def _say_window_has_no_effect() -> None:
    _log.warning("{window} and {windowType} are accepted and have no effect: this kind of model has no windows")


class _Refusal(Exception):  # noqa: N818  # never leaves this module
    """What the grammar allows and its meaning does not; becomes a `PatternError` where the text is known."""

    def __init__(self, place: Token | Meta, message: str) -> None:
        super().__init__(message)
        self.line, self.column = place.line, place.column


def _integer(text: str, low: int) -> int:
    if not text.isdecimal() or int(text) < low:
        raise ValueError(f"a whole number from {low} on")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return read


_SUFFIXES: dict[str, tuple[str, Callable[[str], int | str]]] = {
    "order": ("order", lambda text: _integer(text, 0)),
    "partitionBy": ("partition_by", str),
    "window": ("window", lambda text: _integer(text, 1)),
    "windowType": ("window_type", _one_of("count", "time")),
    "policy": ("policy", _one_of("overlap", "nonoverlap")),
}
_MANY: dict[str, type[Sequence | Choice]] = {";": Sequence, "+": Choice}
_ONE: dict[str, type[Star | Complement | SkipAny | SkipNext]] = {
    "*": Star,
    "!": Complement,
    "#": SkipAny,
    "@": SkipNext,
}


def _text(token: Token) -> str:
    if token.type != "TEXT":
        return str(token)
    return str(token)[1:-1].replace("\\'", "'").replace("\\\\", "\\")


class _Meaning(Transformer[Token, Any]):
    """Turns the grammar's rules into nodes, from the leaves up."""

    def patterns(self, items: list[Pattern]) -> list[Pattern]:
        return items

    @v_args(meta=True)
    def pattern(self, meta: Meta, items: list[Any]) -> Pattern:
        expression, *suffixes = items
        values: dict[str, Any] = {}
        for key, name, value in suffixes:
            if name in values:
                raise _Refusal(key, f"{{{key}}} is given twice")
            values[name] = value
        try:
            return Pattern(expression, **values)
        except PatternError as error:
            raise _Refusal(meta, str(error)) from error

    def suffix(self, items: list[Token]) -> tuple[Token, str, int | str]:
        key, value = items
        if key not in _SUFFIXES:
            raise _Refusal(key, f"expected one of the suffixes {', '.join(_SUFFIXES)}, found {key}")
        name, read = _SUFFIXES[key]
        try:
            return key, name, read(_text(value))
        except ValueError as error:
            raise _Refusal(value, f"{{{key}}} takes {error}, found {value}") from error

    def operation(self, items: list[Any]) -> Expression:
        operator, *parts = items
        if operator in _MANY:
            _need_two(operator, parts)
            return _MANY[operator](tuple(parts))
        if len(parts) != 1:
            raise _Refusal(operator, f"{operator} takes exactly one operand, found {len(parts)}; join them with ; or +")
        return _ONE[operator](parts[0])

    def connective(self, items: list[Any]) -> Sentence:
        operator, *parts = items
        _need_two(operator, parts)
        return And(tuple(parts)) if operator == "^" else Or(tuple(parts))

    def negation(self, items: list[Sentence]) -> Sentence:
        return Not(items[0])

    def predicate(self, items: list[Token]) -> Predicate:
        name, *arguments = items
        for argument in arguments:
            if argument.type == "REGISTER":
                raise _Refusal(
                    argument,
                    f"register {argument}: patterns with registers need register automata, which this library has not",
                )
        try:
            return checked(str(name), [_argument(token) for token in arguments])
        except PatternError as error:
            raise _Refusal(name, str(error)) from error

    def declarations(self, items: list[tuple[Token, list[Sentence]]]) -> tuple[tuple[Sentence, ...], tuple[Any, ...]]:
        extras = tuple(p for sign, sentences in items if sign == "+" for p in sentences)
        return extras, tuple(frozenset(sentences) for sign, sentences in items if sign == "~")

    def declaration(self, items: list[Any]) -> tuple[Token, list[Sentence]]:
        sign, *sentences = items
        for sentence in sentences:
            if sign == "~" and not isinstance(sentence, Predicate):
                raise _Refusal(sign, f"~ takes predicates, found the sentence {sentence}")
        return sign, sentences


def _need_two(operator: Token, parts: list[Any]) -> None:
    if len(parts) < 2:
        raise _Refusal(operator, f"{operator} takes two operands or more, found {len(parts)}")


def _argument(token: Token) -> float | str:
    return float(token) if token.type == "NUMBER" else _text(token)


_TERMINALS = {
    "OPERATOR": "an operator (; + * ! # @)",
    "CONNECTIVE": "a connective (^ |)",
    "DECLARATION": "+ or ~",
    "NAME": "a predicate (its name has a capital)",
    "WORD": "a word",
    "NUMBER": "a number",
    "TEXT": "a text in single quotes",
    "REGISTER": 'a register ("x")',
    "$END": "the end",
}


@cache
def _grammar() -> Lark:
    return Lark.open(
        "sre.lark",
        rel_to=__file__,
        parser="lalr",
        start=["patterns", "declarations"],
        propagate_positions=True,
    )


def _parse(text: str, start: str) -> Any:
    try:
        return _Meaning(visit_tokens=False).transform(_grammar().parse(text, start=start))
    except UnexpectedInput as error:
        raise _unexpected(text, error) from error
    except RecursionError as error:
        raise PatternError(_TOO_DEEP) from error
    except VisitError as error:
        refusal = error.orig_exc
        if not isinstance(refusal, _Refusal):
            raise
        raise PatternError(str(refusal), text=text, line=refusal.line, column=refusal.column) from refusal


def _unexpected(text: str, error: UnexpectedInput) -> PatternError:
    terminals: Iterable[str] = ()
    found, line, column = "the end", error.line, error.column
    if isinstance(error, UnexpectedToken):
        terminals = error.accepts or error.expected
        found = repr(str(error.token)) if error.token.type != "$END" else found
    elif isinstance(error, UnexpectedCharacters):
        terminals, found = error.allowed or (), repr(text[error.pos_in_stream])
    if found == "the end":  # the parser knows only where the last token began
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    names = {t.name: t.pattern.value for t in _grammar().terminals}
    expected = tuple(sorted(_TERMINALS.get(t) or names[t].replace("\\", "") for t in terminals))
    return PatternError(
        f"expected {' or '.join(expected)}, found {found}",
        text=text,
        line=line,
        column=column,
        expected=expected,
        found=found,
    )
