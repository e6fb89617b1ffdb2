"""The library against the reference results of 45 cases; the scores are compared in `test_replica` too."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pytest

from spst.waiting import waiting_times
from tests import golden_cases, naive
from tests.golden_cases import GoldenCase

every_case = pytest.mark.parametrize("name", golden_cases.NAMES)


class Names(NamedTuple):
    """How the reference calls our symbols and automaton states: its name -> our number.

    Symbols that contradict themselves, which no event has, and states that only these lead to, are left out.
    """

    symbols: dict[int, int]
    states: dict[int, int]

    def label(self, theirs: list[int]) -> tuple[int, ...]:
        return tuple(self.symbols[symbol] for symbol in theirs)


def truths(case: GoldenCase) -> list[str]:
    """For each of our symbols the truth of the reference's sentences."""
    alphabet = golden_cases.model(case.name).alphabet
    texts = list(map(str, alphabet.sentences))
    columns = alphabet.truth[:, [texts.index(text) for text in case.sentences]]
    return ["".join(str(int(value)) for value in row) for row in columns]


def names(case: GoldenCase) -> Names:
    """Symbols by the truth of the sentences; states by walking both automata together from their starts."""
    model = golden_cases.model(case.name)
    ours = {truth: symbol for symbol, truth in enumerate(truths(case)) if model.alphabet.possible[symbol]}
    symbols = {theirs["id"]: ours[theirs["truth"]] for theirs in case.alphabet if theirs["truth"] in ours}
    moves = {(source, symbol): target for source, symbol, target in case.automaton["transitions"]}
    states, waiting = {case.automaton["start"]: 0}, [case.automaton["start"]]
    while waiting:
        source = waiting.pop()
        for theirs, symbol in symbols.items():
            target, reached = moves[source, theirs], int(model.automaton.transitions[states[source], symbol])
            if target not in states:
                states[target] = reached
                waiting.append(target)
            assert states[target] == reached, "the automata part"
    return Names(symbols, states)


@every_case
def test_symbols_of_all_events(name: str) -> None:
    case, model, stream = golden_cases.case(name), golden_cases.model(name), golden_cases.stream(name)
    assert len(model.alphabet) == len(case.alphabet)
    events = stream.symbols[stream.symbols != stream.n_symbols]
    assert len(events) == case.meta["n_events"]
    truth = truths(case)
    text = ",".join(truth[symbol] for symbol in events.tolist())
    assert hashlib.sha256(text.encode()).hexdigest() == case.symbols["sha256_truth"]


@every_case
def test_automaton_has_the_same_states(name: str) -> None:
    case, automaton = golden_cases.case(name), golden_cases.model(name).automaton
    assert len(automaton.finals) == len(case.automaton["states"])
    states = names(case).states
    assert len(set(states.values())) == len(states)
    assert {ours for theirs, ours in states.items() if theirs in case.automaton["finals"]} == {
        ours for ours in states.values() if automaton.finals[ours]
    }


@every_case
def test_counts_of_words(name: str) -> None:
    case, training = golden_cases.case(name), golden_cases.training_set(name)
    symbols = names(case).symbols
    contexts = training.words.contexts
    rows = {contexts.word(row): row for row in range(len(contexts))}
    table = training.words.table.toarray()
    assert table[0, -1] == case.counts["total"]
    for letters, times in case.counts["words"]:
        newest, *context = (symbols[letter] for letter in letters)
        assert table[rows[tuple(context)], newest] == times
    if case.counts["complete"]:
        assert np.count_nonzero(table[:, :-1]) == case.counts["distinct_words"] == len(case.counts["words"])


@every_case
def test_tree_and_its_distributions(name: str) -> None:
    case, tree = golden_cases.case(name), golden_cases.model(name).tree
    known = names(case)
    nodes = {label: node for node, label in enumerate(tree.labels)}
    assert set(nodes) == {known.label(theirs["label"]) for theirs in case.tree}
    for theirs in case.tree:
        node = nodes[known.label(theirs["label"])]
        assert tree.leaf[node] == theirs["leaf"]
        expected = np.full(tree.n_symbols, case.meta["gamma"])  # what a symbol has that no event has
        for letter, chance in zip(case.alphabet, theirs["next"], strict=True):
            if letter["id"] in known.symbols:
                expected[known.symbols[letter["id"]]] = chance
        np.testing.assert_allclose(tree.distribution[node], expected, rtol=0, atol=1e-12)


@every_case
def test_waiting_times(name: str) -> None:
    case, model = golden_cases.case(name), golden_cases.model(name)
    known, n_states = names(case), len(model.automaton.finals)
    nodes = {label: node for node, label in enumerate(model.tree.labels)}
    waiting = waiting_times(model.tree, model.automaton, case.meta["K"]).reshape(len(nodes), n_states, -1)
    assert waiting.shape[0] * n_states == case.waiting["n_states"]
    unnamed = sorted(set(range(n_states)) - set(known.states.values()))
    for theirs in case.waiting["states"]:
        candidates = [known.states[theirs["state"]]] if theirs["state"] in known.states else unnamed
        ours = waiting[nodes[known.label(theirs["label"])], candidates]
        assert np.abs(ours - theirs["w"]).max(axis=1).min() <= 1e-9
        assert np.abs(ours.sum(axis=1) - theirs["p"]).min() <= 1e-9
        assert theirs["positive"] in (ours.sum(axis=1).round(12) >= case.meta["threshold"])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if golden_cases.case(name).meta["n_events"] > 10_000 else [])
        for name in golden_cases.NAMES
    ],
)
def test_naive_run_reproduces_the_evaluation(name: str) -> None:
    """The twin that the fast path is compared with is itself right: started at leaves it repeats the reference."""
    case, model, stream = golden_cases.case(name), golden_cases.model(name), golden_cases.stream(name)
    tree = dict(zip(model.tree.labels, model.tree.distribution.tolist(), strict=True))
    automaton = naive.Automaton(model.automaton.transitions.tolist(), model.automaton.finals.tolist())
    codes = stream.partitions.tolist() if stream.partitions is not None else [0] * len(stream.symbols)
    rows = [
        naive.Row(str(code), None if symbol == stream.n_symbols else symbol)
        for code, symbol in zip(codes, stream.symbols.tolist(), strict=True)
    ]
    processed = naive.run(rows, tree, automaton, case.meta["order"], start="leaf")
    made = naive.forecasts(processed, tree, automaton, case.meta["K"], at_detection=case.meta["forecast_at_detection"])
    counts = naive.confusion(made, case.meta["threshold"])
    assert counts._asdict() == {key: case.evaluation[key] for key in counts._fields}
    assert naive.matthews(counts) == pytest.approx(case.evaluation["mcc"], abs=1e-9)
