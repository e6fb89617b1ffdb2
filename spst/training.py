"""Training sets: prepared once from events, then fitted and scored for any hyperparameters without looking at events again.

Owns the path from events to the two tables that everything rests on (counts of words, outcomes of states), the evaluation
modes, and the sweep. Must not know: messages, files other than through `Events`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from spst.alphabet import Alphabet, build_alphabet
from spst.arrangement import arrange
from spst.arrays import IntArray, Mask, frozen
from spst.automaton import Automaton, build_automaton
from spst.counts import Successors, WordCounts, count_words, find_contexts
from spst.errors import EventsError, HyperparameterError, SpstError
from spst.events import Events
from spst.model import Model
from spst.pattern import Pattern
from spst.scoring import Outcomes, OutcomeTable, Score, ThresholdCurve, score_at, tabulate_outcomes, threshold_curve
from spst.symbols import SymbolCache, Symbols, encode, join
from spst.table import as_number
from spst.tree import MAX_HORIZON, MAX_ORDER, Hyperparameters, Tree, learn
from spst.waiting import detection_within, waiting_times, within

Policy = Literal["overlap", "nonoverlap"]


@dataclass(frozen=True)
class TrainingSet:
    """Everything that fitting and scoring need of some events; made by `prepare`.

    Attributes
    ----------
    pattern, alphabet, automaton
        What the events were reduced with.
    words : WordCounts
    outcomes : OutcomeTable
    evaluation : str
        "in-sample", "holdout:SHARE" or "last-bucket".
    learns, scores : bool, shape (n_buckets,)
        Buckets whose counts are learnt from, and whose forecasts are scored.
    forecast_at_detection : bool
    n_events, rows, rows_skipped : int
    first_timestamp, last_timestamp : float or None
    """

    pattern: Pattern
    alphabet: Alphabet
    automaton: Automaton
    words: WordCounts
    outcomes: OutcomeTable
    evaluation: str
    learns: Mask
    scores: Mask
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
        alphabet: Literal["declared", "satisfiable"] = "declared",
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
            Several are buckets of one stream, in this order; contexts and automaton run on across them.
        order : int, 0..12
            Longest contexts that may be asked for.
        k_max : int, 1 or more
            Longest horizon that may be scored.
        evaluation : "in-sample", "holdout:SHARE" or "last-bucket"
            Learn from all events and score all; or score the last share of the events, or the last bucket, and learn from
            those before.
        max_bad_rows : float, 0..1
            Share of rows that may be bad; they are skipped.
        cache, keys : SymbolCache and one key per bucket
            Re-use a bucket's symbols. A key stands for the bucket's content; alphabet and partition are added to it here.
        progress : called with the number of rows read so far in the bucket

        Raises
        ------
        SpstError
            The events cannot be read or are too bad, the alphabet or automaton explodes, an argument is out of its range.
        """
        buckets = [events] if isinstance(events, Events) else list(events)
        order, k_max = _checked("order", order, 0, MAX_ORDER), _checked("k_max", k_max, 1, MAX_HORIZON)
        symbol_set = build_alphabet(pattern, mode=alphabet)
        automaton = build_automaton(pattern, symbol_set, policy=policy, minimise=minimise)
        streams = [
            _encoded(bucket, symbol_set, pattern.partition_by, cache, key, progress)
            for bucket, key in zip(buckets, keys or [None] * len(buckets), strict=True)
        ]
        stream = join(streams)
        stream.check(max_bad_rows)
        parts, learns, scores = _split([len(each.symbols) for each in streams], evaluation)
        words, outcomes = tabulate(stream, parts, automaton, order, k_max)
        first, last = stream.timestamps or (None, None)
        return cls(
            *(pattern, symbol_set, automaton, words, outcomes, evaluation, frozen(learns), frozen(scores)),
            *(forecast_at_detection, stream.n_events, stream.rows, stream.rows_skipped, first, last),
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
        """Bytes held, what was derived for the evaluation included."""
        return _nbytes(self.words) + _nbytes(self.outcomes) + _nbytes(self._counts) + _nbytes(self._outcomes)

    def in_sample(self) -> TrainingSet:
        """The same events, learning from all and scoring all."""
        everything = frozen(np.ones_like(self.learns))
        return replace(self, evaluation="in-sample", learns=everything, scores=everything)

    @cached_property
    def _counts(self) -> Successors:
        return self.words.of(self.learns)

    @cached_property
    def _outcomes(self) -> Outcomes:
        return self.outcomes.of(self.scores, self.automaton.finals, self.forecast_at_detection)

    def fit(self, hyperparameters: Hyperparameters, provenance: Mapping[str, object] | None = None) -> Model:
        """Learn a model.

        Raises
        ------
        HyperparameterError
            The order is beyond the prepared one, or gamma too large for the alphabet.
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
        """The confusion counts that every threshold would give a model; raises as `score` does."""
        self._check_fits(model)
        k = model.hyperparameters.k
        return self._curve(self._states(model.tree), detection_within(model.tree, model.automaton, k), k)

    def _check_fits(self, model: Model) -> None:
        if not (_same(model.alphabet, self.alphabet) and _same(model.automaton, self.automaton)):
            raise SpstError("the model has another alphabet or automaton than the training set: its pattern differs")
        if model.tree.order > self.order:
            raise HyperparameterError(f"the model's order is {model.tree.order}; prepared was order {self.order}")
        _checked("k", model.hyperparameters.k, 1, self.k_max)

    def _states(self, tree: Tree) -> IntArray:
        """int32, shape (n_rows,): state of tree and automaton in every row of the outcomes."""
        return (
            tree.nodes_of(self.words.contexts)[self.outcomes.context] * len(self.automaton.finals) + self.outcomes.state
        )

    def _curve(self, states: IntArray, probability: npt.NDArray[np.float64], k: int) -> ThresholdCurve:
        outcomes, n_states = self._outcomes, len(probability)
        hits = np.bincount(states, weights=outcomes.hits(k), minlength=n_states)
        return threshold_curve(probability, hits, np.bincount(states, weights=outcomes.total, minlength=n_states))

    def sweep(self, sets: Iterable[Hyperparameters] | Mapping[str, Sequence[float] | float]) -> SweepTable:
        """Fit and score many hyperparameters, sharing what they share: one tree for all thresholds and horizons.

        Parameters
        ----------
        sets : hyperparameters, or a grid: name -> values, of which every combination is tried

        Raises
        ------
        HyperparameterError
            As `fit` and `score` do; nothing is returned then.
        """
        tried = tuple(_grid(sets) if isinstance(sets, Mapping) else sets)
        of_tree: dict[tuple[float, ...], dict[int, list[int]]] = {}
        for place, each in enumerate(tried):
            _checked("k", each.k, 1, self.k_max)
            key = (each.order, each.p_min, each.gamma, each.alpha, each.r)
            of_tree.setdefault(key, {}).setdefault(each.k, []).append(place)
        scores: dict[int, Score] = {}
        for of_horizon in of_tree.values():
            tree = learn(self._counts, tried[next(iter(of_horizon.values()))[0]])
            states, waiting = self._states(tree), waiting_times(tree, self.automaton, max(of_horizon))
            for k, places in of_horizon.items():
                curve = self._curve(states, within(waiting, k), k)
                detections = self._outcomes.detections
                scores |= {place: score_at(curve, tried[place].threshold, detections) for place in places}
        return SweepTable(tried, tuple(scores[place] for place in range(len(tried))))


@dataclass(frozen=True)
class SweepTable:
    """What a sweep found: one score for each set of hyperparameters, in the order in which they were given."""

    hyperparameters: tuple[Hyperparameters, ...]
    scores: tuple[Score, ...]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> int:
        """Place of the highest MCC; of several the first."""
        return max(range(len(self)), key=lambda place: (self.scores[place].mcc, -place))

    def rows(self) -> list[dict[str, float | None]]:
        """Plain data, ready for JSON: hyperparameters and score of each set."""
        return [
            {**tried.as_dict(), **score.as_dict()}
            for tried, score in zip(self.hyperparameters, self.scores, strict=True)
        ]


def _grid(values: Mapping[str, Sequence[float] | float]) -> Iterable[Hyperparameters]:
    lists = [value if isinstance(value, Sequence) else [value] for value in values.values()]
    names = {entry.name for entry in fields(Hyperparameters)}
    required = {entry.name for entry in fields(Hyperparameters) if entry.default is MISSING}
    if not required <= set(values) <= names:
        raise HyperparameterError(f"a grid needs {sorted(required)} and may have {sorted(names)}, not {sorted(values)}")
    return (Hyperparameters(**dict(zip(values, chosen, strict=True))) for chosen in product(*lists))


def _checked(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise HyperparameterError(f"{name} must be from {low} to {high} here, not {value}")
    return value


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

    return (
        make()
        if cache is None or key is None
        else cache.get((key, alphabet.sentences, alphabet.truth.tobytes(), partition_by), make)
    )


def _split(sizes: Sequence[int], evaluation: str) -> tuple[list[int], Mask, Mask]:
    """Sizes of the parts of a stream that an evaluation tells apart, and which of them it learns from and scores."""
    mode, _, share = evaluation.partition(":")
    everything = np.ones(len(sizes), dtype=bool)
    if evaluation == "in-sample":
        return list(sizes), everything, everything
    if evaluation == "last-bucket":
        if len(sizes) < 2:
            raise EventsError("evaluation 'last-bucket' needs two buckets or more; there is one")
        last = np.arange(len(sizes)) == len(sizes) - 1
        return list(sizes), ~last, last
    scored = as_number(share)
    if mode != "holdout" or scored is None or not 0 < scored < 1:
        raise HyperparameterError(
            f"evaluation must be 'in-sample', 'last-bucket' or 'holdout:SHARE' with a share between 0 and 1, not {evaluation!r}"
        )
    ends = np.cumsum(sizes)
    cut = int(ends[-1]) - round(scored * int(ends[-1]))
    bounds = np.union1d(ends, cut)
    after = bounds > cut
    return np.diff(bounds, prepend=0).tolist(), ~after, after


def tabulate(
    stream: Symbols, bucket_sizes: Sequence[int], automaton: Automaton, order: int, k_max: int
) -> tuple[WordCounts, OutcomeTable]:
    """The one pass over a stream: contexts, automaton states, distances to detections, and their counts by bucket."""
    arranged = arrange(stream, bucket_sizes)
    contexts, longest = find_contexts(arranged, order)
    words = count_words(arranged, contexts, longest)
    states = automaton.run(arranged.symbols, arranged.starts)
    return words, tabulate_outcomes(arranged, longest, states, automaton.finals, k_max)


def _same(one: Alphabet | Automaton, other: Alphabet | Automaton) -> bool:
    """Whether two alphabets or automata mean the same by the same numbers."""
    return one is other or all(np.array_equal(vars(one)[name], vars(other)[name]) for name in _PARTS[type(one)])


_PARTS = {Alphabet: ("sentences", "truth"), Automaton: ("transitions", "finals")}


def _nbytes(table: object) -> int:
    """Bytes of the arrays that a table of counts holds."""
    return sum(_array_bytes(value) for value in vars(table).values())


def _array_bytes(value: object) -> int:
    if isinstance(value, csr_array):
        return int(value.data.nbytes + value.indices.nbytes + value.indptr.nbytes)
    return value.nbytes if isinstance(value, np.ndarray) else 0
