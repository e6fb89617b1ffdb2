"""Counts of words against the naive twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spst import keys as keys_module
from spst.arrangement import arrange
from spst.counts import WordCounts, count_words, find_contexts
from spst.keys import Keys
from spst.symbols import join
from tests import naive
from tests.spst.streams import Stream, stream_of, streams


def counted(stream: Stream, order: int) -> WordCounts:
    arranged = arrange(join(stream.buckets), [len(bucket.symbols) for bucket in stream.buckets])
    return count_words(arranged, *find_contexts(arranged, order))


@given(stream=streams(), order=st.integers(0, 4), chosen=st.sets(st.integers(0, 2)))
def test_counts_of_some_buckets_agree_with_the_naive_twin(stream: Stream, order: int, chosen: set[int]) -> None:
    words = counted(stream, order)
    counts = words.of(np.array([bucket in chosen for bucket in range(len(stream.buckets))]))
    expected = naive.count_words(stream.rows, order + 1, chosen)
    labels = [counts.contexts.word(row) for row in range(len(counts.contexts))]
    ours = {
        naive.then(labels[row], symbol): count
        for row, symbol, count in zip(counts.row.tolist(), counts.symbol.tolist(), counts.count.tolist(), strict=True)
    }
    assert ours == {word: count for word, count in expected.items() if word}
    assert counts.total == expected[()]
    for row, label in enumerate(labels):
        if expected[label]:
            places = max(expected[()] - len(label) + 1, 1)  # fewer only if the bucket where the word began is left out
            assert counts.probability[row] == expected[label] / places


@given(stream=streams(), order=st.integers(1, 4))
def test_contexts_are_a_trie_sorted_by_level(stream: Stream, order: int) -> None:
    contexts = counted(stream, order).contexts
    labels = [contexts.word(row) for row in range(len(contexts))]
    assert len(set(labels)) == len(labels)
    assert list(map(len, labels)) == contexts.length.tolist() == sorted(map(len, labels))
    for row in range(1, len(contexts)):
        assert labels[row][:-1] == labels[contexts.parent[row]]
    for length in range(1, order + 1):
        level = contexts.level(length)
        pairs = list(zip(contexts.parent[level].tolist(), contexts.oldest[level].tolist(), strict=True))
        assert pairs == sorted(pairs)


def test_longest_context_grows_at_a_start_and_never_reaches_over_a_reset() -> None:
    rows = [naive.Row("a", symbol) for symbol in (0, 1, 1, None, 1, 0)]
    arranged = arrange(join(stream_of(rows, 2, 1).buckets), [len(rows)])
    contexts, longest = find_contexts(arranged, 2)
    assert [contexts.word(row) for row in longest] == [(0,), (1, 0), (1, 1), (1,), (0, 1)]


def test_arrays_are_read_only() -> None:
    contexts = counted(stream_of([naive.Row("a", 0)], 2, 1), 1).contexts
    with pytest.raises(ValueError, match="read-only"):
        contexts.parent[0] = 1


columns = st.integers(0, 30).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, high), min_size=n, max_size=n) for high in (3, 9, 1)))
)


@pytest.mark.parametrize("dense_factor", [0, 16], ids=["sorted", "looked up"])
@pytest.mark.parametrize("block", [3, 1 << 16])
@given(columns=columns)
def test_keys_are_ranked_and_tallied(columns: tuple[list[int], ...], dense_factor: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys_module, "DENSE_FACTOR", dense_factor)
        patch.setattr(keys_module, "BLOCK", block)
        arrays = [np.array(column, dtype=np.uint8) for column in columns]
        keys = Keys(*zip(arrays, (4, 10, 2), strict=True))
        distinct = sorted(set(zip(*columns, strict=True)))
        tallied, times = keys.tally()
        assert list(zip(*(column.tolist() for column in tallied), strict=True)) == distinct
        assert times.tolist() == [list(zip(*columns, strict=True)).count(key) for key in distinct]
        places = np.zeros(len(arrays[0]), dtype=np.int32)
        ranked = keys.rank(places)
        assert list(zip(*(column.tolist() for column in ranked), strict=True)) == distinct
        assert [distinct[place] for place in places] == list(zip(*columns, strict=True))


def test_keys_may_be_ranked_in_place() -> None:
    first, second = np.array([0, 1, 1, 0], dtype=np.int32), np.array([0, 2, 2, 1], dtype=np.uint8)
    Keys((first, 2), (second, 3)).rank(first)
    assert first.tolist() == [0, 2, 2, 1]
