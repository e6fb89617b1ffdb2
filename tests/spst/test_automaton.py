"""Automata against a brute-force matcher, automata-lib and the reference cases."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from automata.fa.dfa import DFA
from automata.fa.nfa import NFA
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import spst
from spst.alphabet import Alphabet, build_alphabet
from spst.automaton import Automaton, build_automaton
from spst.errors import AlphabetError, AutomatonError
from spst.expressions import Choice, Complement, Expression, Sequence, Star, without_skips
from spst.pattern import Pattern, Policy, parse_pattern
from spst.training import TrainingSet
from tests import golden_cases, naive_language
from tests.golden_cases import GOLDEN, NAMES
from tests.strategies import EVENTS, small_expressions, words_of_events

POLICIES: list[Policy] = ["overlap", "nonoverlap"]
TYPES = "~(IsEventTypePredicate(A),IsEventTypePredicate(B),IsEventTypePredicate(C))"
LETTERS = [{"type": name} for name in "ABCD"]  # D is any other type


def built(expression: Expression, policy: Policy = "overlap", minimise: bool = False) -> tuple[Alphabet, Automaton]:
    """Automaton over what events can be; expressions whose complements need too many minterms are not for tests."""
    pattern = Pattern(expression)
    try:
        alphabet = build_alphabet(pattern, "satisfiable", max_symbols=64)
        return alphabet, build_automaton(pattern, alphabet, policy, minimise=minimise, max_states=500)
    except (AlphabetError, AutomatonError):
        assume(False)
        raise


def detections(alphabet: Alphabet, automaton: Automaton, word: list[dict[str, Any]]) -> list[bool]:
    symbols = [alphabet.encode_one(event) for event in word]
    states = naive_language.run(automaton.transitions.tolist(), symbols)
    return [bool(automaton.finals[state]) for state in states]


@settings(max_examples=300)
@given(small_expressions(max_leaves=6), words_of_events(), st.sampled_from(POLICIES), st.booleans())
def test_automaton_detects_what_the_definitions_say(
    expression: Expression, word: list[int], policy: Policy, minimise: bool
) -> None:
    alphabet, automaton = built(expression, policy, minimise)
    events = [EVENTS[i] for i in word]
    assert detections(alphabet, automaton, events) == naive_language.detections(expression, events, policy)


def oracle(expression: Expression) -> DFA:
    """Language of an expression over the letters, by automata-lib's own operations."""
    letters = set("ABCD")
    match expression:
        case Sequence(()):
            return DFA.from_nfa(NFA.from_dfa(DFA.from_finite_language(letters, {""})))
        case Sequence(parts):
            return DFA.from_nfa(reduce(lambda a, b: a + b, (NFA.from_dfa(oracle(part)) for part in parts)))
        case Choice(parts):
            return DFA.from_nfa(reduce(lambda a, b: a | b, (NFA.from_dfa(oracle(part)) for part in parts)))
        case Star(part):
            return DFA.from_nfa(NFA.from_dfa(oracle(part)).kleene_star())
        case Complement(part):
            return ~oracle(part)
        case sentence:
            holding = {event["type"] for event in LETTERS if naive_language.holds(sentence, event)}  # type: ignore[arg-type]  # no skips
            return DFA.from_finite_language(letters, holding)


def as_dfa(alphabet: Alphabet, automaton: Automaton) -> DFA:
    symbol = {event["type"]: alphabet.encode_one(event) for event in LETTERS}
    rows = enumerate(automaton.transitions.tolist())
    return DFA(
        states=set(range(automaton.n_states)),
        input_symbols=set(symbol),
        transitions={state: {letter: row[s] for letter, s in symbol.items()} for state, row in rows},
        initial_state=0,
        final_states=set(np.flatnonzero(automaton.finals).tolist()),
    )


@given(small_expressions(max_leaves=5), st.booleans())
def test_automaton_is_equivalent_to_automata_lib(expression: Expression, minimise: bool) -> None:
    alphabet, automaton = built(expression, minimise=minimise)
    rewritten = without_skips(expression)
    anything = DFA.universal_language(set("ABCD"))
    streaming = DFA.from_nfa(NFA.from_dfa(anything) + NFA.from_dfa(oracle(rewritten)))
    assert as_dfa(alphabet, automaton) == streaming
    if minimise:
        assert automaton.n_states == len(streaming.minify().states)


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        (";(A,!(B),C)", "ABC", "..."),  # the reference detects here
        (";(A,!(B),C)", "AC", ".x"),
        (";(A,!(B),C)", "ABBC", "...x"),
        (";(A,!(;(B,B)),C)", "ABBC", "...."),
        (";(A,!(;(B,B)),C)", "ABC", "..x"),
        (";(A,!(;(*(T),B,*(T))),C)", "ACCBC", ".xx.."),
        ("#(;(A,B,C))", "ACBBC", "....x"),
        ("@(;(A,B,C))", "ACBCC", "...x."),
        ("@(;(A,B,C))", "ACBBC", "....x"),
        (";(A,#(*(B)))", "ACBC", "x..."),
        (";(A,#(*(B)),C)", "ABAABC", ".....x"),
        (";(A,*(A),A)", "AAAA", ".xxx"),
        ("+(A,;(B,C))", "ABC", "x.x"),
    ],
)
def test_operators_on_short_words(text: str, word: str, expected: str) -> None:
    for letter in "ABC":
        text = text.replace(letter, f"IsEventTypePredicate({letter})")
    pattern = parse_pattern(text.replace("(T)", "(TruePredicate)"), TYPES)
    alphabet = build_alphabet(pattern)
    found = detections(alphabet, build_automaton(pattern, alphabet), [{"type": letter} for letter in word])
    assert "".join(".x"[f] for f in found) == expected


def test_nonoverlap_starts_afresh_after_a_detection() -> None:
    pattern = parse_pattern(";(IsEventTypePredicate(A),IsEventTypePredicate(A))", TYPES)
    alphabet = build_alphabet(pattern)
    word = [{"type": "A"}] * 5
    found = {policy: detections(alphabet, build_automaton(pattern, alphabet, policy), word) for policy in POLICIES}
    assert found == {"overlap": [False, True, True, True, True], "nonoverlap": [False, True, False, True, False]}


@given(small_expressions(max_leaves=6), st.sampled_from(POLICIES))
def test_minimised_automaton_is_no_larger_and_starts_at_zero(expression: Expression, policy: Policy) -> None:
    _, plain = built(expression, policy)
    _, minimal = built(expression, policy, minimise=True)
    assert minimal.n_states <= plain.n_states
    assert not minimal.finals[0]
    pairs, todo = {(0, 0)}, [(0, 0)]
    for left, right in todo:
        assert plain.finals[left] == minimal.finals[right]
        following = zip(plain.transitions[left].tolist(), minimal.transitions[right].tolist(), strict=True)
        new = set(following) - pairs
        pairs |= new
        todo.extend(new)
    assert len(pairs) == len({left for left, _ in pairs})


@pytest.mark.parametrize(
    "name", ["nested", "iteration", "skip_till_any", "negation_last", "nonoverlap_nested_partition"]
)
def test_minimisation_changes_no_forecast(name: str) -> None:
    case, plain = golden_cases.case(name), golden_cases.training_set(name)
    minimal = TrainingSet.prepare(
        spst.read_events(case.data),
        plain.pattern,
        order=case.meta["order"],
        k_max=case.meta["K"],
        policy=case.meta["policy"],
        minimise=True,
    )
    assert minimal.automaton.n_states < plain.automaton.n_states
    scores = [data.score(data.fit(case.hyperparameters)).as_dict() for data in (plain, minimal)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-9)


def test_pattern_that_can_never_match_has_no_final_state() -> None:
    pattern = parse_pattern(";(IsEventTypePredicate(A),^(IsEventTypePredicate(A),IsEventTypePredicate(B)))", TYPES)
    automaton = build_automaton(pattern, build_alphabet(pattern), minimise=True)
    assert not automaton.finals.any()
    assert automaton.n_states == 1


def test_impossible_symbol_goes_through_every_edge() -> None:
    pattern = parse_pattern(";(-IsEventTypePredicate(A),IsEventTypePredicate(A))")
    alphabet = build_alphabet(pattern)
    assert alphabet.truth.tolist() == [[False, False], [False, True], [True, False], [True, True]]
    assert alphabet.possible.tolist() == [False, True, True, False]
    transitions = build_automaton(pattern, alphabet).transitions
    assert transitions[0].tolist() == [1, 0, 1, 1]
    assert transitions[1, 0] == transitions[1, 3] != transitions[1, 1]


def test_state_explosion_says_what_explodes() -> None:
    tail = ",".join(["TruePredicate"] * 14)
    exploding = f";(IsEventTypePredicate(A),{tail})"
    pattern = parse_pattern(exploding)
    with pytest.raises(AutomatonError, match=r"automaton of ;\(IsEventTypePredicate\(A\).* more than 10000 states"):
        build_automaton(pattern, build_alphabet(pattern))
    inside = parse_pattern(f";(IsEventTypePredicate(B),!(;(*(TruePredicate),{exploding})))")
    with pytest.raises(AutomatonError, match=r"automaton of !\(;\(\*.* more than 1000 states over 2 symbols"):
        build_automaton(inside, build_alphabet(inside), max_states=1000)


def test_unknown_policy_is_refused() -> None:
    pattern = parse_pattern("GT(x,1)")
    with pytest.raises(AutomatonError, match='"overlap" or "nonoverlap", not \'skip\''):
        build_automaton(pattern, build_alphabet(pattern), "skip")  # type: ignore[arg-type]


def random_automaton(rng: np.random.Generator, n_states: int, n_symbols: int) -> Automaton:
    transitions = rng.integers(0, n_states, (n_states, n_symbols)).astype(np.int32)
    return Automaton(transitions, np.zeros(n_states, bool))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 20),
    st.sampled_from([0, 1, 2, 15, 16, 17, 63, 64, 65, 500]),
)
def test_run_agrees_with_one_event_after_the_other(seed: int, n_states: int, n_symbols: int, n_events: int) -> None:
    rng = np.random.default_rng(seed)
    automaton = random_automaton(rng, n_states, n_symbols)
    symbols = rng.integers(0, n_symbols, n_events).astype(np.uint8)
    starts = np.flatnonzero(rng.random(n_events) < rng.choice([0, 0.02, 0.5]))
    expected = naive_language.run(automaton.transitions.tolist(), symbols.tolist(), starts.tolist())
    states = automaton.run(symbols, starts)
    assert states.dtype == np.int32
    assert states.tolist() == expected
    assert automaton.run(symbols, np.isin(np.arange(n_events), starts)).tolist() == expected


def shift_register(n_states: int) -> Automaton:
    """Every symbol permutes the states: no two runs ever meet."""
    states = np.arange(n_states)
    return Automaton(
        np.column_stack([states, (states + 1) % n_states, (states * 3) % n_states]).astype(np.int32), states == 0
    )


@pytest.mark.parametrize(
    "make", [lambda rng: random_automaton(rng, 700, 3), lambda rng: shift_register(256), lambda rng: shift_register(2)]
)
def test_run_carries_the_state_across_slabs(
    make: Callable[[np.random.Generator], Automaton], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spst.automaton._SLAB", 1000)
    rng = np.random.default_rng(1)
    automaton = make(rng)
    symbols = rng.integers(0, 3, 3500)
    expected = naive_language.run(automaton.transitions.tolist(), symbols.tolist(), [2100])
    assert automaton.run(symbols, [2100]).tolist() == expected


@pytest.mark.parametrize(
    ("transitions", "finals", "message"),
    [
        (np.zeros((2, 2)), [True], "1 states do not fit transitions of shape"),
        (np.zeros(2), [True, True], "do not fit"),
        (np.zeros((0, 2)), [], "do not fit"),
        (np.full((2, 2), 2), [True, False], "must lead to one of the 2 states"),
        (np.full((2, 2), -1), [True, False], "must lead to one of the 2 states"),
    ],
)
def test_automaton_that_is_none_is_refused(transitions: Any, finals: list[bool], message: str) -> None:
    with pytest.raises(AutomatonError, match=message):
        Automaton(transitions.astype(np.int32), np.array(finals, bool))


@pytest.mark.parametrize("name", NAMES)
def test_golden_automaton_is_reproduced(name: str) -> None:
    """As many states, and the same language: both are walked together, the possible symbols matched by their truth."""
    case = json.loads((GOLDEN / "cases" / f"{name}.json").read_text())
    pattern = parse_pattern(case["meta"]["pattern"], case["meta"]["declarations"] or "")
    alphabet = build_alphabet(pattern)
    automaton = build_automaton(pattern, alphabet, case["meta"]["policy"])
    with (GOLDEN / "index.csv").open() as index:
        expected_states = next(int(row["automaton_states"]) for row in csv.DictReader(index) if row["name"] == name)
    assert automaton.n_states == expected_states

    columns = [list(map(str, alphabet.sentences)).index(sentence) for sentence in case["sentences"]]
    ours = {
        "".join("01"[t] for t in alphabet.truth[s, columns].tolist()): s
        for s in np.flatnonzero(alphabet.possible).tolist()
    }
    symbols = [(symbol["id"], ours[symbol["truth"]]) for symbol in case["alphabet"] if symbol["truth"]]
    theirs = {(state, symbol): following for state, symbol, following in case["automaton"]["transitions"]}
    impossible = np.flatnonzero(~alphabet.possible).tolist()
    their_impossible = [symbol["id"] for symbol in case["alphabet"] if symbol["impossible"]]
    start = (case["automaton"]["start"], 0)
    seen, todo = {start}, [start]
    for their_state, state in todo:
        assert (their_state in case["automaton"]["finals"]) == bool(automaton.finals[state])
        pairs = {(theirs[their_state, theirs_s], int(automaton.transitions[state, s])) for theirs_s, s in symbols}
        if impossible:  # they are alike, so it does not matter which is which
            (following,) = {int(automaton.transitions[state, s]) for s in impossible}
            (their_following,) = {theirs[their_state, s] for s in their_impossible}
            pairs.add((their_following, following))
        todo.extend(pairs - seen)
        seen |= pairs
    assert len(seen) == len({state for _, state in seen})
