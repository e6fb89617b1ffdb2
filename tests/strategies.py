"""Hypothesis strategies for patterns, and for the events that they speak about.

The small world that tests of the language live in: an event has a ``type`` A, B or C and a ``value`` 0, 1 or 2.
"""

from __future__ import annotations

from hypothesis import strategies as st

from spst.expressions import (
    TRUE,
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
)
from spst.pattern import Pattern

TYPES = ("A", "B", "C")
VALUES = (0.0, 1.0, 2.0)
EVENTS = [{"type": name, "value": value} for name in TYPES for value in VALUES]

IS_TYPE = [Predicate("IsEventTypePredicate", (name,)) for name in TYPES]
ON_VALUE = [
    Predicate("GT", ("value", 0.0)),
    Predicate("LTE", ("value", 0.0)),
    Predicate("BT", ("value", 1.0, 2.0)),
    Predicate("EQ", ("value", 2.0)),
]

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.from_regex(r"[A-Za-z_][\w.\-]{0,8}", fullmatch=True)
texts = words | st.text(max_size=8)


def predicates() -> st.SearchStrategy[Predicate]:
    """Predicates with arguments of every kind; no attribute is both a number and a text."""
    number_attribute, text_attribute = words.map("n".__add__), words.map("t".__add__)
    return st.one_of(
        st.just(TRUE),
        st.tuples(number_attribute, numbers).map(lambda args: Predicate("GT", args)),
        st.tuples(number_attribute, numbers, numbers).map(lambda args: Predicate("BT", args)),
        st.tuples(text_attribute, texts).map(lambda args: Predicate("EQStr", args)),
        st.tuples(numbers, numbers, numbers).map(lambda args: Predicate("WithinCirclePredicate", args)),
    )


def sentences(leaves: st.SearchStrategy[Predicate], max_leaves: int = 4) -> st.SearchStrategy[Sentence]:
    """Boolean combinations of predicates."""

    def longer(parts: st.SearchStrategy[Sentence]) -> st.SearchStrategy[Sentence]:
        several = st.lists(parts, min_size=2, max_size=3).map(tuple)
        return st.one_of(parts.map(Not), several.map(And), several.map(Or))

    return st.recursive(leaves, longer, max_leaves=max_leaves)


def expressions(steps: st.SearchStrategy[Sentence], max_leaves: int = 5) -> st.SearchStrategy[Expression]:
    """Expressions with every operator, nested freely."""

    def longer(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        several = st.lists(parts, min_size=2, max_size=3).map(tuple)
        return st.one_of(
            several.map(Sequence),
            several.map(Choice),
            parts.map(Star),
            parts.map(Complement),
            st.one_of(several.map(Sequence), parts.map(Star), parts).map(SkipAny),
            st.one_of(several.map(Sequence), parts.map(Star), parts).map(SkipNext),
        )

    return st.recursive(steps, longer, max_leaves=max_leaves)


def not_empty(expression: Expression) -> Expression:
    """Put a step before an expression that accepts the empty word."""
    return Sequence((IS_TYPE[0], expression)) if accepts_empty(expression) else expression


def patterns() -> st.SearchStrategy[Pattern]:
    """Patterns with every suffix and declaration, for whom the words do not matter."""
    steps = sentences(predicates())
    return st.builds(
        Pattern,
        expressions(steps).map(not_empty),
        order=st.none() | st.integers(0, 12),
        partition_by=st.none() | words | st.text(min_size=1, max_size=8),
        window=st.none() | st.integers(1, 10**6),
        window_type=st.sampled_from([None, "count", "time"]),
        policy=st.sampled_from([None, "overlap", "nonoverlap"]),
        extras=st.lists(steps, max_size=3).map(tuple),
        exclusives=st.lists(st.frozensets(predicates(), min_size=1, max_size=3), max_size=2).map(tuple),
    )


def small_sentences() -> st.SearchStrategy[Sentence]:
    """Sentences about the small world."""
    return sentences(st.sampled_from([*IS_TYPE, *ON_VALUE, TRUE]), max_leaves=3)


def small_expressions(max_leaves: int = 4) -> st.SearchStrategy[Expression]:
    """Expressions about types only, so that complements inside complements stay small."""
    choices: list[Sentence] = [*IS_TYPE, TRUE, Or((IS_TYPE[0], IS_TYPE[1])), Not(IS_TYPE[0])]
    return expressions(st.sampled_from(choices), max_leaves).map(not_empty)


def words_of_events(max_size: int = 7) -> st.SearchStrategy[list[int]]:
    """Words over `EVENTS`, as places in that list."""
    return st.lists(st.integers(0, len(EVENTS) - 1), max_size=max_size)
