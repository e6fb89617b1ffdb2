"""Slow, obvious twins of the pattern language: matching by the definitions, alphabets by trying everything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, combinations, product
from typing import Any

import spst.expressions as e

Event = Mapping[str, Any]
Word = Sequence[Event]


def holds(sentence: e.Sentence, event: Event) -> bool:
    match sentence:
        case e.Predicate(name, args):
            return predicate_holds(name, args, event)
        case e.Not(operand):
            return not holds(operand, event)
        case e.And(operands):
            return all(holds(operand, event) for operand in operands)
        case e.Or(operands):
            return any(holds(operand, event) for operand in operands)


def predicate_holds(name: str, args: tuple[Any, ...], event: Event) -> bool:
    match name, args:
        case "TruePredicate", ():
            return True
        case "IsEventTypePredicate", (text,):
            return bool(event["type"] == text)
        case "GT", (attribute, number):
            return bool(event[attribute] > number)
        case "LTE", (attribute, number):
            return bool(event[attribute] <= number)
        case "EQ", (attribute, number):
            return bool(event[attribute] == number)
        case "BT", (attribute, low, high):
            return bool(low <= event[attribute] < high)
    raise KeyError(name)


def splits(word: Word) -> Iterable[tuple[Word, Word]]:
    return ((word[:i], word[i:]) for i in range(len(word) + 1))


def matches(expression: e.Expression, word: Word) -> bool:
    """Whether the whole word matches."""
    match expression:
        case e.Sequence(parts):
            return chain_matches(parts, word, lambda gap, following: not gap)
        case e.Choice(parts):
            return any(matches(part, word) for part in parts)
        case e.Star(part):
            return star_matches(part, word, lambda gap, following: not gap)
        case e.Complement(part):
            return not matches(part, word)
        case e.SkipAny(e.Sequence(parts)):
            return chain_matches(parts, word, lambda gap, following: True)
        case e.SkipAny(e.Star(part)):
            return star_matches(part, word, lambda gap, following: True)
        case e.SkipNext(e.Sequence(parts)):
            return chain_matches(parts, word, without)
        case e.SkipNext(e.Star(part)):
            return star_matches(part, word, without)
        case e.SkipAny(part) | e.SkipNext(part):
            return matches(part, word)
        case sentence:
            return len(word) == 1 and holds(sentence, word[0])


def without(gap: Word, following: e.Expression) -> bool:
    """Nothing in the gap matches what follows it."""
    return not any(matches(following, gap[i:j]) for i in range(len(gap) + 1) for j in range(i, len(gap) + 1))


def chain_matches(parts: Sequence[e.Expression], word: Word, gap_allowed: Any) -> bool:
    """The parts one after the other, with an allowed gap before every part but the first."""
    first, *rest = parts
    if not rest:
        return matches(first, word)
    return any(
        matches(first, head) and gap_allowed(gap, rest[0]) and chain_matches(rest, tail, gap_allowed)
        for head, others in splits(word)
        for gap, tail in splits(others)
    )


def star_matches(part: e.Expression, word: Word, gap_allowed: Any) -> bool:
    """No time, once, twice, .. up to once before and after every event."""
    return not word or any(chain_matches([part] * times, word, gap_allowed) for times in range(1, len(word) + 2))


def detections(expression: e.Expression, word: Word, policy: str) -> list[bool]:
    """Of every event, whether a match ends there that began at any event (nonoverlap: after the last detection)."""
    found, first = [], 0
    for end in range(1, len(word) + 1):
        detected = any(matches(expression, word[start:end]) for start in range(first, end))
        found.append(detected)
        if detected and policy == "nonoverlap":
            first = end
    return found


def positive_sets(sentence: e.Sentence) -> list[frozenset[e.Predicate]]:
    """Sets of predicates that make a sentence true, blind to what is negated: its disjunctive form."""
    match sentence:
        case e.Predicate():
            return [frozenset([sentence])]
        case e.Not():
            return [frozenset()]
        case e.Or(operands):
            return [way for operand in operands for way in positive_sets(operand)]
        case e.And(operands):
            return [frozenset(chain(*ways)) for ways in product(*map(positive_sets, operands))]


def declared(sentences: Sequence[e.Sentence], exclusives: Sequence[frozenset[e.Predicate]]) -> set[tuple[bool, ...]]:
    """Rule 1 of the reference results: every assignment whose true sentences can hold together."""
    return {
        row
        for row in product([False, True], repeat=len(sentences))
        if any(
            allowed(frozenset(chain(*ways)), exclusives)
            for ways in product(*(positive_sets(s) for s, true in zip(sentences, row, strict=True) if true))
        )
    }


def allowed(true: frozenset[e.Predicate], exclusives: Sequence[frozenset[e.Predicate]]) -> bool:
    return all(len(true & group) <= 1 for group in exclusives)


def consistent(sentences: Sequence[e.Sentence], exclusives: Sequence[frozenset[e.Predicate]]) -> set[tuple[bool, ...]]:
    """Every assignment of the sentences that some assignment of the predicates gives, exclusions obeyed."""
    predicates = sorted({p for s in sentences for p in e.atoms(s)} - {e.TRUE}, key=str)
    subsets = chain(*(combinations(predicates, n) for n in range(len(predicates) + 1)))
    return {
        tuple(evaluated(s, frozenset(true)) for s in sentences)
        for true in ({e.TRUE, *subset} for subset in subsets)
        if allowed(frozenset(true), exclusives)
    }


def evaluated(sentence: e.Sentence, true: frozenset[e.Predicate]) -> bool:
    match sentence:
        case e.Predicate():
            return sentence in true
        case e.Not(operand):
            return not evaluated(operand, true)
        case e.And(operands):
            return all(evaluated(operand, true) for operand in operands)
        case e.Or(operands):
            return any(evaluated(operand, true) for operand in operands)


def run(transitions: Sequence[Sequence[int]], symbols: Sequence[int], starts: Iterable[int] = ()) -> list[int]:
    """The state after every event, one event after the other."""
    begins, state, states = set(starts), 0, []
    for i, symbol in enumerate(symbols):
        state = transitions[0 if i in begins else state][symbol]
        states.append(state)
    return states


def distance_km(lon: float, lat: float, centre_lon: float, centre_lat: float) -> float:
    """Great-circle distance from the angle between the two points' unit vectors."""

    def vector(lon: float, lat: float) -> tuple[float, float, float]:
        phi, lam = math.radians(lat), math.radians(lon)
        return math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)

    return 6371.0 * 2 * math.asin(min(1.0, math.dist(vector(lon, lat), vector(centre_lon, centre_lat)) / 2))
