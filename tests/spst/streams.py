"""Random streams of symbols with partitions, resets and buckets, random automata, and training sets made of both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

import spst
from spst.alphabet import Alphabet, build_alphabet
from spst.automaton import Automaton
from spst.evaluation import split
from spst.pattern import Pattern
from spst.symbols import Symbols, join
from spst.training import TrainingSet, tabulate
from tests import naive

PARTITIONS = ("a", "b", "c")


@cache
def letters(n_symbols: int) -> tuple[Pattern, Alphabet]:
    """A pattern over single letters whose alphabet has exactly so many symbols."""
    names = ",".join(f"IsEventTypePredicate(L{letter})" for letter in range(n_symbols - 1))
    pattern = spst.parse_pattern("IsEventTypePredicate(L0){order:1}", f"+({names}) ~({names})")
    return pattern, build_alphabet(pattern)


class Stream(NamedTuple):
    """A stream in two forms: rows for the naive twins, and one `Symbols` per bucket for the library."""

    n_symbols: int
    rows: tuple[naive.Row, ...]
    buckets: tuple[Symbols, ...]


def stream_of(rows: Sequence[naive.Row], n_symbols: int, n_buckets: int) -> Stream:
    buckets = []
    for bucket in range(n_buckets):
        mine = [row for row in rows if row.bucket == bucket]
        symbols = np.array([n_symbols if row.symbol is None else row.symbol for row in mine], dtype=np.uint8)
        values = tuple(dict.fromkeys(row.partition for row in mine))
        codes = np.array([values.index(row.partition) for row in mine], dtype=np.int32)
        n_events = sum(row.symbol is not None for row in mine)
        buckets.append(Symbols(symbols, codes, values, n_symbols, n_events, len(mine), 0, None, None))
    return Stream(n_symbols, tuple(rows), tuple(buckets))


@st.composite
def streams(draw: st.DrawFn, max_rows: int = 60, max_buckets: int = 3) -> Stream:
    n_symbols = draw(st.integers(2, 4))
    rows, n_buckets = [], draw(st.integers(1, max_buckets))
    symbol = st.sampled_from([*range(n_symbols)] * 4 + [None])
    for bucket in range(n_buckets):
        drawn = draw(st.lists(st.tuples(st.sampled_from(PARTITIONS), symbol), max_size=max_rows))
        rows += [naive.Row(partition, letter, bucket) for partition, letter in drawn]
    return stream_of(rows, n_symbols, n_buckets)


@st.composite
def automata(draw: st.DrawFn, n_symbols: int) -> naive.Automaton:
    """Any complete automaton, detections in any of its states."""
    n_states = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, n_states - 1), min_size=n_symbols, max_size=n_symbols)
    return naive.Automaton(
        draw(st.lists(row, min_size=n_states, max_size=n_states)),
        draw(st.lists(st.booleans(), min_size=n_states, max_size=n_states)),
    )


def hyperparameters(order: int = 3, k: int = 4, n_symbols: int = 4) -> st.SearchStrategy[spst.Hyperparameters]:
    return st.builds(
        spst.Hyperparameters,
        order=st.integers(0, order),
        p_min=st.sampled_from([0.0, 0.02, 0.1, 0.3]),
        gamma=st.sampled_from([0.0, 0.01, 0.1, 1 / n_symbols]),
        alpha=st.sampled_from([0.0, 0.001, 2.0]),
        r=st.sampled_from([1.0, 1.05, 1.7]),
        threshold=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]),
        k=st.integers(1, k),
    )


def prepared(
    stream: Stream,
    automaton: naive.Automaton,
    order: int,
    k_max: int,
    evaluation: str = "in-sample",
    at_detection: bool = True,
) -> TrainingSet:
    """A training set straight from symbols, with an automaton of its own."""
    pattern, alphabet = letters(stream.n_symbols)
    machine = Automaton(np.array(automaton.transitions, dtype=np.int32), np.array(automaton.finals, dtype=bool))
    whole, cut = join(stream.buckets), split(evaluation, [len(bucket.symbols) for bucket in stream.buckets])
    tables = tabulate(whole, cut.sizes, machine, order, k_max)
    span = whole.timestamps or (None, None)
    counts = (whole.n_events, whole.rows, whole.rows_skipped)
    return TrainingSet(pattern, alphabet, machine, *tables, cut, at_detection, *counts, *span)
