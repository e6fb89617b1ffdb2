"""The story that `python -m dataflow.journal` tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflow.config import JournalSettings
from dataflow.decisions import Decision, Done, Fit, Reject, Wait
from dataflow.errors import Code
from dataflow.journal import NAME, Entry, Journal, adoption_of, create_journal, entry_of, read_journal
from dataflow.messages import Report, Train
from dataflow.state import LineState
from dataflow.story import main, story_of
from tests.dataflow import pure

PROJECT = Path(__file__).parents[2]


def entry(decision: Decision, seq: int = 3) -> Entry:
    report = Report(reply_id=1, status="error", key="k", source_id=f"k/{seq}/0")
    evolved: Any = (LineState(seq=seq), (report,), ("models/model_1.spst",))
    return entry_of(pure.command(Train, offset=9), decision, Done(), evolved, 0.0)


FITTED = Fit(
    model_id=7,
    purpose="step",
    dataset=pure.dataset(),
    hyperparameters=pure.point(0),
    key="k",
    command_id="c-1",
    timestamp=100,
)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Reject(code=Code.NO_DATASET, text="none yet"), "-> reject code no_dataset text none yet"),
        (FITTED, "-> fit model_id 7 purpose step"),
        (Wait(), "-> wait"),
    ],
)
def test_story_of_an_entry_is_one_line(decision: Decision, expected: str) -> None:
    told = story_of(entry(decision))
    assert told == (
        f"#3 1970-01-01T00:00:00+00:00 commands/0@9 train cmd-9 {expected} "
        "; says reports k/3/0 ; deletes models/model_1.spst"
    )


def test_story_shows_what_a_terminal_would_obey() -> None:
    told = story_of(entry(Reject(code=Code.BAD_PARAMS, text="\x1b[2J\nforged ß")))
    assert "text \\x1b[2J\\nforged ß" in told


def test_story_tells_of_an_adoption() -> None:
    assert "entries before were lost" in story_of(adoption_of(LineState(seq=3), 0.0))


def test_story_is_printed_for_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lines" / "k" / NAME
    path.parent.mkdir(parents=True)
    create_journal(path, "k")
    writer = Journal(path, read_journal(path, "k"), JournalSettings())
    for seq in range(1, 4):
        writer.append(entry(Wait(), seq))
    assert main(["k", "--root", str(tmp_path)]) == 0
    assert [line[:2] for line in capsys.readouterr().out.splitlines()] == ["#1", "#2", "#3"]
    assert main(["k", "--root", str(tmp_path), "--last", "1"]) == 0
    assert capsys.readouterr().out.startswith("#3")


@pytest.mark.parametrize("key", ["unknown", "../k"])
def test_story_that_cannot_be_told_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    assert main([key, "--root", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_story_is_the_command_of_the_journal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dataflow.journal", "unknown", "--root", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No such file" in done.stderr
