"""Streams of symbols: encoded, joined, arranged and cached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spst
from spst.alphabet import build_alphabet
from spst.arrangement import arrange
from spst.symbols import SymbolCache, Symbols, encode, join
from tests import naive
from tests.spst.streams import Stream, streams

PATTERN = spst.parse_pattern(
    ";(EQ(value,1),EQ(value,2)){order:1}{partitionBy:owner}", "~(EQ(value,1),EQ(value,2)) +(EQ(value,3))"
)


def events(values: Sequence[object], owners: Sequence[object]) -> spst.Events:
    stamps = np.where([value is None for value in values], -1, np.arange(len(values)))
    numbers = [np.nan if value is None else value for value in values]
    return spst.Events.from_columns({"timestamp": stamps, "value": numbers, "owner": owners})


def encoded(values: Sequence[object], owners: Sequence[object]) -> Symbols:
    return encode(events(values, owners), build_alphabet(PATTERN), PATTERN.partition_by)


def test_encode_keeps_symbols_partitions_and_resets_in_order() -> None:
    stream = encoded([1, 2, None, 1], ["x", "y", "x", "y"])
    alphabet = build_alphabet(PATTERN)
    one, two = (int(alphabet.encode({"value": np.array([value])})[0]) for value in (1.0, 2.0))
    assert stream.symbols.tolist() == [one, two, len(alphabet), one]
    assert [stream.values[code] for code in stream.partitions] == ["x", "y", "x", "y"]  # type: ignore[union-attr]
    assert (stream.n_events, stream.rows, stream.rows_skipped, stream.timestamps) == (3, 4, 0, (0, 3))
    assert stream.nbytes >= 8
    assert not stream.symbols.flags.writeable


def test_too_many_bad_rows_are_an_error_that_shows_the_first() -> None:
    stream = encoded([1, "x", 2, "y"], ["a"] * 4)
    stream.check(0.5)
    with pytest.raises(
        spst.BadRowsError, match="2 of 4 rows lack a value that is needed; the first is line 2"
    ) as caught:
        stream.check(0.49)
    assert (caught.value.skipped, caught.value.rows, caught.value.line) == (2, 4, 2)
    assert "value=x" in caught.value.text


@pytest.mark.parametrize(("partitions", "size"), [(3, 1), (300, 2), (70_000, 4)])
def test_partition_codes_are_as_small_as_their_number_allows(partitions: int, size: int) -> None:
    stream = encoded([1.0] * partitions, list(range(partitions)))
    assert stream.partitions is not None
    assert stream.partitions.dtype.itemsize == size
    assert len(stream.values) == partitions


@given(streams())
def test_joined_parts_are_the_whole(stream: Stream) -> None:
    whole = join(stream.buckets)
    symbols = [stream.n_symbols if row.symbol is None else row.symbol for row in stream.rows]
    assert whole.symbols.tolist() == symbols
    assert whole.partitions is not None
    assert [whole.values[code] for code in whole.partitions] == [row.partition for row in stream.rows]
    assert whole.n_events == sum(row.symbol is not None for row in stream.rows)


@given(streams())
def test_arrangement_has_one_segment_for_every_run_between_resets(stream: Stream) -> None:
    arranged = arrange(join(stream.buckets), [len(bucket.symbols) for bucket in stream.buckets])
    segments: list[list[naive.Row]] = []
    ends, seen = [], 0
    for partition in dict.fromkeys(row.partition for row in stream.rows):
        segments.append([])
        for row in (row for row in stream.rows if row.partition == partition):
            if row.symbol is None:
                segments.append([])
            else:
                segments[-1].append(row)
                seen += 1
        ends.append(seen - 1)
    flat = [row for segment in segments for row in segment]
    assert arranged.symbols.tolist() == [row.symbol for row in flat]
    assert arranged.buckets.tolist() == [row.bucket for row in flat]
    full = [segment for segment in segments if segment]
    assert arranged.starts.tolist() == np.cumsum([0, *map(len, full)])[:-1].tolist()
    assert arranged.ends.tolist() == sorted({end for end in ends if end >= 0})


def one(n_events: int) -> Symbols:
    return Symbols(np.zeros(n_events, np.uint8), None, (), 2, n_events, n_events, 0, None, None)


def test_cache_makes_what_it_lacks_and_forgets_what_was_not_used() -> None:
    cache, made = SymbolCache(max_bytes=25), []

    def get(key: str, n_events: int = 10) -> None:
        cache.get(key, lambda: made.append(key) or one(n_events))  # type: ignore[func-returns-value]

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
    assert made == ["a", "b", "c", "b"]  # c pushed out b, not a, which was used since
    assert (len(cache), cache.nbytes) == (2, 20)


def test_cache_keeps_nothing_larger_than_itself() -> None:
    cache = SymbolCache(max_bytes=25)
    cache.get("small", lambda: one(10))
    assert cache.get("large", lambda: one(100)).n_events == 100
    assert (len(cache), cache.nbytes) == (1, 10)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40)), max_size=30))
def test_cache_never_holds_more_than_it_may(wanted: list[tuple[str, int]]) -> None:
    cache = SymbolCache(max_bytes=50)
    for key, size in wanted:
        cache.get((key, size), lambda size=size: one(size))  # type: ignore[misc]  # bound by default
        assert cache.nbytes <= 50
