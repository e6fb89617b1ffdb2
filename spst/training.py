"""Training sets: prepared once from events, then fitted and scored for any hyperparameters without them.

Owns the path from events to the two tables that everything rests on, the counts of words and the outcomes of states,
and what is done with them. Must not know: messages, files other than through `Events`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from spst.alphabet import Alphabet, Mode, build_alphabet
from spst.arrangement import arrange
from spst.arrays import FloatArray, IntArray
from spst.automaton import Automaton, build_automaton
from spst.counts import Successors, WordCounts, count_words, find_contexts
from spst.errors import EventsError, HyperparameterError, SpstError
from spst.evaluation import Split, split
from spst.events import Events
from spst.model import Model
from spst.outcomes import Outcomes, OutcomeTable, summed, tabulate_outcomes
from spst.pattern import Pattern, Policy
from spst.scoring import Score, ThresholdCurve, score_at, threshold_curve
from spst.sweeps import Grid, SweepTable, sets_of
from spst.symbols import SymbolCache, Symbols, encode, join
from spst.tree import MAX_HORIZON, MAX_ORDER, Hyperparameters, Tree, learn
from spst.waiting import detection_within, waiting_times, within


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Everything that fitting and scoring need of some events; made by `prepare`.

    Attributes
    ----------
    pattern, alphabet, automaton
        What the events were reduced with.
    words : WordCounts
        For the trees.
    outcomes : OutcomeTable
        For the scores.
    split : Split
        What is learnt from and what is scored.
    forecast_at_detection : bool
        Whether forecasts made at detections are scored too.
    n_events, rows, rows_skipped : int
        Events, which are rows less resets and bad ones; rows read; bad rows.
    first_timestamp, last_timestamp : float or None
        Smallest and largest of the events.
    """

    pattern: Pattern
    alphabet: Alphabet
    automaton: Automaton
    words: WordCounts
    outcomes: OutcomeTable
    split: Split
    forecast_at_detection: bool
    n_events: int
    rows: int
    rows_skipped: int
    first_timestamp: float | None
    last_timestamp: float | None

    @classmethod
    def prepare(
        cls,
        events: Events | Sequence[Events],
        pattern: Pattern,
        *,
        order: int,
        k_max: int,
        evaluation: str = "in-sample",
        alphabet: Mode = "declared",
        policy: Policy = "overlap",
        minimise: bool = False,
        forecast_at_detection: bool = True,
        max_bad_rows: float = 0.01,
        cache: SymbolCache | None = None,
        keys: Sequence[Hashable] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> TrainingSet:
        """Read events once and count what any hyperparameters may need.

        Parameters
        ----------
        events : Events or several of them
            Several are buckets of one stream, in this order; contexts and automaton run on from one to the next.
        order : int, 0..12
            Longest contexts that may be asked for.
        k_max : int, 1 or more
            Longest horizon that may be scored.
        evaluation : "in-sample", "holdout:SHARE" or "last-bucket"
            See `spst.evaluation.split`; contexts and automaton run on across the cut.
        alphabet, policy, minimise
            See `spst.alphabet.build_alphabet` and `spst.automaton.build_automaton`.
        forecast_at_detection : bool
            Whether forecasts made at detections are scored too.
        max_bad_rows : float, 0..1
            Share of rows that may be bad; they are skipped.
        cache, keys : SymbolCache, and one key per bucket
            Where a bucket's symbols may be found and left. A key stands for the content of its bucket.
        progress : called now and then with the number of rows read so far

        Raises
        ------
        SpstError
            The events cannot be read or are too bad, the alphabet or automaton explodes, an argument is out of range.
        """
        buckets = [events] if isinstance(events, Events) else list(events)
        if not buckets:
            raise EventsError("there is no event to learn from: expected at least one bucket")
        _check_range("order", order, 0, MAX_ORDER)
        _check_range("k_max", k_max, 1, MAX_HORIZON)
        symbol_set, automaton = _language(pattern, alphabet, policy, minimise)
        attributes = filter(None, [*symbol_set.columns, pattern.partition_by])
        for bucket, attribute in product(buckets, attributes):  # what is missing shows before anything is read
            bucket.column(attribute)
        streams: list[Symbols] = []
        for bucket, key in zip(buckets, keys or [None] * len(buckets), strict=True):
            read = sum(stream.rows for stream in streams)
            tell = None if progress is None else lambda rows, read=read: progress(read + rows)
            streams.append(_encoded(bucket, symbol_set, pattern.partition_by, cache, key, tell))
        stream, cut = join(streams), split(evaluation, [len(each.symbols) for each in streams])
        stream.check(max_bad_rows)
        words, outcomes = tabulate(stream, cut.sizes, automaton, order, k_max)
        first, last = map(_plain, stream.timestamps or (None, None))
        return cls(
            *(pattern, symbol_set, automaton, words, outcomes, cut, forecast_at_detection),
            *(stream.n_events, stream.rows, stream.rows_skipped, first, last),
        )

    @property
    def order(self) -> int:
        """Longest contexts that may be asked for."""
        return self.words.contexts.order

    @property
    def k_max(self) -> int:
        """Longest horizon that may be scored."""
        return self.outcomes.k_max

    @property
    def nbytes(self) -> int:
        """Bytes held, with what is derived from the tables."""
        return sum(map(_nbytes, (self.words, self.words.contexts, self.outcomes, self._counts, self._outcomes)))

    def in_sample(self) -> TrainingSet:
        """The same events, learning from all and scoring all; shares the tables."""
        return replace(self, split=self.split.in_sample())

    @cached_property
    def _counts(self) -> Successors:
        return self.words.of(self.split.learns)

    @cached_property
    def _outcomes(self) -> Outcomes:
        return self.outcomes.of(self.split.scores, self.automaton.finals, self.forecast_at_detection)

    def fit(self, hyperparameters: Hyperparameters, provenance: Mapping[str, Any] | None = None) -> Model:
        """Learn a model.

        Parameters
        ----------
        provenance : mapping of plain data
            Becomes part of the model.

        Raises
        ------
        HyperparameterError
            The order is beyond the prepared one, or gamma too large for the alphabet.
        EventsError
            There is no event to learn from.
        """
        tree = learn(self._counts, hyperparameters)
        return Model(self.pattern, self.alphabet, self.automaton, tree, hyperparameters, dict(provenance or {}))

    def score(self, model: Model) -> Score:
        """Score a model's forecasts with its own threshold and k, those that the evaluation counts.

        Raises
        ------
        HyperparameterError
            The model looks further ahead or back than was prepared.
        SpstError
            It is a model of another alphabet or automaton.
        """
        return score_at(self.threshold_curve(model), model.hyperparameters.threshold, self._outcomes.detections)

    def threshold_curve(self, model: Model) -> ThresholdCurve:
        """Give the confusion counts that every threshold would have; raises as `score` does."""
        self._check_fits(model)
        k = model.hyperparameters.k
        return self._curve(self._states(model.tree), detection_within(model.tree, model.automaton, k), k)

    def sweep(
        self, tried: Grid | Iterable[Hyperparameters], progress: Callable[[int], None] | None = None
    ) -> SweepTable:
        """Fit and score many hyperparameters, sharing what they share: one tree for all thresholds and horizons.

        Parameters
        ----------
        tried : hyperparameters, or a grid: name -> values, of which every combination is tried
        progress : called with the number of sets scored so far, after every tree

        Raises
        ------
        HyperparameterError, EventsError
            As `fit` and `score` do, for any of them.
        """
        sets = sets_of(tried)
        by_tree: dict[tuple[float, ...], dict[int, list[int]]] = {}
        for place, each in enumerate(sets):
            _check_range("k", each.k, 1, self.k_max)
            tree_key = (each.order, each.p_min, each.gamma, each.alpha, each.r)
            by_tree.setdefault(tree_key, {}).setdefault(each.k, []).append(place)
        scores: dict[int, Score] = {}
        for by_horizon in by_tree.values():
            tree = learn(self._counts, sets[next(iter(by_horizon.values()))[0]])
            states, waiting = self._states(tree), waiting_times(tree, self.automaton, max(by_horizon))
            for k, places in by_horizon.items():
                curve = self._curve(states, within(waiting, k), k)
                for place in places:
                    scores[place] = score_at(curve, sets[place].threshold, self._outcomes.detections)
            if progress is not None:
                progress(len(scores))
        return SweepTable(sets, tuple(scores[place] for place in range(len(sets))))

    def _check_fits(self, model: Model) -> None:
        same_alphabet = model.alphabet is self.alphabet or (
            model.alphabet.sentences == self.alphabet.sentences
            and np.array_equal(model.alphabet.truth, self.alphabet.truth)
        )
        same_automaton = model.automaton is self.automaton or (
            np.array_equal(model.automaton.transitions, self.automaton.transitions)
            and np.array_equal(model.automaton.finals, self.automaton.finals)
        )
        if not (same_alphabet and same_automaton):
            raise SpstError("the model has another alphabet or automaton than the training set: their patterns differ")
        if model.tree.order > self.order:
            raise HyperparameterError(
                f"the model looks back {model.tree.order} events; prepared was order {self.order}"
            )
        _check_range("k", model.hyperparameters.k, 1, self.k_max)

    def _states(self, tree: Tree) -> IntArray:
        """State of tree and automaton in every row of the outcomes; int32, shape (n_rows,)."""
        nodes = tree.nodes_of(self.words.contexts)[self.outcomes.context]
        states: IntArray = nodes * np.int32(len(self.automaton.finals)) + self.outcomes.state
        return states

    def _curve(self, states: IntArray, probability: FloatArray, k: int) -> ThresholdCurve:
        hits, total = (summed(states, n, len(probability)) for n in (self._outcomes.hits(k), self._outcomes.total))
        return threshold_curve(probability, hits, total)


def tabulate(
    stream: Symbols, bucket_sizes: Sequence[int], automaton: Automaton, order: int, k_max: int
) -> tuple[WordCounts, OutcomeTable]:
    """Make the one pass over a stream: contexts, automaton states, distances to detections, and their counts."""
    arranged = arrange(stream, bucket_sizes)
    contexts, longest = find_contexts(arranged, order)
    words = count_words(arranged, contexts, longest)
    states = automaton.run(arranged.symbols, arranged.starts)
    return words, tabulate_outcomes(arranged, longest, states, automaton.finals, k_max)


@lru_cache(maxsize=64)  # a model line prepares the same pattern again with every dataset
def _language(pattern: Pattern, alphabet: Mode, policy: Policy, minimise: bool) -> tuple[Alphabet, Automaton]:
    symbol_set = build_alphabet(pattern, mode=alphabet)
    return symbol_set, build_automaton(pattern, symbol_set, policy=policy, minimise=minimise)


def _encoded(
    events: Events,
    alphabet: Alphabet,
    partition_by: str | None,
    cache: SymbolCache | None,
    key: Hashable | None,
    progress: Callable[[int], None] | None,
) -> Symbols:
    def make() -> Symbols:
        return encode(events, alphabet, partition_by, progress)

    if cache is None or key is None:
        return make()
    return cache.get((key, partition_by, alphabet.sentences, alphabet.truth.tobytes()), make)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise HyperparameterError(f"{name} must be a whole number from {low} to {high} here, not {value!r}")


def _plain(timestamp: float | None) -> float | None:
    """A whole number as such: timestamps are seconds or milliseconds, which nobody writes with a decimal point."""
    return timestamp if timestamp is None or not timestamp.is_integer() else int(timestamp)


def _nbytes(tables: object) -> int:
    """Bytes of the arrays that an object holds."""
    return sum(map(_array_bytes, vars(tables).values()))


def _array_bytes(value: object) -> int:
    if isinstance(value, csr_array):
        return sum(map(_array_bytes, (value.data, value.indices, value.indptr)))
    if isinstance(value, dict):
        return sum(map(_array_bytes, value.values()))
    return value.nbytes if isinstance(value, np.ndarray) else 0
