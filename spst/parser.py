"""From ``.sre`` text to nodes: the grammar's meaning, its refusals and their places.

    ;(a,b,..) sequence  +(a,b,..) choice  *(a) iteration  !(a) complement  #(a) skip till any  @(a) skip till next
    ^(p,q,..) and  |(p,q,..) or  -p not  Name(argument,..) predicate
    {order:2} {partitionBy:mmsi} {window:1000} {windowType:count|time} {policy:overlap|nonoverlap}
    +(p,q,..) extra features and ~(p,q,..) exclusive predicates in the declarations

Patterns are separated by ``&``; what follows ``//`` on a line is a comment. Arguments are numbers, words, or texts in
single quotes. Knows no alphabet, automaton or file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken, v_args
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
)
from spst.predicates import checked, definition

MAX_DEPTH = 60  # levels of nesting; far above any real pattern, far below Python's recursion limit
TOO_DEEP = f"the pattern is nested more than {MAX_DEPTH} levels deep; write it flatter"

Declarations = tuple[tuple[Sentence, ...], tuple[frozenset[Predicate], ...]]


@dataclass(frozen=True)
class Parsed:
    """One pattern as the text says it: its suffixes by the name of their field, and where it begins, from 1."""

    expression: Expression
    suffixes: dict[str, Any]
    line: int
    column: int


def parse(text: str) -> list[Parsed]:
    """Parse a text of one or more patterns.

    Raises
    ------
    PatternError
        The text does not follow the grammar or its rules; with line, column, what was expected and what stood there.
    """
    patterns: list[Parsed] = _parse(text, "patterns", "")
    return patterns


def parse_declarations(text: str) -> Declarations:
    """Parse extras and exclusive sets; raises as `parse`."""
    declarations: Declarations = _parse(text, "declarations", "declarations, ")
    return declarations


class _Refusal(Exception):  # noqa: N818  # never leaves this module
    """What the grammar allows and its meaning does not; becomes a `PatternError` where the text is known."""

    def __init__(self, place: Token, message: str) -> None:
        super().__init__(message)
        self.line, self.column = place.line, place.column


def _integer(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise ValueError(f"a whole number from {low} on")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return read


SUFFIXES: dict[str, tuple[str, Callable[[str], int | str]]] = {
    "order": ("order", _integer(0)),
    "partitionBy": ("partition_by", str),
    "window": ("window", _integer(1)),
    "windowType": ("window_type", _one_of("count", "time")),
    "policy": ("policy", _one_of("overlap", "nonoverlap")),
}
"""Suffix in the text to the pattern's field and the reader of its value."""
_MANY: dict[str, type[Sequence | Choice | And | Or]] = {";": Sequence, "+": Choice, "^": And, "|": Or}
_ONE: dict[str, type[Star | Complement | SkipAny | SkipNext]] = {
    "*": Star,
    "!": Complement,
    "#": SkipAny,
    "@": SkipNext,
}


def _text(token: Token) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL) if token.type == "TEXT" else str(token)


def _value(token: Token, as_text: bool | None) -> float | str:
    """Read an argument; a number where a text belongs, such as an identifier, stays as it is written."""
    return float(token) if token.type == "NUMBER" and not as_text else _text(token)


class _Meaning(Transformer[Token, Any]):
    """Turns the grammar's rules into nodes, from the leaves up."""

    def patterns(self, items: list[Parsed]) -> list[Parsed]:
        return items

    @v_args(meta=True)
    def pattern(self, meta: Meta, items: list[Any]) -> Parsed:
        expression, *suffixes = items
        values: dict[str, Any] = {}
        for key, name, value in suffixes:
            if name in values:
                raise _Refusal(key, f"{{{key}}} is given twice")
            values[name] = value
        return Parsed(expression, values, meta.line, meta.column)

    def suffix(self, items: list[Token]) -> tuple[Token, str, int | str]:
        key, value = items
        if key not in SUFFIXES:
            raise _Refusal(key, f"expected one of the suffixes {', '.join(SUFFIXES)}, found {key}")
        name, read = SUFFIXES[key]
        try:
            return key, name, read(_text(value))
        except ValueError as error:
            raise _Refusal(value, f"{{{key}}} takes {error}, found {value}") from error

    def operation(self, items: list[Any]) -> Expression:
        operator, *parts = items
        if operator in _MANY:
            if len(parts) < 2:
                raise _Refusal(operator, f"{operator} takes two operands or more, found {len(parts)}")
            return _MANY[operator](tuple(parts))
        if len(parts) != 1:
            raise _Refusal(operator, f"{operator} takes exactly one operand, found {len(parts)}; join them with ; or +")
        return _ONE[operator](parts[0])

    connective = operation

    def negation(self, items: list[Sentence]) -> Sentence:
        return Not(items[0])

    def predicate(self, items: list[Token]) -> Predicate:
        name, *arguments = items
        for register in (argument for argument in arguments if argument.type == "REGISTER"):
            raise _Refusal(register, f"register {register}: patterns with registers need another class of automata")
        try:
            as_text = [kind is str for _, kind in definition(name).parameters]
            return checked(str(name), [_value(a, t) for a, t in zip_longest(arguments, as_text) if a is not None])
        except PatternError as error:
            raise _Refusal(name, str(error)) from error

    def declarations(self, items: list[tuple[Token, list[Any]]]) -> Declarations:
        extras = tuple(p for sign, sentences in items if sign == "+" for p in sentences)
        return extras, tuple(frozenset(sentences) for sign, sentences in items if sign == "~")

    def declaration(self, items: list[Any]) -> tuple[Token, list[Any]]:
        sign, *sentences = items
        for sentence in sentences:
            if sign == "~" and not isinstance(sentence, Predicate):
                raise _Refusal(sign, f"~ takes predicates, found the sentence {sentence}")
        return sign, sentences


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
    starts = ["patterns", "declarations"]
    return Lark.open("sre.lark", rel_to=__file__, parser="lalr", start=starts, propagate_positions=True)


def _parse(text: str, start: str, where: str) -> Any:
    try:
        return _Meaning(visit_tokens=False).transform(_grammar().parse(text, start=start))
    except UnexpectedInput as error:
        raise _unexpected(error, text, start, where) from error
    except RecursionError as error:
        raise PatternError(TOO_DEEP) from error
    except VisitError as error:
        refusal = error.orig_exc
        if not isinstance(refusal, _Refusal):
            raise
        raise PatternError(str(refusal), where=where, text=text, line=refusal.line, column=refusal.column) from refusal


def _unexpected(error: UnexpectedInput, text: str, start: str, where: str) -> PatternError:
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    place = len(text) if at_end else error.pos_in_stream or 0
    before = _grammar().parse_interactive(text[:place], start=start)
    before.exhaust_lexer()
    literals = {terminal.name: f"'{terminal.pattern.value}'" for terminal in _grammar().terminals}
    terminals: set[str] = before.accepts()  # type: ignore[no-untyped-call]  # lark left this one out
    expected = tuple(sorted(_TERMINALS.get(name, literals.get(name, name)) for name in terminals))
    found = "the end" if at_end else repr(str(error.token) if isinstance(error, UnexpectedToken) else text[place])
    return PatternError(
        f"expected {' or '.join(expected)}, found {found}",
        where=where,
        text=text,
        line=text.count("\n", 0, place) + 1,
        column=place - text.rfind("\n", 0, place),
        expected=expected,
        found=found,
    )
