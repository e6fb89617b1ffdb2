"""The language: what parses, what is refused and how, and printing that parses again."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given

from spst.errors import PatternError
from spst.expressions import TRUE, without_skips
from spst.pattern import (
    And,
    Choice,
    Complement,
    Expression,
    Not,
    Or,
    Pattern,
    Predicate,
    Sequence,
    SkipAny,
    SkipNext,
    Star,
    _say_that_windows_have_no_effect,
    parse_pattern,
    parse_patterns,
)
from tests.golden_cases import GOLDEN
from tests.strategies import patterns

P, Q, R = (Predicate("GT", ("x", number)) for number in (1.0, 2.0, 3.0))
p, q, r = map(str, (P, Q, R))


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        (p, P),
        (f";({p},{q},{r})", Sequence((P, Q, R))),
        (f"+({p},{q})", Choice((P, Q))),
        (f"+({p},*({q}))", None),
        (f";({p},*({q}))", Sequence((P, Star(Q)))),
        (f";({p},!({q}))", Sequence((P, Complement(Q)))),
        (f"#(;({p},{q}))", SkipAny(Sequence((P, Q)))),
        (f"@(;({p},{q}))", SkipNext(Sequence((P, Q)))),
        (f";(-{p},--{q})", Sequence((Not(P), Not(Not(Q))))),
        (f";(-({p}),^({p},|({q},-{r})))", Sequence((Not(P), And((P, Or((Q, Not(R)))))))),
        ("TruePredicate", TRUE),
        ("TruePredicate()", TRUE),
        ("GT(x,-4.4753)", Predicate("GT", ("x", -4.4753))),
        ("GT(x,+.5e-3)", Predicate("GT", ("x", 0.0005))),
        ("GT(x,7)", Predicate("GT", ("x", 7.0))),
        ("EQStr(Kind,SampledCritical)", Predicate("EQStr", ("Kind", "SampledCritical"))),
        ("EQStr(mmsi,0367466930)", Predicate("EQStr", ("mmsi", "0367466930"))),
        (
            r"EQStr('sort of ship','a \'tug\', // \\ & more')",
            Predicate("EQStr", ("sort of ship", r"a 'tug', // \ & more")),
        ),
    ],
)
def test_pattern_parses_to_nodes(text: str, expression: Expression | None) -> None:
    if expression is None:
        with pytest.raises(PatternError, match="empty word"):
            parse_pattern(text)
    else:
        assert parse_pattern(text).expression == expression


def test_pattern_ignores_white_space_comments_and_blank_lines() -> None:
    text = f"\n// arrivals\n ; (  {p} ,\t// first\r\n\n {q})\n{{ order : 3 }}  // and no more\n\n"
    declarations = f"\n// nothing yet\n+ ( {p} )\n\n ~({p},\n{q}) // both\n"
    assert parse_pattern(text, declarations) == Pattern(
        Sequence((P, Q)), order=3, extras=(P,), exclusives=(frozenset({P, Q}),)
    )


@pytest.mark.parametrize("separator", ["", ",", ",\n", "\n"])
def test_declarations_may_be_separated_by_commas_or_lines(separator: str) -> None:
    pattern = parse_pattern(p, f"+({p},{q}){separator}~({p},{q}){separator}+({r}){separator}~({q},{r}){separator}")
    assert pattern.extras == (P, Q, R)
    assert pattern.exclusives == (frozenset({P, Q}), frozenset({Q, R}))


def test_pattern_takes_suffixes_in_any_order() -> None:
    pattern = parse_pattern(f"{p}{{policy:nonoverlap}}{{windowType:time}}{{window:9}}{{partitionBy:mmsi}}{{order:0}}")
    assert pattern == Pattern(P, 0, "mmsi", 9, "time", "nonoverlap")


def test_windows_are_said_to_have_no_effect_once(caplog: pytest.LogCaptureFixture) -> None:
    _say_that_windows_have_no_effect.cache_clear()
    for _ in range(2):
        parse_pattern(f"{p}{{window:9}}")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "{window} and {windowType} are accepted and have no effect"
    ]


def test_parse_patterns_gives_all_and_parse_pattern_asks_for_one() -> None:
    text = f"{p}{{order:1}} & ;({p},{q}){{order:2}}\n&\n{r}"
    assert parse_patterns(text, f"+({q})") == (
        Pattern(P, 1, extras=(Q,)),
        Pattern(Sequence((P, Q)), 2, extras=(Q,)),
        Pattern(R, extras=(Q,)),
    )
    with pytest.raises(PatternError, match="3 patterns"):
        parse_pattern(text)


@given(patterns())
def test_printed_pattern_parses_to_the_same(pattern: Pattern) -> None:
    assert parse_pattern(str(pattern), pattern.declarations_text) == pattern


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "expected .* found the end"),
        ("\n// nothing here\n", 3, 1, "found the end"),
        (f";({p},\n\t{q}", 2, 2 + len(q), "expected '\\)' or ',' or '\\[', found the end"),
        ("gt(x,1)", 1, 1, "expected .* a predicate .its name has a capital.* found 'gt'"),
        (f"{p} ?", 1, len(p) + 2, "expected '&' or '\\[' or '{' or the end, found '\\?'"),
        (f";({p}\n {q})", 2, 2, "expected '\\)' or ',' or '\\[', found 'GT'"),
        (f";({p})", 1, 1, "; takes two operands or more, found 1"),
        (f"+({p})", 1, 1, r"\+ takes two operands or more, found 1"),
        (f";({p},^({q}))", 1, len(p) + 4, r"\^ takes two operands or more, found 1"),
        (f";({p},*({p},{q}))", 1, len(p) + 4, r"\* takes exactly one operand, found 2"),
        (f"!({p},{q})", 1, 1, "! takes exactly one operand, found 2"),
        (f"#({p},{q})", 1, 1, "# takes exactly one operand, found 2"),
        (f"@({p},{q})", 1, 1, "@ takes exactly one operand, found 2"),
        (f"-;({p},{q})", 1, 2, "expected '\\(' or '-' or a connective .* found ';'"),
        (f"^({p},;({p},{q}))", 1, len(p) + 4, "found ';'"),
        (f"*({p})", 1, 1, "accepts the empty word"),
        (f"  !(;({p},{q}))", 1, 3, "accepts the empty word"),
        (f"!(@(;(*({p}),*({q}))))", 1, 1, "accepts the empty word"),  # no gap is free of a part that may be empty
        ("GT(x)", 1, 1, r"GT takes attribute \(a number attribute\), number \(a number\); found 1 arguments"),
        ("GT(x,y)", 1, 1, "found y as number"),
        ("GT(4,5)", 1, 1, "found 4.0 as attribute"),
        ("GT(x,1e999)", 1, 1, "number must be finite"),
        (f";({p},GTT(x,1))", 1, len(p) + 4, "unknown predicate GTT; known: GT"),
        (f";({p},EQStr(x,a))", 1, 1, r"x cannot be both a number for GT\(x,1.0\) and a text for EQStr\(x,a\)"),
        (f'{p}["x"]', 1, len(p) + 2, 'register "x"'),
        ('EQStr(a,"x")', 1, 9, 'register "x"'),
        (f"{p}{{order:2}}{{ordre:3}}", 1, len(p) + 11, "expected one of the suffixes order, .* found ordre"),
        (f"{p}{{order:2}}{{order:2}}", 1, len(p) + 11, "{order} is given twice"),
        (f"{p}{{order:-1}}", 1, len(p) + 8, "{order} takes a whole number from 0 on, found -1"),
        (f"{p}{{window:0}}", 1, len(p) + 9, "{window} takes a whole number from 1 on, found 0"),
        (f"{p}{{windowType:days}}", 1, len(p) + 13, "{windowType} takes count or time, found days"),
        (f"{p}{{order}}", 1, len(p) + 7, "expected ':', found '}'"),
        ("-" * 70 + p, 1, 1, "nested more than 60 levels"),
    ],
)
def test_refused_pattern_says_where_and_why(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(PatternError, match=message) as refused:
        parse_pattern(text)
    assert (refused.value.line, refused.value.column) == (line, column)
    head, source, caret = str(refused.value).split("\n")[-3:]
    assert head.startswith(f"line {line}, column {column}: ")
    assert source == "  " + (text.split("\n")[line - 1] if text else "")
    assert caret.endswith("^")
    assert len(caret) == column + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"+({p}", "^declarations, line 1, column 12: expected '\\)' or ','"),
        (
            f"+({p}),\n~(-{p},{q})",
            r"^declarations, line 2, column 1: ~ takes predicates, found the sentence -GT\(x,1.0\)",
        ),
        (f"%({p})", "expected .*, found '%'"),
        (f"+({p}),,", "found ','"),
        ("+(Nosuch)", "unknown predicate Nosuch"),
    ],
)
def test_refused_declarations_say_where_and_why(text: str, message: str) -> None:
    with pytest.raises(PatternError, match=message):
        parse_pattern(p, text)


def test_refused_pattern_shows_the_place_in_a_long_line() -> None:
    text = f";({','.join([p] * 50)},%,{q})"
    with pytest.raises(PatternError) as refused:
        parse_pattern(text)
    head, source, caret = str(refused.value).split("\n")
    assert head.startswith(f"line 1, column {text.index('%') + 1}: ")
    assert len(source) <= 102
    assert source[caret.index("^")] == "%"


def test_syntax_error_lists_expected_and_found() -> None:
    with pytest.raises(PatternError) as refused:
        parse_pattern(f"{p}{{order")
    assert (refused.value.expected, refused.value.found) == (("':'",), "the end")


def test_very_deep_pattern_is_refused_and_does_not_break_the_parser() -> None:
    with pytest.raises(PatternError, match="nested more than 60 levels"):
        parse_pattern("*(" * 5000 + p + ")" * 5000)


def test_pattern_made_by_hand_is_checked_too() -> None:
    with pytest.raises(PatternError, match="empty word"):
        Pattern(Star(P))


def test_pattern_tells_columns_before_anything_is_read() -> None:
    pattern = parse_pattern(
        ";(IsEventTypePredicate(A),WithinCirclePredicate(1,2,3))", "+(EQStr(EventType,B),GT(Timestamp,5),LT(speed,3))"
    )
    assert pattern.columns == {
        "type": "text",
        "lon": "number",
        "lat": "number",
        "timestamp": "number",
        "speed": "number",
    }


def test_skips_are_rewritten_directly_inside_only() -> None:
    anything = Star(TRUE)

    def no(part: Expression) -> Expression:
        return Complement(Sequence((anything, part, anything)))

    inner = Sequence((Q, R))
    assert without_skips(SkipAny(Sequence((P, inner)))) == Sequence((P, anything, inner))
    assert without_skips(SkipNext(Sequence((P, inner)))) == Sequence((P, no(inner), inner))
    assert without_skips(SkipNext(Sequence((P, Q, R)))) == Sequence((P, no(Q), Q, no(R), R))
    assert without_skips(SkipAny(SkipAny(Sequence((P, Q))))) == Sequence((P, anything, Q))
    assert without_skips(SkipAny(Choice((P, inner)))) == Choice((P, inner))
    empty = Sequence(())
    assert without_skips(SkipAny(Star(P))) == Choice((empty, Sequence((P, Star(Sequence((anything, P)))))))


PARSED = "parsed"
DECIDED = {
    "!(;(*(TruePredicate),Is(A))){order:2}": "accepts the empty word",
    ";(Is(A),!(Is(B)),Is(C)){order:2}": PARSED,  # true complement, see test_automaton.py
    ";(Is(A),!(;(Is(B),Is(B))),Is(C)){order:2}": PARSED,
    ";(Is(A),Is(B)){order:0}": PARSED,  # the root alone
    ";(Is(A),Is(B))": PARSED,  # whoever trains gives the order
    "#(;(Is(A),Is(B))){order:1}": PARSED,
    "@(;(Is(A),Is(B))){order:1}": PARSED,
    ";(GT(value,50),LT(value,50)){order:1}": PARSED,
    ";(Is(A)){order:1}": "; takes two operands or more, found 1",
    "*(Is(A)){order:1}": "accepts the empty word",
    ";(Is(A),Is(B)){order:2}": PARSED,  # p_min and gamma 0: the tree's business
    ";(GT(nosuch,1.0),LT(nosuch,1.0)){order:1}": PARSED,  # events without it are refused, as in the next two
    ";(DistanceBetweenPredicate(0.0,0.0,1.0,2.0),Is(A)){order:1}": PARSED,
    ";(WithinCirclePredicate(0.0,0.0,1.0),Is(A)){order:1}": PARSED,
    ";(HeadingTowardsPredicate(BrestPort),Is(A)){order:1}": "HeadingTowardsPredicate takes .* found 1 arguments",
    ";(Is(A),Is(B)){order:1}": PARSED,  # gamma 0.4: the tree's business
    ";(GT(value,20.0),GT(value,40.0)){order:1}": PARSED,  # an event for which both are true is refused
    ";(Is(A),^(Is(A),Is(B))){order:1}": PARSED,  # never detected
    ";(Is(A),*(Is(B),Is(C)),Is(D)){order:1}": "takes exactly one operand, found 2",
    "; (Is(A), Is(B)) {order:1}": PARSED,
    "  ;( Is(A) ,\n Is( B ) ) {order:1}": PARSED,
}
ODD = json.loads((GOLDEN / "refused_or_odd_inputs.json").read_text())


@pytest.mark.parametrize("odd", ODD, ids=[odd["pattern"] for odd in ODD])
def test_odd_input_has_a_decided_answer(odd: dict[str, str]) -> None:
    decision = DECIDED[odd["pattern"].replace("IsEventTypePredicate", "Is")]
    if decision == PARSED:
        pattern = parse_pattern(odd["pattern"], odd["declarations"])
        assert str(pattern).replace(".0", "") == re.sub(r"\s|\.0", "", odd["pattern"])
    else:
        with pytest.raises(PatternError, match=decision):
            parse_pattern(odd["pattern"], odd["declarations"])
