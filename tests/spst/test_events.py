"""Reading events: every format, what is missing, what is bad."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import spst
from spst.events import Batch, Events, read_events
from spst.table import Kind, Text, as_number

NEEDED: dict[str, Kind] = {"value": "number", "name": "text"}
HEADER = "timestamp,type,owner,value,name\n"
ROWS = "1,A,x,1.5,p\n2,B,y,-2,q\n-1,RESET,x,,\n3,A,x,3e2,p\n"


def source(text: str) -> io.BytesIO:
    return io.BytesIO(text.encode())


def rows(
    events: Events, needed: Mapping[str, Kind] = NEEDED, partition_by: str | None = "owner"
) -> list[tuple[Any, ...]]:
    """One tuple for each event and reset row: its partition, then the needed values; a reset row has no values."""
    made: list[tuple[Any, ...]] = []
    for batch in events.batches(needed, partition_by):
        values = zip(*(np.asarray(column).tolist() for column in batch.columns.values()), strict=True)
        owners = np.asarray(batch.partition).tolist() if batch.partition is not None else [""] * len(batch.is_event)
        made += [(owner, *(next(values) if event else ())) for owner, event in zip(owners, batch.is_event, strict=True)]
        assert next(values, None) is None
    return made


def totals(events: Events, needed: Mapping[str, Kind] = NEEDED, partition_by: str | None = "owner") -> tuple[int, int]:
    batches = list(events.batches(needed, partition_by))
    for batch in batches:
        assert batch.skipped == np.count_nonzero(batch.is_bad)
        assert len(batch.is_bad) == batch.rows == batch.skipped + len(batch.is_event)
    return sum(batch.rows for batch in batches), sum(batch.skipped for batch in batches)


EXPECTED = [("x", 1.5, "p"), ("y", -2.0, "q"), ("x",), ("x", 300.0, "p")]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROWS,
        (HEADER + ROWS).replace("\n", "\r\n"),
        "\ufeff" + HEADER + ROWS,
        HEADER + ROWS.rstrip("\n"),
        HEADER + ROWS.replace("\n", "\n\n"),
        HEADER + ROWS.replace("1,A,x,1.5,p", '1,A,"x","1.5","p"'),
        "name,value,owner,ignored,type,timestamp\np,1.5,x,9,A,1\nq,-2,y,9,B,2\n,,x,,RESET,-1\np,3e2,x,9,A,3\n",
    ],
    ids=["plain", "crlf", "byte-order-mark", "no-last-newline", "blank-lines", "quoted", "other-order"],
)
def test_csv_is_read(text: str) -> None:
    assert rows(read_events(source(text))) == EXPECTED


def test_json_lines_are_read_with_numbers_as_partition() -> None:
    lines = [
        {"timestamp": 1, "type": "A", "owner": 7, "value": 1.5, "name": "p", "more": [1]},
        {"timestamp": 2, "type": "A", "owner": 8, "value": 2, "name": "q"},
        {"timestamp": -1, "type": "RESET", "owner": 7},
        {"name": "p", "value": 300, "owner": 7, "type": "A", "timestamp": 3},
    ]
    text = "\n".join(map(json.dumps, lines))
    assert rows(read_events(source(text))) == [("7", 1.5, "p"), ("8", 2.0, "q"), ("7",), ("7", 300.0, "p")]


def test_csv_without_header_takes_the_columns_given() -> None:
    names = HEADER.strip().split(",")
    assert rows(read_events(source(ROWS), names)) == EXPECTED
    assert rows(read_events(source(HEADER + ROWS), names)) == EXPECTED


def test_gzip_is_told_by_its_content(tmp_path: Path) -> None:
    packed = gzip.compress((HEADER + ROWS).encode())
    (tmp_path / "events").write_bytes(packed)
    assert rows(read_events(tmp_path / "events")) == EXPECTED
    assert rows(read_events(io.BytesIO(packed))) == EXPECTED


def test_path_can_be_read_again_and_a_file_object_once(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(HEADER + ROWS)
    events = read_events(str(tmp_path / "events.csv"))
    assert rows(events) == rows(events) == EXPECTED
    once = read_events(source(HEADER + ROWS))
    assert rows(once) == EXPECTED
    with pytest.raises(spst.EventsError, match="can be read once"):
        rows(once)


def test_open_file_of_the_system_is_read(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(HEADER + ROWS)
    with (tmp_path / "events.csv").open("rb") as file:
        assert rows(read_events(file)) == EXPECTED


def test_pipe_is_read_once() -> None:
    for content in ((HEADER + ROWS).encode(), gzip.compress((HEADER + ROWS).encode())):
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        events = read_events(f"/dev/fd/{reading}")
        assert rows(events) == EXPECTED
        with pytest.raises(spst.EventsError, match="can be read once"):
            rows(events)
        os.close(reading)


def test_text_file_is_refused() -> None:
    with pytest.raises(spst.EventsError, match="binary mode"):
        read_events(io.StringIO(HEADER))  # type: ignore[arg-type]


def test_header_alone_is_no_event() -> None:
    assert rows(read_events(source(HEADER))) == []
    assert rows(read_events(source(""), ["value", "name", "owner"])) == []


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", None, "is empty"),
        ("1,2,3\n", None, "no header line"),
        ("a,b,a\n", None, "names a column twice"),
        ("1,2,3\n", ["a", "b"], "expected 2 columns, found 3"),
        ("{broken\n", None, "holds no JSON object"),
        ("a,b\r1,2\r3,4\r", None, "no CSV with lines that end in"),
        ("a,b\r1,2\r3,4\r", ["a", "b"], "no CSV with lines that end in"),
    ],
)
def test_first_line_that_tells_no_columns_is_refused(text: str, columns: list[str] | None, message: str) -> None:
    with pytest.raises(spst.EventsError, match=message):
        read_events(source(text), columns)


def test_missing_column_is_an_error_before_anything_is_read() -> None:
    events = read_events(source("timestamp,value\n1,2\n"))
    with pytest.raises(spst.EventsError, match="column 'name' is needed, but there are only timestamp, value"):
        events.batches(NEEDED)
    with pytest.raises(spst.EventsError, match="column 'owner' is needed"):
        events.batches({"value": "number"}, "owner")
    assert len(rows(events, {"value": "number"}, None)) == 1


def test_unreadable_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(spst.EventsError, match=r"none\.csv: cannot be read"):
        read_events(tmp_path / "none.csv")
    packed = gzip.compress((HEADER + ROWS * 10_000).encode())
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(spst.EventsError, match=r"cut\.gz: cannot be read"):
        rows(read_events(tmp_path / "cut.gz"))


def test_type_defaults_and_attribute_names_of_columns() -> None:
    plain = read_events(source("timestamp,value\n5,1\n"))
    assert rows(plain, {"type": "text", "Timestamp": "number", "EventType": "text"}, None) == [
        ("", "SampledCritical", 5.0, "SampledCritical")
    ]
    named = read_events(source("EventType,type\na,b\n"))
    assert rows(named, {"EventType": "text", "type": "text"}, None) == [("", "a", "b")]


def test_columns_called_as_the_attributes_stand_for_missing_ones() -> None:
    table = [(5, "A"), (-1, "A"), (6, "RESET"), (7, "B")]
    text = "Timestamp,EventType\n" + "".join(f"{stamp},{kind}\n" for stamp, kind in table)
    lines = "".join(json.dumps({"Timestamp": stamp, "EventType": kind}) + "\n" for stamp, kind in table)
    needed: dict[str, Kind] = {"type": "text", "timestamp": "number", "EventType": "text"}
    expected = [("A", "A", 5.0, "A"), ("A",), ("RESET",), ("B", "B", 7.0, "B")]
    for either in (text, lines):
        assert rows(read_events(source(either)), needed, "EventType") == expected


def test_first_of_alternative_columns_is_taken() -> None:
    needed: dict[str, Kind] = {"heading|cog": "number"}
    assert rows(read_events(source("cog\n5\n")), needed, None) == [("", 5.0)]
    assert rows(read_events(source("cog,heading\n5,6\n")), needed, None) == [("", 6.0)]
    with pytest.raises(spst.EventsError, match=r"heading\|cog"):
        read_events(source("course\n5\n")).batches(needed)


def test_column_may_be_partition_and_number_at_once() -> None:
    events = read_events(source("value\n5\n7\n5\n"))
    assert rows(events, {"value": "number"}, "value") == [("5", 5.0), ("7", 7.0), ("5", 5.0)]


@pytest.mark.parametrize("line", ["-1,A,x,1,p", "-1.0,A,x,,", "4,RESET,x,,", "4,RESET,x,oops,"])
def test_reset_rows_need_nothing_but_their_partition(line: str) -> None:
    assert rows(read_events(source(f"{HEADER}{line}\n"))) == [("x",)]
    assert totals(read_events(source(f"{HEADER}{line.replace('x', '')}\n"))) == (1, 1)


def test_timestamps_tell_the_span_of_the_events() -> None:
    def span(text: str) -> tuple[float, float] | None:
        (batch,) = read_events(source(f"timestamp,value\n{text}")).batches({"value": "number"})
        return batch.timestamps

    assert span("7,1\n-1,1\n3,1\n,1\n") == (3, 7)
    assert span("-1,1\n") is None
    assert span("2020-12-01T00:00:00,1\n2020-12-01T00:00:01,1\n") is None
    (batch,) = read_events(source("value\n1\n")).batches({"value": "number"})
    assert batch.timestamps is None


def test_dates_as_timestamps_do_not_hide_reset_rows() -> None:
    text = "timestamp,value\n2020-12-01,1\n-1,\n2020-12-02,2\n"
    assert rows(read_events(source(text)), {"value": "number"}, None) == [("", 1.0), ("",), ("", 2.0)]


BAD = {
    "empty number": "5,A,x,,p",
    "text for a number": "5,A,x,high,p",
    "NaN": "5,A,x,nan,p",
    "NA": "5,A,x,NA,p",
    "empty text": "5,A,x,1,",
    "no partition": "5,A,,1,p",
    "too few fields": "5,A,x,1",
    "too many fields": "5,A,x,1,p,9",
    "underscore": "5,A,x,1_0,p",
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_bad_row_is_skipped_counted_and_shown(line: str) -> None:
    text = f"{HEADER}{ROWS}\n{line}\n{ROWS}{line}\n"
    (batch,) = read_events(source(text)).batches(NEEDED, "owner")
    assert (batch.rows, batch.skipped) == (10, 2)
    assert batch.first_bad is not None
    assert (batch.first_bad.line, batch.first_bad.text) == (7, line)
    assert rows(read_events(source(text))) == EXPECTED * 2


@pytest.mark.parametrize("value", ["+5", " 5 ", "5.", ".5", "1e3", "-0", "inf", "-Infinity", "5"])
def test_numbers_may_be_spelt_in_any_usual_way(value: str) -> None:
    for other in ("1", "x"):  # a value that does not convert makes its block go the slow way
        made = rows(read_events(source(f"value\n{value}\n{other}\n")), {"value": "number"}, None)
        assert made[0] == ("", float(value))


def test_position_must_be_finite_and_other_numbers_need_not() -> None:
    text = "lon,lat,speed\n1,2,inf\ninf,2,3\n1,-inf,3\n"
    needed: dict[str, Kind] = {"lon": "number", "lat": "number", "speed": "number"}
    assert totals(read_events(source(text)), needed, None) == (3, 2)
    assert rows(read_events(source(text)), needed, None) == [("", 1.0, 2.0, math.inf)]


@pytest.mark.parametrize("value", ['"high"', "null", "true", "[1]", '""'])
def test_json_value_of_another_kind_is_bad(value: str) -> None:
    lines = f'{{"value": 1, "name": "p"}}\n{{"value": {value}, "name": "p"}}\n{{"name": "p"}}\nnot json\n'
    events = read_events(source(lines))
    (batch,) = events.batches(NEEDED)
    assert (batch.rows, batch.skipped) == (4, 3)
    assert batch.first_bad is not None
    assert batch.first_bad.line == 2


def test_json_lines_may_lack_a_column_at_first_if_the_caller_names_it() -> None:
    text = '{"timestamp": -1}\n{"timestamp": 1, "value": 5, "name": "p"}\n'
    with pytest.raises(spst.EventsError, match="'value' is needed"):
        rows(read_events(source(text)), partition_by=None)
    assert rows(read_events(source(text), ["value", "name"]), partition_by=None) == [("",), ("", 5.0, "p")]


def test_json_number_written_as_text_is_a_number() -> None:
    assert rows(read_events(source('{"value": 1, "name": "p"}\n{"value": "2.5", "name": "q"}\n')), NEEDED, None) == [
        ("", 1.0, "p"),
        ("", 2.5, "q"),
    ]


def test_bad_row_of_a_span_is_shown_with_its_line_in_the_file(tmp_path: Path) -> None:
    path, first = tmp_path / "events.csv", ROWS * 3
    path.write_text(HEADER + first + "5,A,x,,p\n")
    events = read_events(path, start=len(HEADER) + len(ROWS) * 2)
    (batch,) = events.batches(NEEDED, "owner")
    assert batch.first_bad is not None
    assert batch.first_bad.line == 14


CELLS = ["1", "2.5", "", "x", "nan", "RESET", "-1", "1e400", "+3"]
lines = st.lists(st.lists(st.sampled_from(CELLS), min_size=1, max_size=6), max_size=30)


@given(table=lines, block_bytes=st.integers(1, 200))
def test_reading_agrees_with_the_naive_reader_for_any_block_size(table: list[list[str]], block_bytes: int) -> None:
    text = HEADER + "".join(f"{','.join(cells)}\n" for cells in table)
    expected, bad = naive_rows(text)
    assert rows(read_events(source(text), block_bytes=block_bytes)) == expected
    assert totals(read_events(source(text), block_bytes=block_bytes)) == (len(expected) + len(bad), len(bad))
    batches = read_events(source(text), block_bytes=block_bytes).batches(NEEDED, "owner")
    shown = [(batch.first_bad.line, batch.first_bad.text) for batch in batches if batch.first_bad]
    assert shown == bad[:1]


def naive_rows(text: str) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]]]:
    """Rows as `rows` gives them, and the number and text of every bad line; cell by cell."""
    names, *lines = text.split("\n")
    made: list[tuple[Any, ...]] = []
    bad = []
    for number, line in enumerate(lines, start=2):
        fields = next(csv.reader([line]), [])
        cells = dict(zip(names.split(","), fields, strict=False))
        if not line:
            continue
        reset = cells.get("type") == "RESET" or _number(cells.get("timestamp", "")) == -1
        value = _number(cells.get("value", ""))
        whole = len(fields) == 5 and cells["owner"] != ""
        if whole and reset:
            made.append((cells["owner"],))
        elif whole and not math.isnan(value) and cells["name"]:
            made.append((cells["owner"], value, cells["name"]))
        else:
            bad.append((number, line))
    return made, bad


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5), block_bytes=st.integers(1, 80))
def test_spans_of_a_file_are_its_parts(
    tmp_path_factory: pytest.TempPathFactory, sizes: Sequence[int], block_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("spans") / "events.csv"
    parts = ["".join(f"{i},A,x,{i},p{part}\n" for i in range(size)) for part, size in enumerate(sizes)]
    path.write_text(HEADER + "".join(parts))
    start = 0
    for number, part in enumerate(parts):
        length = len(part) + (len(HEADER) if number == 0 else 0)
        events = read_events(path, start=start, length=length, block_bytes=block_bytes)
        assert rows(events) == [("x", float(i), f"p{number}") for i in range(sizes[number])]
        start += length


def test_columns_in_memory() -> None:
    events = Events.from_columns(
        {
            "timestamp": [1, 2, -1, 3],
            "owner": [7, 8, 7, 7],
            "value": ["1.5", -2, math.nan, 300.0],
            "name": np.array(["p", "q", "", None], dtype=object),
        }
    )
    (batch,) = events.batches(NEEDED, "owner")
    assert rows(events) == [("7", 1.5, "p"), ("8", -2.0, "q"), ("7",)]
    assert batch.first_bad is not None
    assert batch.first_bad.line == 4
    assert "owner=7" in batch.first_bad.text


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(spst.EventsError, match="same length"):
        Events.from_columns({"a": [1, 2], "b": [1]})
    with pytest.raises(spst.EventsError, match="one dimension"):
        Events.from_columns({"a": [[1, 2]]})


def test_batch_counts_hold_for_every_row_kind() -> None:
    (batch,) = read_events(source(HEADER + ROWS + "5,A,x,,p\n")).batches(NEEDED, "owner")
    assert isinstance(batch, Batch)
    assert batch.is_event.tolist() == [True, True, False, True]
    assert batch.is_bad.tolist() == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([7, 8, 7], ["7", "8", "7"]),
        (np.array([7, -8], dtype=np.int32), ["7", "-8"]),
        (np.array(["a", "b", "a"]), ["a", "b", "a"]),
        ([1.5, 2.0], ["1.5", "2.0"]),
        ([True, None, math.nan, "", b"x", 10**30], ["", "", "", "", "", str(10**30)]),
        ([], []),
    ],
)
def test_text_is_made_of_anything(values: Sequence[object], texts: list[str]) -> None:
    assert np.asarray(Text.of(values)).tolist() == texts


@given(st.lists(st.text(alphabet="0123456789+-.eEinfatyINF_ x\u0663"), max_size=5))
@example(["inf", "+Infinity", "1e400", "-.5", "5.", "1_0", "\u0663", "nan", "", "+-5", ".", "e5", "0x1"])
def test_texts_and_single_values_spell_the_same_numbers(texts: list[str]) -> None:
    alone = [as_number(text) for text in texts]
    np.testing.assert_array_equal(Text.of(texts).numbers(), [math.nan if n is None else n for n in alone])


def test_text_column_behaves_like_an_array() -> None:
    column = Text.of(["a", None, "b", 7, ""])
    assert (column == "a").tolist() == [True, False, False, False, False]
    assert (column != "a").tolist() == [False, True, True, True, True]
    assert (column == Text.of(["a", "a", "b", "b", ""])).tolist() == [True, False, True, False, True]
    assert np.isin(column, ["a", "7"]).tolist() == [True, False, False, True, False]
    assert np.asarray(column[2:]).tolist() == ["b", "7", ""]
    np.testing.assert_array_equal(column.numbers(), [math.nan, math.nan, math.nan, 7, math.nan])
    assert len(column) == 5
