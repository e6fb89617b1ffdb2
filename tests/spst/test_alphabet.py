"""Alphabets against their definition, the reference cases, and what events can be."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spst.alphabet import Alphabet, Mode, alphabet_of, build_alphabet
from spst.errors import AlphabetError, EventsError
from spst.expressions import TRUE, And, Not, Or, Predicate, Sentence
from spst.pattern import parse_pattern
from spst.table import Text
from tests import naive_language
from tests.golden_cases import GOLDEN, NAMES
from tests.strategies import EVENTS, IS_TYPE, ON_VALUE, sentences, small_sentences

MODES: list[Mode] = ["declared", "satisfiable"]
small_alphabets = st.lists(small_sentences(), max_size=4)
exclusive_sets = st.lists(st.frozensets(st.sampled_from([*IS_TYPE, *ON_VALUE]), min_size=1, max_size=3), max_size=2)


def rows(alphabet: Alphabet) -> set[tuple[bool, ...]]:
    return set(map(tuple, alphabet.truth.tolist()))


def columns(events: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.array([event[name] for event in events]) for name in ("type", "value")}


@given(small_alphabets, exclusive_sets)
def test_declared_alphabet_is_what_the_rule_leaves(
    steps: list[Sentence], exclusives: list[frozenset[Predicate]]
) -> None:
    alphabet = alphabet_of(steps, tuple(exclusives))
    assert rows(alphabet) == naive_language.declared(alphabet.sentences, exclusives)
    assert alphabet.truth.tolist() == sorted(alphabet.truth.tolist())


@given(small_alphabets, exclusive_sets)
def test_possible_symbols_contradict_nothing(steps: list[Sentence], exclusives: list[frozenset[Predicate]]) -> None:
    alphabet = alphabet_of(steps, tuple(exclusives))
    consistent = naive_language.consistent(alphabet.sentences, exclusives)
    assert {
        tuple(row) for row, fine in zip(alphabet.truth.tolist(), alphabet.possible, strict=True) if fine
    } == consistent


def test_true_predicate_inside_a_sentence_is_true() -> None:
    alphabet = alphabet_of([Or((TRUE, IS_TYPE[0])), And((Not(TRUE), IS_TYPE[0]))])
    assert rows(alphabet) == {(a, b) for a in (False, True) for b in (False, True)}
    assert [alphabet.minterm(s) for s in np.flatnonzero(alphabet.possible).tolist()] == [
        "^(-^(-TruePredicate,IsEventTypePredicate(A)),|(TruePredicate,IsEventTypePredicate(A)))"
    ]


@given(small_alphabets)
def test_satisfiable_alphabet_is_what_events_can_be(steps: list[Sentence]) -> None:
    alphabet = alphabet_of(steps, mode="satisfiable")
    events = [{"type": t, "value": v} for t in "ABCD" for v in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5)]
    assert rows(alphabet) == {tuple(naive_language.holds(s, event) for s in alphabet.sentences) for event in events}
    assert alphabet.possible.all()


@given(small_alphabets, exclusive_sets)
def test_satisfiable_alphabet_is_part_of_the_declared_one(
    steps: list[Sentence], exclusives: list[frozenset[Predicate]]
) -> None:
    declared = alphabet_of(steps, tuple(exclusives))
    satisfiable = alphabet_of(steps, tuple(exclusives), "satisfiable")
    assert rows(satisfiable) <= {
        tuple(r) for r, fine in zip(declared.truth.tolist(), declared.possible, strict=True) if fine
    }


@given(small_alphabets, st.sampled_from(MODES))
def test_encoded_event_has_the_truth_of_its_symbol(steps: list[Sentence], mode: Mode) -> None:
    alphabet = alphabet_of(steps, mode=mode)
    symbols = alphabet.encode(columns(EVENTS))
    assert symbols.dtype == alphabet.dtype
    expected = [[naive_language.holds(s, event) for s in alphabet.sentences] for event in EVENTS]
    assert alphabet.truth[symbols].tolist() == expected
    assert [alphabet.encode_one(event) for event in EVENTS] == symbols.tolist()


def test_encode_of_many_sentences_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spst.encoder._BLOCK", 7)
    steps = [Predicate("BT", ("value", float(i), float(i + 1))) for i in range(40)]
    alphabet = alphabet_of([*steps, *IS_TYPE], (frozenset(steps), frozenset(IS_TYPE)))
    assert len(alphabet) == 41 * 4
    values = np.random.default_rng(0).uniform(-1, 41, 100)
    events = [{"type": "ABCD"[i % 4], "value": v} for i, v in enumerate(values.tolist())]
    expected = [[naive_language.holds(s, event) for s in alphabet.sentences] for event in events]
    assert alphabet.truth[alphabet.encode(columns(events))].tolist() == expected


def test_encode_takes_text_as_codes_and_numbers_of_any_type() -> None:
    alphabet = alphabet_of([IS_TYPE[0], ON_VALUE[0]])
    coded = {"type": Text(np.array([0, 1, 0], np.int32), ["A", "B"]), "value": np.array([0, 1, 2], np.int16)}
    plain = {"type": np.array(["A", "B", "A"]), "value": np.array([0.0, 1.0, 2.0])}
    assert alphabet.encode(coded).tolist() == alphabet.encode(plain).tolist()


def test_alphabet_without_sentences_has_one_symbol() -> None:
    alphabet = build_alphabet(parse_pattern(";(TruePredicate,TruePredicate)"))
    assert (len(alphabet), alphabet.sentences, alphabet.columns) == (1, (), {"type": "text"})
    assert alphabet.encode({"type": np.array(["A", "B"])}).tolist() == [0, 0]
    assert alphabet.minterm(0) == "TruePredicate"


def test_encode_of_no_events_is_empty() -> None:
    assert alphabet_of(IS_TYPE).encode({"type": np.zeros(0, "U1")}).tolist() == []


def test_symbol_type_is_as_small_as_it_can_be() -> None:
    steps = [Predicate("EQ", ("value", float(i))) for i in range(256)]
    assert alphabet_of(steps[:255], (frozenset(steps),)).dtype == np.uint8
    assert alphabet_of(steps, (frozenset(steps),)).dtype == np.uint16


def test_event_for_which_two_exclusive_predicates_hold_is_refused_by_name() -> None:
    pattern = parse_pattern(";(GT(value,20.0),GT(value,40.0))", "~(GT(value,20.0),GT(value,40.0))")
    alphabet = build_alphabet(pattern)
    message = r"GT\(value,20.0\) and GT\(value,40.0\) are declared exclusive, and both are true"
    with pytest.raises(AlphabetError, match=r"^event 102 \(the first is 0\): " + message):
        alphabet.encode({"value": np.array([1.0, 30.0, 50.0, 60.0])}, first_event=100)
    with pytest.raises(AlphabetError, match="^the event: " + message):
        alphabet.encode_one({"value": 50.0})


def test_event_that_was_ruled_out_otherwise_is_refused() -> None:
    alphabet = Alphabet((ON_VALUE[0],), np.array([[False]]))
    with pytest.raises(AlphabetError, match=r"fits no symbol; ruled out is an event with GT\(value,0.0\) true"):
        alphabet.encode({"value": np.array([1.0])})


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (";(GT(nosuch,1.0),LT(nosuch,1.0))", "nosuch"),
        (";(DistanceBetweenPredicate(0.0,0.0,1.0,2.0),IsEventTypePredicate(A))", "lon"),
        (";(WithinCirclePredicate(0.0,0.0,1.0),IsEventTypePredicate(A))", "lon"),
    ],
)
def test_absent_column_is_refused(text: str, column: str) -> None:
    with pytest.raises(EventsError, match=f"the pattern needs the column {column}"):
        build_alphabet(parse_pattern(text)).encode(columns(EVENTS))


def test_minterm_is_a_sentence_of_all_sentences() -> None:
    alphabet = alphabet_of(IS_TYPE[:2])
    a, b = IS_TYPE[:2]
    assert [alphabet.minterm_sentence(i) for i in range(4)] == [
        And((Not(a), Not(b))),
        And((Not(a), b)),
        And((a, Not(b))),
        And((a, b)),
    ]
    assert alphabet.minterm(1) == "^(-IsEventTypePredicate(A),IsEventTypePredicate(B))"


def test_sentences_are_steps_and_extras_once_without_truepredicate() -> None:
    pattern = parse_pattern(
        ";(TruePredicate,GT(x,1),|(GT(x,1),GT(x,2)),GT(x,1))", "+(GT(x,1),LT(x,0),TruePredicate)\n~(GT(x,5),GT(x,6))"
    )
    assert list(map(str, build_alphabet(pattern).sentences)) == ["GT(x,1.0)", "LT(x,0.0)", "|(GT(x,1.0),GT(x,2.0))"]


def test_complement_brings_the_minterms_of_its_own_steps() -> None:
    pattern = parse_pattern(";(GT(x,1),!(;(*(TruePredicate),GT(x,2),GT(x,3))))", "~(GT(x,2),GT(x,3))")
    assert list(map(str, build_alphabet(pattern).sentences)) == [
        "GT(x,1.0)",
        "^(-GT(x,2.0),-GT(x,3.0))",
        "^(-GT(x,2.0),GT(x,3.0))",
        "^(GT(x,2.0),-GT(x,3.0))",
        "^(GT(x,2.0),GT(x,3.0))",
    ]


@pytest.mark.parametrize(
    ("declarations", "n_symbols"),
    [("", 8), ("~(GT(x,1),GT(y,2))", 6), ("~(GT(x,1),GT(y,2),GT(z,3))", 4), ("~(GT(x,1),GT(x,9))", 8)],
)
def test_exclusives_remove_symbols_and_add_none(declarations: str, n_symbols: int) -> None:
    assert len(build_alphabet(parse_pattern(";(GT(x,1),GT(y,2),GT(z,3))", declarations))) == n_symbols


def circle(lon: float, km: float) -> str:
    return f"WithinCirclePredicate({lon},0,{km})"


@pytest.mark.parametrize(
    ("steps", "n_symbols"),
    [
        (["GT(x,1)", "LTE(x,1)"], 2),
        (["GT(x,1)", "GT(x,2)", "GT(x,3)"], 4),
        (["GTE(x,1)", "GT(x,1)", "EQ(x,1)"], 3),
        (["GT(x,1)", "GT(y,1)"], 4),
        (["BT(x,1,2)", "BT(x,2,3)", "LT(x,1)"], 4),
        (["EQ(x,1)", "EQ(x,1.0000000000000002)"], 3),  # neighbours among the numbers
        (["EQStr(a,p)", "EQStr(a,q)"], 3),
        (["EQStr(EventType,p)", "IsEventTypePredicate(p)"], 2),
        (["EQStr(type,type)", "EQStr(type,q)"], 3),  # a text that is called as its column
        (["EQAttr(x,y)", "GTAttr(x,y)", "LTAttr(x,y)"], 3),
        (["GTAttr(x,y)", "LTAttr(y,x)"], 2),
        (["EQAttr(x,x)"], 1),
        (["EQAttrStr(a,b)", "EQAttrStr(b,a)"], 4),  # nothing is known about these
        (["-TruePredicate", "GT(x,1)"], 2),
        ([circle(0, 1), circle(0, 2), "DistanceBetweenPredicate(0,0,1,2)"], 4),
        ([circle(0, 1), "OutsideCirclePredicate(0,0,1)"], 2),
        ([circle(0, -1), circle(0, 30000)], 1),
        ([circle(0, 1), circle(1, 1)], 3),  # 111 km apart
        ([circle(0, 60), circle(1, 60)], 4),
        ([circle(0, 300), circle(1, 1)], 3),  # one inside the other
        ([circle(0, 15000), circle(180, 15000)], 3),  # nowhere outside both
        ([circle(lon, 5) for lon in range(30)], 31),
    ],
)
def test_satisfiable_alphabet_reasons_over_numbers_texts_and_distances(steps: list[str], n_symbols: int) -> None:
    pattern = parse_pattern("TruePredicate", f"+({','.join(steps)})")
    assert len(build_alphabet(pattern, "satisfiable")) == n_symbols


def test_satisfiable_alphabet_obeys_declarations_under_negations_too() -> None:
    pattern = parse_pattern(";(-EQStr(a,p),EQAttrStr(a,b))", "~(EQStr(a,p),EQAttrStr(a,b))")
    assert (len(build_alphabet(pattern)), len(build_alphabet(pattern, "satisfiable"))) == (4, 3)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(0, 400)), min_size=1, max_size=3), st.data())
def test_satisfiable_alphabet_has_a_symbol_for_every_place(
    circles: list[tuple[float, ...]], data: st.DataObject
) -> None:
    alphabet = alphabet_of([Predicate("WithinCirclePredicate", c) for c in circles], mode="satisfiable")
    places = st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20)
    lon, lat = np.array(data.draw(places)).T
    assert len(alphabet.encode({"lon": lon, "lat": lat})) == len(lon)


def test_exploding_alphabet_names_the_sentences_and_the_remedy() -> None:
    pattern = parse_pattern("GT(x0,1)", "+(" + ",".join(f"GT(x{i},1)" for i in range(1, 60)) + ")")
    message = r"1024 symbols over the 60 .* GT\(x59,1.0\),.*; declare which .*~\(p,q"
    for mode in MODES:
        with pytest.raises(AlphabetError, match=message):
            build_alphabet(pattern, mode)
    with pytest.raises(AlphabetError, match="more than 3 symbols"):
        build_alphabet(parse_pattern(";(GT(x,1),GT(y,1))"), max_symbols=3)
    with pytest.raises(AlphabetError, match="more than 1024 symbols over the 11 sentences"):
        build_alphabet(parse_pattern(";(GT(x,0),!(;(" + ",".join(f"GT(y{i},1)" for i in range(11)) + ")))"))


def test_entangled_sentence_is_refused() -> None:
    either = [f"|(GT(x{i},1),GT(y{i},1),GT(z{i},1))" for i in range(20)]
    declarations = "".join(f"~(GT({axis}{i},1),GT({axis}{i},2))" for axis in "xyz" for i in range(20))
    with pytest.raises(AlphabetError, match="more than 4096 ways"):
        build_alphabet(parse_pattern(f"^({','.join(either)})", declarations))


def test_distances_to_many_overlapping_circles_are_limited() -> None:
    steps = [circle(i, 5000) for i in range(14)]
    with pytest.raises(AlphabetError, match="distances to 14 centres have more than 32 combinations"):
        build_alphabet(parse_pattern("TruePredicate", f"+({','.join(steps)})"), "satisfiable", max_symbols=4)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(AlphabetError, match='"declared" or "satisfiable", not \'all\''):
        build_alphabet(parse_pattern("GT(x,1)"), "all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "truth", "message"),
    [
        (IS_TYPE[:1], [[True, False]], "truth table of shape"),
        (IS_TYPE[:1], [True], "truth table of shape"),
        (IS_TYPE[:1], np.zeros((0, 1)), "at least one symbol"),
        (IS_TYPE[1::-1], [[True, False]], "sorted by their text"),
        (IS_TYPE[:1] * 2, [[True, False]], "must be different"),
        (IS_TYPE[:1], [[True], [True]], "two symbols of the alphabet are equal"),
    ],
)
def test_alphabet_that_is_none_is_refused(steps: list[Predicate], truth: Any, message: str) -> None:
    with pytest.raises(AlphabetError, match=message):
        Alphabet(tuple(steps), np.array(truth, bool))


def test_alphabet_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        alphabet_of(IS_TYPE).truth[0, 0] = True


@settings(max_examples=30)
@given(sentences(st.sampled_from([*IS_TYPE, *ON_VALUE]), max_leaves=12), exclusive_sets)
def test_one_large_sentence_is_decided(sentence: Sentence, exclusives: list[frozenset[Predicate]]) -> None:
    alphabet = alphabet_of([sentence], tuple(exclusives))
    consistent = naive_language.consistent([sentence], exclusives)
    assert rows(alphabet) >= consistent
    assert int(alphabet.possible.sum()) == len(consistent)


@pytest.mark.parametrize("name", NAMES)
def test_golden_alphabet_is_reproduced(name: str) -> None:
    case = json.loads((GOLDEN / "cases" / f"{name}.json").read_text())
    alphabet = build_alphabet(parse_pattern(case["meta"]["pattern"], case["meta"]["declarations"] or ""))
    assert len(alphabet) == len(case["alphabet"])
    assert [symbol["truth"] for symbol in case["alphabet"]].count(None) == int((~alphabet.possible).sum())
    assert set(case["sentences"]) <= set(map(str, alphabet.sentences))
    columns = [list(map(str, alphabet.sentences)).index(sentence) for sentence in case["sentences"]]
    truths = ["".join("01"[true] for true in row) for row in alphabet.truth[alphabet.possible][:, columns].tolist()]
    assert sorted(truths) == sorted(symbol["truth"] for symbol in case["alphabet"] if symbol["truth"])
