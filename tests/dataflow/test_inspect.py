"""What `python -m dataflow.inspect` tells of a volume is what is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from dataflow.config import JournalSettings
from dataflow.inspect import main
from dataflow.journal import NAME, Journal, adoption_of, create_journal, read_journal
from dataflow.state import Dataset, FinalModel, LineState, Session, Step


def dataset(version: int) -> Dataset:
    return Dataset(
        version=version,
        file=f"dataset_version_{version}.csv",
        sha256="0" * 64,
        rows=20_160,
        bytes=1_734_000,
        buckets=(),
        buckets_range=(1,),
        prefix="b_",
    )


STEPS = (
    Step(id=1, asked="x", model_id=2, file="model_2.spst", f_val=-0.25),
    Step(id=2, asked="x"),
    Step(id=3, asked="x", model_id=4, file="model_4.spst", f_val=-0.5),
)
EMPTY = hashlib.sha256(b"").hexdigest()
FINAL = (FinalModel(model_id=1, file="model_1.spst", sha256=EMPTY, dataset_version=0),)
BUSY = LineState(
    seq=12, dataset=dataset(3), session=Session(timestamp=20, dataset=dataset(2), steps=STEPS), models=FINAL
)


def make_line(root: Path, key: str, state: LineState) -> Path:
    """Write a line's journal and every file that the line holds."""
    folder = root / "lines" / key
    for name in ("datasets", "models"):
        (folder / name).mkdir(parents=True)
    create_journal(folder / NAME, key)
    journal = Journal(folder / NAME, read_journal(folder / NAME, key), JournalSettings())
    if state.seq:
        journal.append(adoption_of(state, 0.0))
    for name in state.files():
        (folder / name).touch()
    return folder


def test_inspect_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_line(tmp_path, "quiet", LineState())
    folder = make_line(tmp_path, "busy.1", BUSY)
    assert main([str(tmp_path)]) == 0
    headings, busy, quiet = capsys.readouterr().out.splitlines()
    assert headings.split() == ["KEY", "ENTRIES", "DATASET", "LOCK", "SESSION", "MODELS", "JOURNAL"]
    cells = [cell.strip() for cell in busy.split("  ") if cell]
    size = (folder / NAME).stat().st_size
    assert cells[:3] == ["busy.1", "12", "v3: 20160 rows, 1.7 MB"]
    assert cells[3].startswith("v2 since 20")
    assert cells[4:] == ["20: 3 steps, 1 failed, best f_val -0.500", "1 and 2 of steps", f"{size / 1000:.1f} kB"]
    assert quiet.split()[:6] == ["quiet", "0", "-", "-", "-", "-"]
    assert headings.index("SESSION") == busy.index("20: 3 steps")


def test_inspect_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_line(tmp_path, "busy.1", BUSY)
    assert main([str(tmp_path), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    shown = msgspec.json.decode(line)
    assert [each["version"] for each in shown["datasets"]] == [3, 2]
    assert [each["file"] for each in shown["datasets"] if "locked_since" in each] == ["dataset_version_2.csv"]
    session = {"timestamp": 20, "dataset": "dataset_version_2.csv", "steps": 3, "failed": 1, "best_f_val": -0.5}
    assert shown["session"] == session
    assert (shown["models"], shown["intermediates"]) == (["model_1.spst"], ["model_2.spst", "model_4.spst"])
    assert shown["problems"] == []


def test_inspect_names_what_is_missing_and_what_belongs_to_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_line(tmp_path, "busy.1", BUSY)
    (folder / "models/model_1.spst").rename(folder / "models/model_9.spst")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "busy.1: models/model_1.spst is missing",
        "busy.1: models/model_9.spst belongs to nothing",
    ]


def test_inspect_notices_a_swapped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (make_line(tmp_path, "busy.1", BUSY) / "models/model_1.spst").write_text("somebody else's")
    assert main([str(tmp_path)]) == 1
    expected = "busy.1: models/model_1.spst is not what was announced: its hash differs"
    assert capsys.readouterr().out.splitlines()[2:] == [expected]


def test_inspect_shows_the_others_beside_a_damaged_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_line(tmp_path, "good", LineState())
    damaged = make_line(tmp_path, "damaged", BUSY) / NAME
    damaged.write_bytes(damaged.read_bytes().replace(b'"schema":1', b'"schema":2', 1))
    (tmp_path / "lines" / "begun").mkdir()
    (tmp_path / "lines" / "no key").mkdir()
    (tmp_path / "lines" / "no key" / NAME).touch()
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == ["KEY", "begun", "damaged", "good", "no", "begun:", "damaged:", "no"]
    assert out[5] == "begun: it has no journal yet"
    assert "line 1: damaged" in out[6]
    assert out[7].startswith("no key: key: expected")


def test_inspect_says_that_there_is_nothing_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'nowhere'}: expected a factory's data root with a folder `lines`\n"
