"""Which combinations of sentences can be true together.

`declared` looks at the declared exclusions only, and only outside negations; `realisable` runs through everything
that events can be, given cells in which the predicates' truth is constant. Knows predicates as opaque things.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from spst.errors import AlphabetError
from spst.expressions import TRUE, And, Not, Or, Predicate, Sentence, atoms

Exclusives = Sequence[frozenset[Predicate]]
Row = tuple[bool, ...]
Choices = frozenset[frozenset[Predicate]]
Cells = Sequence[Mapping[Predicate, bool]]

SLACK = 8  # partial assignments for every symbol
_MAX_WAYS = 1 << 12  # least sets of declared predicates that make sentences true
_MAX_REMAINDERS = 1 << 12  # of one symbol's sentences; more means sentences too entangled to decide


def declared(sentences: Sequence[Sentence], exclusives: Exclusives, max_symbols: int) -> list[Row]:
    """List the truth assignments that the declared exclusions leave, in lexicographic order.

    An assignment stays if its true sentences, looking only at the parts not under a negation, can hold together with
    at most one true predicate per exclusive set.

    Raises
    ------
    AlphabetError
        There are more than `max_symbols`.
    """
    rows: list[tuple[Row, Choices]] = [((), frozenset([frozenset()]))]
    for sentence in sentences:
        ways = _ways(sentence, exclusives)
        longer = []
        for row, choices in rows:
            longer.append(((*row, False), choices))
            if together := _together(choices, ways, exclusives):
                longer.append(((*row, True), together))
        if len(longer) > max_symbols:
            raise _too_many(sentences, max_symbols)
        rows = longer
    return [row for row, _ in rows]


def _ways(sentence: Sentence, exclusives: Exclusives) -> Choices:
    """The least sets of declared predicates of which a true sentence makes one true; blind to what is negated."""
    match sentence:
        case Predicate():
            return frozenset([frozenset(p for p in (sentence,) if any(p in group for group in exclusives))])
        case Not():
            return frozenset([frozenset()])
        case And(operands):
            ways: Choices = frozenset([frozenset()])
            for operand in operands:
                ways = _together(ways, _ways(operand, exclusives), exclusives)
            return ways
        case Or(operands):
            return _least(way for operand in operands for way in _ways(operand, exclusives))


def _together(left: Choices, right: Choices, exclusives: Exclusives) -> Choices:
    if len(left) * len(right) > _MAX_WAYS:
        raise AlphabetError(
            f"a sentence can hold in more than {_MAX_WAYS} ways; declare its parts as extras, and shorten it"
        )
    unions = {a | b for a, b in product(left, right)}
    return _least(union for union in unions if all(len(union & group) <= 1 for group in exclusives))


def _least(sets: Iterable[frozenset[Predicate]]) -> Choices:
    distinct = set(sets)
    return frozenset(a for a in distinct if not any(b < a for b in distinct))


def realisable(
    sentences: Sequence[Sentence], dimensions: Iterable[Cells], exclusives: Exclusives, max_symbols: int
) -> list[Row]:
    """List every truth assignment that some event can have, in lexicographic order.

    Parameters
    ----------
    sentences : sequence of Sentence
    dimensions : iterable of sequences
        For every independent property of an event its cells; a cell tells the truth of the predicates on that
        property. Together they cover every predicate of the sentences once.
    exclusives : sequence of frozenset of Predicate
        At most one predicate of each is true.
    max_symbols : int
        Limit on the result; there may be `SLACK` times as many partial assignments on the way.

    Raises
    ------
    AlphabetError
        A limit is passed.
    """
    return sorted(_walk(sentences, _touched(sentences, dimensions), exclusives, max_symbols))


def possible(sentences: Sequence[Sentence], rows: Iterable[Row], exclusives: Exclusives) -> list[bool]:
    """Tell of every truth assignment whether it contradicts neither itself nor the declared exclusions."""
    predicates = dict.fromkeys(p for s in sentences for p in atoms(s))
    plan = _touched(sentences, [({p: False}, {p: True}) for p in predicates])
    everything = list(range(len(sentences)))
    answers = []
    for row in rows:
        forced = dict(literal for s, true in zip(sentences, row, strict=True) for literal in _literal(s, true))
        forced[TRUE] = True
        rest = [step for p, step in zip(predicates, plan, strict=True) if p not in forced]
        answers.append(bool(_walk(sentences, [((forced,), everything), *rest], exclusives, _MAX_REMAINDERS, row)))
    return answers


def _literal(sentence: Sentence, true: bool) -> Iterator[tuple[Predicate, bool]]:
    match sentence:
        case Predicate():
            yield sentence, true
        case Not(Predicate() as operand):
            yield operand, not true


def _touched(sentences: Sequence[Sentence], dimensions: Iterable[Cells]) -> list[tuple[Cells, list[int]]]:
    """Pair every dimension with the sentences that have one of its predicates."""
    places: dict[Predicate, list[int]] = {}
    for i, sentence in enumerate(sentences):
        for p in set(atoms(sentence)):
            places.setdefault(p, []).append(i)
    return [(cells, sorted({i for p in cells[0] for i in places.get(p, ())})) for cells in dimensions]


def _walk(
    sentences: Sequence[Sentence],
    plan: Iterable[tuple[Cells, list[int]]],
    exclusives: Exclusives,
    max_symbols: int,
    only: Row | None = None,
) -> set[Row]:
    """Walk through the dimensions, merging equal remainders of the sentences; with `only`, look for one assignment."""
    groups = {p: [i for i, group in enumerate(exclusives) if p in group] for group in exclusives for p in group}
    states: set[tuple[tuple[Sentence | bool, ...], frozenset[int]]] = {(tuple(sentences), frozenset())}
    for cells, touched in plan:
        reached = set()
        for remainder, used in states:
            for cell in cells:
                hit = [i for p, true in cell.items() if true for i in groups.get(p, ())]
                if len(set(hit)) < len(hit) or not used.isdisjoint(hit):
                    continue
                following = list(remainder)
                for i in touched:
                    following[i] = simplified(following[i], cell)
                if only is None or not any(following[i] is (not only[i]) for i in touched):
                    reached.add((tuple(following), used.union(hit)))
        states = reached
        if len(states) > SLACK * max_symbols:
            raise _too_many(sentences, max_symbols)
    rows = {tuple(map(bool, row)) for row, _ in states}
    if len(rows) > max_symbols:
        raise _too_many(sentences, max_symbols)
    return rows


def simplified(sentence: Sentence | bool, truth: Mapping[Predicate, bool]) -> Sentence | bool:
    """Put known truth values into a sentence; a bool comes out if they decide it."""
    match sentence:
        case bool():
            return sentence
        case Predicate():
            return truth.get(sentence, sentence)
        case Not(operand):
            inner = simplified(operand, truth)
            return not inner if isinstance(inner, bool) else Not(inner)
        case And(operands) | Or(operands):
            neutral = isinstance(sentence, And)
            inners = [simplified(operand, truth) for operand in operands]
            if (not neutral) in inners:
                return not neutral
            rest = tuple(inner for inner in inners if not isinstance(inner, bool))
            return type(sentence)(rest) if rest else neutral


def _too_many(sentences: Sequence[Sentence], max_symbols: int) -> AlphabetError:
    return AlphabetError(
        f"more than {max_symbols} symbols over the {len(sentences)} sentences {', '.join(map(str, sentences))}; "
        "declare which predicates exclude each other, ~(p,q,..), leave out extras, or raise max_symbols"
    )
