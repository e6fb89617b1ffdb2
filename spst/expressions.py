"""What a pattern is made of: predicates, Boolean sentences over them, and regular expressions over sentences.

Owns the nodes, their text and their rewriting. Knows no grammar, no column and no automaton. Notation and semantics
follow Alevizos, Artikis, Paliouras 2022 (symbolic regular expressions); every node is immutable, hashable and prints
the text that parses to it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

_BARE_TEXT = re.compile(r"[A-Za-z_][\w.\-]*")


def text_of(value: float | str) -> str:
    """Text of a constant as the grammar reads it: bare if it is a number or a word, else in single quotes."""
    if isinstance(value, str) and not _BARE_TEXT.fullmatch(value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


def _prefix(operator: str, parts: tuple[Expression, ...]) -> str:
    return f"{operator}({','.join(map(str, parts))})"


@dataclass(frozen=True)
class Predicate:
    """A condition on one event, ``Name(argument,..)``; what it means is the registry's business."""

    name: str
    args: tuple[float | str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({','.join(map(text_of, self.args))})" if self.args else self.name


@dataclass(frozen=True)
class Not:
    """``-p``: the sentence does not hold."""

    operand: Sentence

    def __str__(self) -> str:
        return f"-{self.operand}"


@dataclass(frozen=True)
class And:
    """``^(p,q,..)``: all hold."""

    operands: tuple[Sentence, ...]

    def __str__(self) -> str:
        return _prefix("^", self.operands)


@dataclass(frozen=True)
class Or:
    """``|(p,q,..)``: at least one holds."""

    operands: tuple[Sentence, ...]

    def __str__(self) -> str:
        return _prefix("|", self.operands)


@dataclass(frozen=True)
class Sequence:
    """``;(a,b,..)``: one after the other, without a gap."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return _prefix(";", self.parts)


@dataclass(frozen=True)
class Choice:
    """``+(a,b,..)``: one of them."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return _prefix("+", self.parts)


@dataclass(frozen=True)
class Star:
    """``*(a)``: any number of times, none included."""

    part: Expression

    def __str__(self) -> str:
        return _prefix("*", (self.part,))


@dataclass(frozen=True)
class Complement:
    """``!(a)``: every word that does not match, the empty one included if ``a`` does not accept it."""

    part: Expression

    def __str__(self) -> str:
        return _prefix("!", (self.part,))


@dataclass(frozen=True)
class SkipAny:
    """``#(a)``, skip till any match: anything may lie between the parts of the operator directly inside."""

    part: Expression

    def __str__(self) -> str:
        return _prefix("#", (self.part,))


@dataclass(frozen=True)
class SkipNext:
    """``@(a)``, skip till next match: what lies between two parts must not contain the next part."""

    part: Expression

    def __str__(self) -> str:
        return _prefix("@", (self.part,))


Sentence: TypeAlias = Predicate | Not | And | Or
Expression: TypeAlias = Sentence | Sequence | Choice | Star | Complement | SkipAny | SkipNext

TRUE = Predicate("TruePredicate")
"""Holds for every event; as a step of its own it is no sentence of the alphabet."""

EMPTY = Sequence(())
"""The empty word; it comes from rewriting only, no text says it."""


def children(expression: Expression) -> tuple[Expression, ...]:
    """Return the parts or operands directly inside, from left to right."""
    match expression:
        case Not(operand):
            return (operand,)
        case And(operands) | Or(operands):
            return operands
        case Sequence(parts) | Choice(parts):
            return parts
        case Star(part) | Complement(part) | SkipAny(part) | SkipNext(part):
            return (part,)
        case _:
            return ()


def depth(expression: Expression) -> int:
    """Count the levels of nesting, 1 for a predicate."""
    return 1 + max(map(depth, children(expression)), default=0)


def atoms(expression: Expression) -> Iterator[Predicate]:
    """Yield the predicates from left to right, repeated ones repeatedly."""
    if isinstance(expression, Predicate):
        yield expression
    for part in children(expression):
        yield from atoms(part)


def accepts_empty(expression: Expression) -> bool:
    """Tell whether the empty word matches."""
    match expression:
        case Sequence(parts):
            return all(map(accepts_empty, parts))
        case Choice(parts):
            return any(map(accepts_empty, parts))
        case Star():
            return True
        case Complement(part):
            return not accepts_empty(part)
        case SkipAny() | SkipNext():
            return accepts_empty(without_skips(expression))
        case _:
            return False


def without_skips(expression: Expression) -> Expression:
    """Rewrite ``#`` and ``@`` in terms of the other operators.

    Between neighbours of the sequence or iteration directly inside, ``#`` puts ``*(TruePredicate)`` and ``@`` puts
    the complement of everything that contains the next part. Any other operator inside is left as it is.
    """
    match expression:
        case Sequence(parts):
            return Sequence(tuple(map(without_skips, parts)))
        case Choice(parts):
            return Choice(tuple(map(without_skips, parts)))
        case Star(part):
            return Star(without_skips(part))
        case Complement(part):
            return Complement(without_skips(part))
        case SkipAny(Sequence(parts)) | SkipNext(Sequence(parts)):
            first, *rest = map(without_skips, parts)
            return Sequence((first, *(p for part in rest for p in (_gap(expression, part), part))))
        case SkipAny(Star(part)) | SkipNext(Star(part)):
            part = without_skips(part)
            return Choice((EMPTY, Sequence((part, Star(Sequence((_gap(expression, part), part)))))))
        case SkipAny(part) | SkipNext(part):
            return without_skips(part)
        case _:
            return expression


def _gap(skip: SkipAny | SkipNext, following: Expression) -> Expression:
    anything = Star(TRUE)
    return anything if isinstance(skip, SkipAny) else Complement(Sequence((anything, following, anything)))
