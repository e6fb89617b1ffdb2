"""Buckets of every shape become one canonical dataset, or are refused with nothing left behind."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow import assembly, buckets, rows
from dataflow.assembly import Assembly, assemble
from dataflow.errors import Code, RequestRejected
from dataflow.state import Bucket

COLUMNS = ("timestamp", "mmsi", "speed")
HEADER = "timestamp,mmsi,speed\n"


class Sink:
    """A target in memory."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: memoryview) -> None:
        self.content += bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "buckets"
    path.mkdir()
    return path


def run(folder: Path, ids: list[int], columns: tuple[str, ...] | None = None) -> tuple[str, Assembly]:
    sink = Sink()
    assembly = assemble(folder, "b_", ids, columns, sink)
    assert assembly.bytes == len(sink.content)
    assert assembly.sha256 == hashlib.sha256(sink.content).hexdigest()
    return sink.content.decode(), assembly


def refused(
    folder: Path, ids: list[int], columns: tuple[str, ...] | None = None, prefix: str = "b_"
) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        assemble(folder, prefix, ids, columns, Sink())
    return caught.value


def test_assembly_copies_canonical_buckets_byte_for_byte_without_their_headers(folder: Path) -> None:
    (folder / "b_1").write_text(HEADER + "10,a,1.50\n11,b,2e3\n")
    (folder / "b_2").write_text(HEADER + "20,c,\n")
    content, assembly = run(folder, [1, 2])
    assert content == HEADER + "10,a,1.50\n11,b,2e3\n20,c,\n"
    assert assembly.buckets == (Bucket(id=1, start=21, bytes=19, rows=2), Bucket(id=2, start=40, bytes=6, rows=1))
    assert (assembly.rows, assembly.first_timestamp, assembly.last_timestamp) == (3, 10, 20)


@pytest.mark.parametrize(
    ("content", "columns", "expected"),
    [
        ("10,a,1\n11,b,2\n", COLUMNS, "10,a,1\n11,b,2\n"),
        (HEADER + "10,a,1\n11,b,2", None, "10,a,1\n11,b,2\n"),
        ((HEADER + "10,a,1\n11,b,2\n").replace("\n", "\r\n"), None, "10,a,1\n11,b,2\n"),
        ((HEADER + "10,a,1\n11,b,2").replace("\n", "\r\n"), COLUMNS, "10,a,1\n11,b,2\n"),
        ("\ufeff" + HEADER + "10,a,1\n", None, "10,a,1\n"),
        ("\n \n" + HEADER + "\n10,a,1\n\n\n11,b,2\n\n", None, "10,a,1\n11,b,2\n"),
        ("speed,timestamp,mmsi\n1,10,a\n", COLUMNS, "10,a,1\n"),
        ("speed,extra,timestamp,mmsi\n1,x,10,a\n", COLUMNS, "10,a,1\n"),
        (HEADER + '10,"a",1\n11,"b,c",2\n12,"d""e",3\n', None, '10,a,1\n11,"b,c",2\n12,"d""e",3\n'),
        (HEADER + "10,größe,1\n", None, "10,größe,1\n"),
        ('{"timestamp": 10, "mmsi": "a", "speed": 1.50}\n', COLUMNS, "10,a,1.50\n"),
        ('{"timestamp": 10, "mmsi": "a", "speed": 1e400, "x": [1]}', COLUMNS, "10,a,1e400\n"),
        ('{"timestamp":10,"mmsi":"a","speed":1}\r\n\n{"speed":null,"timestamp":11}\n', None, "10,a,1\n11,,\n"),
        ('{"timestamp":10,"mmsi":"a,\\"b\\"\\u2028","speed":true}\n', None, '10,"a,""b""\u2028",true\n'),
        ("10,a,1\r\n", COLUMNS, "10,a,1\n"),
    ],
)
def test_assembly_makes_every_format_canonical(
    folder: Path, content: str, columns: tuple[str, ...] | None, expected: str
) -> None:
    (folder / "b_1").write_bytes(content.encode())
    assert run(folder, [1], columns)[0] == HEADER + expected


@pytest.mark.parametrize(
    ("times", "span"),
    [
        (["10", "12.5", "20"], (10, 20)),
        (["10.5", "20"], (10.5, 20)),
        (["-1", "20"], (20, 20)),  # a reset row
        (["x", "1e400", "20"], (20, 20)),
        (["", "nan"], (None, None)),
    ],
)
def test_assembly_tells_the_time_span_from_its_edges(
    folder: Path, times: list[str], span: tuple[float | None, float | None]
) -> None:
    (folder / "b_1").write_text("a,Timestamp\n" + "".join(f"x,{time}\n" for time in times))
    assembly = run(folder, [1])[1]
    assert (assembly.first_timestamp, assembly.last_timestamp) == span


def test_assembly_without_timestamps_has_no_time_span(folder: Path) -> None:
    (folder / "b_1").write_text("a\nx\n")
    assert run(folder, [1])[1].first_timestamp is None


def test_assembly_drops_blank_lines_of_a_single_column(folder: Path) -> None:
    (folder / "b_1").write_text("a\n1\n\n2\n")
    assert run(folder, [1])[0] == "a\n1\n2\n"


def test_assembly_takes_any_number_of_columns(folder: Path) -> None:
    names = ",".join(f"c{number}" for number in range(600))
    (folder / "b_1").write_text(f"{names}\n{',' * 599}\n")
    assert run(folder, [1])[0] == f"{names}\n{',' * 599}\n"
    (folder / "b_1").write_text(f"{names}\n{',' * (599 - 256)}\n{',' * (599 + 256)}\n")
    assert "expected 600 fields, found 344" in refused(folder, [1]).text


def test_assembly_gives_empty_buckets_empty_spans(folder: Path) -> None:
    for bucket, content in enumerate(["", HEADER, " \n", HEADER + "10,a,1\n", "\n"]):
        (folder / f"b_{bucket}").write_text(content)
    content, assembly = run(folder, [0, 1, 2, 3, 4])
    assert content == HEADER + "10,a,1\n"
    assert [(bucket.start, bucket.bytes, bucket.rows) for bucket in assembly.buckets] == [
        *[(21, 0, 0)] * 3,
        (21, 7, 1),
        (28, 0, 0),
    ]


def test_assembly_of_empty_buckets_alone_has_the_configured_header(folder: Path) -> None:
    (folder / "b_1").touch()
    assert run(folder, [1], COLUMNS)[0] == HEADER
    assert run(folder, [1])[0] == ""


def test_assembly_sorts_parts_by_number(folder: Path) -> None:
    for part in (10, 2, 1):
        (folder / f"b_1_part-{part}").write_text(f"{part},a,1\n")
    (folder / "b_1_part-1.tmp").write_text("not a part")
    (folder / "b_11_part-1").write_text("not of this bucket")
    assert run(folder, [1], COLUMNS)[0] == HEADER + "1,a,1\n2,a,1\n10,a,1\n"


def test_assembly_reads_a_folder_of_parts(folder: Path) -> None:
    (folder / "b_1").mkdir()
    for name in ("part-00010.csv", "part-00009.csv", "part-2.csv"):
        (folder / "b_1" / name).write_text(HEADER + f"{name[5:-4].lstrip('0')},a,1\n")
    (folder / "b_1" / "_SUCCESS").touch()
    (folder / "b_1" / ".part-2.csv.crc").write_text("hidden")
    assert run(folder, [1])[0] == HEADER + "2,a,1\n9,a,1\n10,a,1\n"


def test_assembly_takes_columns_from_the_first_bucket_that_has_any(folder: Path) -> None:
    (folder / "b_1").touch()
    (folder / "b_2").write_text('{"timestamp":1,"mmsi":"a"}\n')
    (folder / "b_3").write_text("mmsi,timestamp\nb,2\n")
    assert run(folder, [1, 2, 3])[0] == "timestamp,mmsi\n1,a\n2,b\n"


@pytest.mark.parametrize(
    ("content", "columns", "code", "text"),
    [
        (None, None, Code.MISSING_BUCKET, "No such file"),
        ("\f\n" + HEADER + "10,a,1\n", None, Code.BAD_BUCKET, "line 1: expected text"),
        ("\v\n" + HEADER + "10,a,1\n", None, Code.BAD_BUCKET, "line 1: expected text"),
        ("\r\r\n" + HEADER + "10,a,1\n", None, Code.BAD_BUCKET, "line 1: expected text"),
        ("\n" * rows.HEAD_BYTES + HEADER + "10,a,1\n", None, Code.BAD_BUCKET, "expected text in the first"),
        ('{"timestamp":' + "[" * 100_000 + "\n", None, Code.BAD_BUCKET, "line 1"),
        ('{"timestamp":1}\n{"z":' + "[" * 100_000 + "\n", None, Code.BAD_BUCKET, "line 2: expected a flat JSON"),
        ("10,a,1\n", None, Code.BAD_BUCKET, "line 1: expected a header, or `columns`"),
        ("timestamp,mmsi\n10,a\n", COLUMNS, Code.BAD_BUCKET, "'speed'"),
        ("a,b,a\nx,y,z\n", None, Code.BAD_BUCKET, "once each"),
        (HEADER + "10,a,1\n11,b\n", None, Code.BAD_BUCKET, "line 3: expected 3 fields, found 2"),
        (HEADER + "10,a,1\n11,b,2,3\n12,c\n", None, Code.BAD_BUCKET, "line 3: expected 3 fields, found 4"),
        (HEADER + '10,"a\nb",1\n', None, Code.BAD_BUCKET, "line 3: expected one event per line"),
        (HEADER + '10,"a,1\n', None, Code.BAD_BUCKET, "line 2: expected CSV"),
        ('{"timestamp":10}\n{"timestamp":\n', None, Code.BAD_BUCKET, "line 2: expected a flat JSON object"),
        ('{"timestamp":[10]}\n', None, Code.BAD_BUCKET, "line 1: expected a flat JSON object"),
        ('{"timestamp":10}\n11\n', None, Code.BAD_BUCKET, "line 2: expected a flat JSON object"),
        ('{"timestamp":"1\\n2"}\n', None, Code.BAD_BUCKET, "line 1: expected one event per line"),
        ('{"time\\nstamp":1}\n', None, Code.BAD_BUCKET, "line 1"),
        ("{}\n", None, Code.BAD_BUCKET, "line 1"),
        (HEADER + "10,a\0,1\n", None, Code.BAD_BUCKET, "line 2: expected text, found a NUL"),
        ("10,a,1\r11,b,2\r", COLUMNS, Code.BAD_BUCKET, "line 1: expected CSV"),
        ("time\0stamp\n", None, Code.BAD_BUCKET, "line 1: expected text, found a NUL"),
        ("a\n1\n\n2\n3,4\n", None, Code.BAD_BUCKET, "line 5: expected 1 fields, found 2"),
        (HEADER.encode() + b"10,a,1\n11,\xff,1\n", None, Code.BAD_BUCKET, "line 3: expected UTF-8"),
        (b"\x1f\x8b\x08\xff\n", None, Code.BAD_BUCKET, "line 1: expected CSV or JSON lines in UTF-8"),
    ],
)
def test_assembly_refuses_bad_buckets_by_name(
    folder: Path, content: str | bytes | None, columns: tuple[str, ...] | None, code: Code, text: str
) -> None:
    if content is not None:
        (folder / "b_1").write_bytes(content if isinstance(content, bytes) else content.encode())
    refusal = refused(folder, [1], columns)
    assert refusal.code == code
    assert text in refusal.text
    assert f"{folder}/b_1" in refusal.text


def test_assembly_refuses_a_bucket_of_two_shapes(folder: Path) -> None:
    (folder / "b_1").write_text(HEADER)
    (folder / "b_1_part-1").write_text(HEADER)
    assert refused(folder, [1]).code == Code.BAD_BUCKET


def test_assembly_refuses_a_folder_without_parts(folder: Path) -> None:
    (folder / "b_1").mkdir()
    assert refused(folder, [1]).code == Code.MISSING_BUCKET


def test_assembly_refuses_lines_longer_than_a_block(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "CHUNK_BYTES", 64)
    (folder / "b_1").write_text(HEADER + "10,a,1\n" + "9" * 80 + ",a,1\n")
    assert "at most" in refused(folder, [1]).text
    monkeypatch.setattr(rows, "HEAD_BYTES", 16)
    assert "line 1" in refused(folder, [1]).text


@given(
    number=st.sampled_from([0, 1, 2, 63, 255, 256, 300]),
    surpluses=st.lists(st.sampled_from([0, 0, 0, 0, 1, -1, 256, -256]), min_size=1, max_size=40),
    width=st.integers(0, 80),
)
def test_block_is_regular_only_if_each_row_has_as_many_commas(number: int, surpluses: list[int], width: int) -> None:
    """Counts are kept modulo 256: rows that are off by it, or make up for each other, are told all the same."""
    counts = [max(0, number + surplus) for surplus in surpluses]
    text = "".join("x" * width + "," * count + "y\n" for count in counts).encode()
    lines = buckets.Lines(bytearray(text), len(text))
    block = rows._regular_block(lines, number + 1, np.empty(len(text), bool))
    regular = all(count == number for count in counts)
    assert (block is not None and block.rows == len(counts)) == regular


@pytest.mark.parametrize("row", ["10,{},1\n", '10,"{}",1\n', '{{"timestamp":10,"mmsi":"{}","speed":1}}\n'])
def test_field_may_be_as_long_as_a_line(folder: Path, row: str) -> None:
    long = "a" * (buckets.LONGEST_LINE - len(row))
    short = row.format("a")  # the first line has to fit the head
    (folder / "b_1").write_text(short + row.format(long) * 3)
    content, made = run(folder, [1], COLUMNS)
    assert content == HEADER + "10,a,1\n" + f"10,{long},1\n" * 3
    assert (made.first_timestamp, made.last_timestamp) == (10, 10)


@pytest.mark.parametrize("ending", ["", "\n"])
def test_last_line_may_be_as_long_as_any(folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(buckets, "CHUNK_BYTES", 64)
    line = "10,a," + "1" * (64 - 5 - len(ending))
    (folder / "b_1").write_text(f"9,a,1\n{line}{ending}")
    assert run(folder, [1], COLUMNS)[0] == f"{HEADER}9,a,1\n{line}\n"


@given(
    content=st.binary(max_size=80) | st.text('\f\r\n"{}[],:a1 ', max_size=40).map(str.encode), chunk=st.integers(40, 64)
)
def test_bytes_of_any_kind_are_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "b_1").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "CHUNK_BYTES", chunk)
        try:
            _, made = run(folder, [1], COLUMNS)
        except RequestRejected:
            return
    assert made.rows or content.strip() in (b"", HEADER.strip().encode(), b"\xef\xbb\xbf"), "nothing is left out"


class LaggingHash:
    """SHA-256 that is still at work when the next blocks are read."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, content: memoryview) -> None:
        time.sleep(0.002)
        self._digest.update(content)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def test_hash_that_lags_behind_takes_what_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "hashlib", SimpleNamespace(sha256=LaggingHash))
    monkeypatch.setattr(assembly, "_HASH_HERE_BYTES", 0)
    monkeypatch.setattr(buckets, "CHUNK_BYTES", 64)
    numbers = itertools.count(100)
    for bucket, lines in enumerate((20, 1, 3, 9, 2, 30)):
        (folder / f"b_{bucket}").write_text(HEADER + "".join(f"{next(numbers)},a,1\n" for _ in range(lines)))
    content, made = run(folder, list(range(6)))  # which compares the hashes
    assert (content.count("\n"), made.rows) == (66, 65)


@dataclass
class Meddler(Sink):
    """A target that does something to the buckets while they are read."""

    deed: Callable[[], object]
    content: bytes = field(default=b"")

    def write(self, content: memoryview) -> None:
        self.deed()


def test_assembly_refuses_a_bucket_that_changes_while_it_is_read(folder: Path) -> None:
    bucket = folder / "b_1"
    bucket.write_text(HEADER + "10,a,1\n")
    os.utime(bucket, ns=(1, 1))
    with pytest.raises(RequestRejected) as touched:
        assemble(folder, "b_", [1], None, Meddler(lambda: os.utime(bucket, ns=(2, 2))))
    with pytest.raises(RequestRejected) as grown:
        assemble(folder, "b_", [1], None, Meddler(lambda: bucket.write_text(bucket.read_text() + "11,b,2\n")))
    assert touched.value.code == grown.value.code == Code.UNSTABLE_BUCKET


def test_assembly_refuses_a_bucket_that_gets_a_part_while_it_is_read(folder: Path) -> None:
    (folder / "b_1_part-1").write_text(HEADER + "10,a,1\n")
    with pytest.raises(RequestRejected) as caught:
        assemble(folder, "b_", [1], None, Meddler((folder / "b_1_part-2").touch))
    assert caught.value.code == Code.UNSTABLE_BUCKET


def test_assembly_holds_no_more_memory_for_more_bytes(folder: Path) -> None:
    (folder / "b_1").write_text(HEADER + "1443650400,228051000,12.5\n" * 400_000)

    class Nowhere:
        def write(self, content: memoryview) -> None:
            pass

    tracemalloc.start()
    assembly = assemble(folder, "b_", [1], None, Nowhere())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert assembly.rows == 400_000
    assert peak < assembly.bytes / 2


# --- random bucketings against the naive twin


@dataclass(frozen=True)
class Part:
    """A file of a bucket: its rows, how they are written."""

    rows: list[list[str]]
    kind: str
    header: bool
    newline: str
    last_newline: bool
    shuffled: bool


VALUES = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=6)
ROWS = st.lists(st.tuples(st.integers(0, 10**10).map(str), VALUES, VALUES).map(list), max_size=6)
PARTS = st.builds(
    Part,
    rows=ROWS,
    kind=st.sampled_from(["csv", "quoted", "json"]),
    header=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
    last_newline=st.booleans(),
    shuffled=st.booleans(),
)
BUCKETS = st.lists(st.tuples(st.sampled_from(["file", "folder", "parts"]), st.lists(PARTS, min_size=1, max_size=3)))


def written(part: Part) -> str:
    order = [2, 0, 1] if part.shuffled and part.header and part.kind != "json" else [0, 1, 2]
    names = [COLUMNS[place] for place in order]
    if part.kind == "json":
        lines = [json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=part.shuffled) for row in part.rows]
        text = "".join(line + part.newline for line in lines)
    else:
        out = io.StringIO()
        quoted = part.kind == "quoted"
        writer = csv.writer(out, lineterminator=part.newline, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        writer.writerows([names] * part.header + [[row[place] for place in order] for row in part.rows])
        text = out.getvalue()
    return text if part.last_newline else text.removesuffix(part.newline)


def naive(buckets: list[tuple[str, list[Part]]]) -> tuple[str, list[tuple[int, int]]]:
    """Every row through the csv module, one after the other."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    spans = []
    for _, parts in buckets:
        start = len(out.getvalue().encode())
        for part in parts:
            writer.writerows(part.rows)
        spans.append((start, len(out.getvalue().encode())))
    return out.getvalue(), spans


@settings(max_examples=100)
@given(BUCKETS, st.integers(200, 400))
def test_assembly_agrees_with_the_naive_twin(
    tmp_path_factory: pytest.TempPathFactory, buckets_: list[tuple[str, list[Part]]], chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("buckets")
    bucketing = [(shape, parts[:1] if shape == "file" else parts) for shape, parts in buckets_]
    for bucket, (shape, parts) in enumerate(bucketing):
        whole = folder / f"b_{bucket}"
        if shape == "folder":
            whole.mkdir()
        paths = {"file": "{}", "folder": "{}/part-{}", "parts": "{}_part-{}"}[shape]
        for number in random.Random(chunk).sample(range(len(parts)), len(parts)):
            Path(paths.format(whole, number + 9)).write_bytes(written(parts[number]).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "CHUNK_BYTES", chunk)
        content, assembly = run(folder, list(range(len(bucketing))), COLUMNS)
    expected, spans = naive(bucketing)
    assert content == expected
    assert [(bucket.start, bucket.start + bucket.bytes) for bucket in assembly.buckets] == spans
    assert assembly.rows == sum(len(part.rows) for _, parts in bucketing for part in parts)
