"""Slow, obvious twins of the numeric paths: one event, one word, one path at a time, straight from the definitions.

Words, contexts and labels are tuples of symbols, most recent first.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

import spst

Word = tuple[int, ...]
Tree = Mapping[Word, Sequence[float]]


class Row(NamedTuple):
    """An event, or with symbol None a reset row."""

    partition: str
    symbol: int | None
    bucket: int = 0


def then(context: Word, symbol: int) -> Word:
    """The word that a symbol makes of what was before it."""
    return (symbol, *context)


class Automaton(NamedTuple):
    transitions: Sequence[Sequence[int]]
    finals: Sequence[bool]


class Processed(NamedTuple):
    """What stands after an event: the tree's label, the automaton's state, the bucket of the event."""

    label: Word
    state: int
    bucket: int


def count_words(rows: Sequence[Row], longest: int, buckets: Collection[int]) -> Counter[Word]:
    """How often every word of up to `longest` symbols, the empty one too, ends in some buckets."""
    counts: Counter[Word] = Counter()
    recent: dict[str, Word] = defaultdict(tuple)
    for partition, symbol, bucket in rows:
        if symbol is None:
            recent[partition] = ()
            continue
        recent[partition] = (symbol, *recent[partition])[:longest]
        if bucket in buckets:
            counts.update(recent[partition][:length] for length in range(len(recent[partition]) + 1))
    return counts


def learn(counts: Counter[Word], n_symbols: int, chosen: spst.Hyperparameters) -> dict[Word, list[float]]:
    """The tree as a distribution for every label."""

    def probability(word: Word) -> float:
        return counts[word] / (counts[()] - len(word) + 1) if counts[word] else 0.0

    def conditional(symbol: int, context: Word) -> float:
        return counts[then(context, symbol)] / counts[context] if counts[context] else 0.0

    def tells(symbol: int, context: Word) -> bool:
        here, shorter = conditional(symbol, context), conditional(symbol, context[:-1])
        if here < (1 + chosen.alpha) * chosen.gamma or shorter == 0:
            return False
        return here / shorter >= chosen.r or here / shorter <= 1 / chosen.r

    labels: set[Word] = {()}
    frontier: list[Word] = [(symbol,) for symbol in range(n_symbols)] if chosen.order else []
    while frontier:
        context = frontier.pop()
        followed = any(counts[then(context, symbol)] for symbol in range(n_symbols))
        if probability(context) < chosen.p_min or not followed:
            continue
        if any(tells(symbol, context) for symbol in range(n_symbols)):
            labels |= {context[:length] for length in range(len(context) + 1)}
        if len(context) < chosen.order:
            frontier += [(*context, older) for older in range(n_symbols)]
    return {label: _distribution(counts, label, n_symbols, chosen.gamma) for label in labels}


def _distribution(counts: Counter[Word], label: Word, n_symbols: int, gamma: float) -> list[float]:
    times = [counts[then(label, symbol)] for symbol in range(n_symbols)]
    return [count / sum(times) * (1 - n_symbols * gamma) + gamma for count in times]


def walk(tree: Tree, context: Word) -> Word:
    """The deepest label on the way from the root along a context."""
    length = 0
    while length < len(context) and context[: length + 1] in tree:
        length += 1
    return context[:length]


def is_leaf(tree: Tree, label: Word) -> bool:
    return not any(len(other) == len(label) + 1 and other[: len(label)] == label for other in tree)


def waiting_time(tree: Tree, automaton: Automaton, label: Word, state: int, horizon: int) -> list[float]:
    """W(1) .. W(horizon) of one state, by following all mass forwards."""
    standing: dict[tuple[Word, int], float] = {(label, state): 1.0}
    waiting = []
    for _ in range(horizon):
        moved: dict[tuple[Word, int], float] = defaultdict(float)
        entered = 0.0
        for (here, now), mass in standing.items():
            for symbol, chance in enumerate(tree[here]):
                following = automaton.transitions[now][symbol]
                if automaton.finals[following]:
                    entered += mass * chance
                else:
                    moved[walk(tree, then(here, symbol)), following] += mass * chance
        waiting.append(entered)
        standing = moved
    return waiting


def run(
    rows: Sequence[Row], tree: Tree, automaton: Automaton, order: int, start: Literal["first", "leaf"] = "first"
) -> dict[str, list[Processed]]:
    """What stands after every processed event of each partition; rule 9 of the golden results for start "leaf"."""
    leaves = {label for label in tree if is_leaf(tree, label)} if start == "leaf" else set(tree)
    recent: dict[str, Word] = defaultdict(tuple)
    states: dict[str, int] = {}
    processed: dict[str, list[Processed]] = defaultdict(list)
    for partition, symbol, bucket in rows:
        if symbol is None:
            recent[partition] = ()
            states.pop(partition, None)
            continue
        recent[partition] = (symbol, *recent[partition])[: order + 1]
        label = walk(tree, recent[partition][:order])
        if partition not in states:
            if label not in leaves:
                continue
            states[partition] = 0
        states[partition] = automaton.transitions[states[partition]][symbol]
        processed[partition].append(Processed(label, states[partition], bucket))
    return processed


class Forecast(NamedTuple):
    probability: float
    hit: bool


def forecasts(
    processed: Mapping[str, Sequence[Processed]],
    tree: Tree,
    automaton: Automaton,
    k: int,
    buckets: Collection[int] = (0,),
    at_detection: bool = True,
) -> list[Forecast]:
    """The forecasts made in some buckets, and whether each came true (rule 10 of the golden results)."""
    states = {(each.label, each.state) for events in processed.values() for each in events}
    probability = {each: round(sum(waiting_time(tree, automaton, *each, k)), 12) for each in states}
    made = []
    for events in processed.values():
        detected = [automaton.finals[each.state] for each in events]
        for place, each in enumerate(events):
            if each.bucket in buckets and (at_detection or not detected[place]):
                made.append(Forecast(probability[each.label, each.state], any(detected[place + 1 : place + 1 + k])))
    return made


class Confusion(NamedTuple):
    tp: int
    tn: int
    fp: int
    fn: int


def confusion(made: Sequence[Forecast], threshold: float) -> Confusion:
    kinds = Counter((forecast.probability >= threshold, forecast.hit) for forecast in made)
    return Confusion(kinds[True, True], kinds[False, False], kinds[True, False], kinds[False, True])


def matthews(counts: Confusion) -> float:
    """The correlation coefficient as the two roots of the definition."""
    tp, tn, fp, fn = counts
    if 0 in (tp + fp, tp + fn, tn + fp, tn + fn):
        return 0.0
    good = (tp / (tp + fp)) * (tp / (tp + fn)) * (tn / (tn + fp)) * (tn / (tn + fn))
    bad = (fp / (tp + fp)) * (fn / (tp + fn)) * (fp / (tn + fp)) * (fn / (tn + fn))
    return math.sqrt(good) - math.sqrt(bad)


def best_threshold(made: Sequence[Forecast]) -> tuple[float, float]:
    """The highest of the thresholds with the highest MCC, and that MCC; every probability is tried."""
    scored = {p: round(matthews(confusion(made, p)), 12) for p in {forecast.probability for forecast in made}}
    best = max(scored.values())
    return max(p for p, mcc in scored.items() if mcc == best), best


def log_loss(made: Sequence[Forecast]) -> float:
    clipped = [(min(max(p, 1e-12), 1 - 1e-12), hit) for p, hit in made]
    return -sum(math.log(p) if hit else math.log1p(-p) for p, hit in clipped) / len(made)


def grid(values: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Every combination of a grid's values, the last name varying fastest."""
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
