"""The command line as its first user meets it, and against the reference."""

from __future__ import annotations

import gzip
import io
import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import spst
from spst.cli.main import COMMANDS, main, parser
from spst.model import load_model
from tests import golden_cases

ROOT = Path(__file__).parents[2]
COUNTS = ("detections", "forecasts", "tp", "tn", "fp", "fn")
DEADLINE = 120  # seconds until a process that says nothing is given up


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class Shell:
    """Runs `python -m spst` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *argv: object, stdin: bytes = b"") -> Done:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(argument) for argument in argv])
        out, err = self._capsys.readouterr()
        return Done(code, out, err)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capsys, monkeypatch)


def pattern_options(name: str) -> list[object]:
    options: list[object] = ["--pattern", golden_cases.GOLDEN / "patterns" / f"{name}.sre"]
    declarations = golden_cases.GOLDEN / "patterns" / f"{name}.declarations.sre"
    return [*options, "--declarations", declarations] if declarations.exists() else options


def score_options(name: str) -> list[object]:
    golden = golden_cases.case(name)
    options = [*pattern_options(name), "--events", golden.data, "--policy", golden.meta["policy"]]
    for key, value in golden.hyperparameters.as_dict().items():
        options += [f"--{key.replace('_', '-')}", value]
    return options if golden.meta["forecast_at_detection"] else [*options, "--no-forecast-at-detection"]


LETTERS = score_options("seq3_order2")


# score


@pytest.mark.parametrize("name", golden_cases.NAMES)
def test_score_from_leaf_gives_the_reference(shell: Shell, name: str) -> None:
    golden, told = golden_cases.case(name), shell("score", *score_options(name), "--start", "leaf", "--json").json
    assert {key: told[key] for key in COUNTS} == {key: golden.evaluation[key] for key in COUNTS}
    for key in ("mcc", "precision", "recall", "f1"):
        assert (-1 if told[key] is None else told[key]) == pytest.approx(golden.evaluation[key], abs=1e-9)
    assert (told["events"], told["rows_skipped"]) == (golden.meta["n_events"], 0)
    assert told["nodes"] == len(golden.tree)


@pytest.mark.parametrize("name", golden_cases.NAMES)
def test_score_tells_the_sizes_of_the_reference(shell: Shell, name: str) -> None:
    told = shell("score", *score_options(name), "--json").json
    row = next(row for row in golden_cases.index() if row["name"] == name)
    assert (told["symbols"], told["states"], told["nodes"]) == tuple(
        int(row[key]) for key in ("alphabet", "automaton_states", "tree_nodes")
    )
    assert told["events"] == told["forecasts"] or golden_cases.case(name).meta["forecast_at_detection"] is False
    assert told["best_mcc"] >= told["mcc"]


def test_score_tells_undefined_as_null(shell: Shell) -> None:
    told = shell("score", *score_options("threshold_one"), "--json").json
    assert (told["precision"], told["recall"], told["mcc"]) == (None, 0.0, 0.0)


def test_score_takes_defaults_from_the_suffixes(shell: Shell) -> None:
    golden = golden_cases.case("partition_order1")
    text = golden.meta["pattern"] + "{policy:nonoverlap}"
    declarations = golden.meta["declarations"]
    bare = shell("score", "--pattern", text, "--declarations", declarations, "--events", golden.data, "--json").json
    options = ["--partition-by", "entity", "--order", 1, "--policy", "nonoverlap", "--p-min", 0.001, "--gamma", 0.0005]
    pattern = golden.meta["pattern"].split("{")[0]
    told = shell(
        *("score", "--pattern", pattern, "--declarations", declarations, "--events", golden.data, "--json"),
        *options,
        *("--alpha", 0.001, "--r", 1.05, "--threshold", 0.3, "--k", 5),
    ).json
    assert bare == told


def test_score_options_win_over_the_suffixes(shell: Shell) -> None:
    base = [
        "score",
        *pattern_options("partition_order1"),
        "--events",
        golden_cases.case("partition_order1").data,
        "--json",
    ]
    by_entity = shell(*base).json
    together = shell(*base, "--partition-by", "", "--order", 2).json
    assert by_entity["hyperparameters"]["order"], together["hyperparameters"]["order"] == (1, 2)
    assert by_entity["detections"] != together["detections"]


@pytest.mark.parametrize("options", [[], ["--start", "leaf"]])
def test_score_reads_gzip_stdin_json_lines_and_headerless_alike(
    shell: Shell, tmp_path: Path, options: list[str]
) -> None:
    data = golden_cases.case("seq3_order2").data
    text = data.read_bytes()
    header, body = text.split(b"\n", 1)
    columns = header.decode().split(",")
    rows = [dict(zip(columns, line.split(","), strict=True)) for line in body.decode().splitlines()]
    (tmp_path / "letters.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "bare.csv").write_bytes(body)
    place = LETTERS.index("--events") + 1

    def told(source: object, *more: object, stdin: bytes = b"") -> Any:
        return shell(
            "score", *LETTERS[:place], source, *LETTERS[place + 1 :], "--json", *options, *more, stdin=stdin
        ).json

    plain = told(data)
    assert plain["events"] == 800
    assert told(tmp_path / "letters.csv.gz") == plain
    assert told(tmp_path / "letters.jsonl") == plain
    assert told(tmp_path / "bare.csv", "--columns", ",".join(columns)) == plain
    assert told("-", stdin=text) == plain
    assert told("-", stdin=gzip.compress(text)) == plain


def test_score_for_a_person_shows_the_same_numbers(shell: Shell) -> None:
    told, shown = shell("score", *LETTERS, "--json").json, shell("score", *LETTERS).out
    for key in ("tp", "tn", "fp", "fn"):
        assert f"{told[key]:,} {key}" in shown
    assert f"mcc {told['mcc']:.4g}" in shown
    assert f"the best threshold here is {told['best_threshold']:.4g}" in shown


def test_score_counts_skipped_rows_up_to_the_limit(shell: Shell) -> None:
    text = b"timestamp,type,entity,value\n" + b"1,A,e1,10\n" * 99 + b"1,A,e1,\n"
    options = ["score", "--pattern", ";(GT(value,1),LT(value,1)){order:1}", "--events", "-", "--json"]
    assert shell(*options, stdin=text).json["rows_skipped"] == 1
    refused = shell(*options, "--max-bad-rows", 0.001, stdin=text)
    assert refused.code == 1
    assert "101" in refused.err  # the line


def test_score_warns_of_many_skipped_rows_and_refuses_when_most_are_bad(shell: Shell) -> None:
    options = ["score", "--pattern", ";(GT(value,1),LT(value,1)){order:1}", "--events", "-", "--json"]
    some = shell(*options, stdin=b"value\n1\nx\n2\n")
    assert (some.json["rows_skipped"], some.json["events"]) == (1, 2)
    assert "1 of 3 rows lack a value" in some.err
    most = shell(*options, stdin=b"value\n1\nx\ny\n")
    assert most.code == 1
    assert "2 of 3 rows lack a value that is needed; the first is line 3: 'x'" in most.err


def test_holdout_scores_the_last_share(shell: Shell) -> None:
    told = shell("score", *LETTERS, "--evaluation", "holdout:0.25", "--json").json
    assert (told["events"], told["forecasts"]) == (800, 200)


# train, show, forecast


@pytest.fixture
def trained(shell: Shell, tmp_path: Path) -> Path:
    shell("train", *score_options("partition_order3"), "--model", tmp_path / "letters.spst")
    return tmp_path / "letters.spst"


def test_train_saves_the_model_of_the_library(shell: Shell, tmp_path: Path) -> None:
    target = tmp_path / "model.spst"
    told = shell("train", *score_options("partition_order3"), "--model", target, "--json").json
    content = target.read_bytes()
    model, expected = load_model(target), golden_cases.model("partition_order3")
    assert (model.tree.distribution == expected.tree.distribution).all()
    assert told["tp"] == golden_cases.training_set("partition_order3").score(expected).tp
    assert model.provenance["events"]["rows"] == 1500
    assert model.provenance["events"]["file"] == "letters_three.csv"
    again = shell("train", *score_options("partition_order3"), "--model", target, "--json").json
    assert (target.read_bytes(), again["sha256"]) == (content, told["sha256"])


def test_show_tells_what_is_in_the_file(shell: Shell, trained: Path) -> None:
    told = shell("show", trained, "--json").json
    assert told["pattern"] == str(golden_cases.model("partition_order3").pattern)
    assert (told["nodes"], told["symbols"], told["states"], len(told["minterms"])) == (104, 5, 5, 5)
    shown = shell("show", trained, "--top", 3).out
    assert told["sha256"] in shown
    assert "the 3 contexts" in shown


@pytest.mark.parametrize("options", [[], ["--method", "smallest", "--max-spread", "3", "--horizon", "8"]])
def test_forecast_gives_what_the_forecaster_gives(shell: Shell, trained: Path, options: list[str]) -> None:
    data = golden_cases.case("partition_order3").data
    told = [
        json.loads(line)
        for line in shell("forecast", "--model", trained, "--events", data, "--json", *options).out.splitlines()
    ]
    parameters = {"max_spread": 3, "horizon": 8} if options else {}
    forecaster = load_model(trained).forecaster("smallest" if options else "next_k", **parameters)
    header, *lines = data.read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    expected = [(row, forecaster.update(event)) for row, event in enumerate(rows, start=1)]
    assert [line["row"] for line in told] == [row for row, forecast in expected if forecast]
    for line, (row, forecast) in zip(told, expected, strict=True):
        assert forecast is not None
        assert line == {
            "row": row,
            "partition": rows[row - 1]["entity"],
            "start": forecast.start,
            "end": forecast.end,
            "probability": forecast.probability,
            "positive": forecast.positive,
            "detection": forecast.detection,
        }
    positive = shell("forecast", "--model", trained, "--events", data, "--positive", *options).out.splitlines()
    assert positive[0] == "row,partition,start,end,probability,positive,detection"
    assert [int(line.split(",")[0]) for line in positive[1:]] == [line["row"] for line in told if line["positive"]]


def test_forecast_numbers_rows_across_resets_and_bad_rows(shell: Shell, trained: Path) -> None:
    text = b"timestamp,type,entity,value\n1,A,e1,1\n-1,RESET,e1,\n2,B,,1\n3,B,e2,1\n"
    done = shell("forecast", "--model", trained, "--events", "-", "--max-bad-rows", 0.5, "--json", stdin=text)
    assert [(line["row"], line["partition"]) for line in map(json.loads, done.out.splitlines())] == [
        (1, "e1"),
        (4, "e2"),
    ]
    assert done.code == 0
    refused = shell("forecast", "--model", trained, "--events", "-", "--max-bad-rows", 0.1, "--json", stdin=text)
    assert (refused.code, len(refused.out.splitlines())) == (1, 2)
    assert "4" in refused.err


def process(*argv: object, **pipes: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "spst", *map(str, argv)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **pipes)


def test_forecast_follows_a_live_stream(trained: Path) -> None:
    with process("forecast", "--model", trained, "--events", "-", "--json", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        os.write(running.stdin.fileno(), b"timestamp,type,entity,value\n1,A,e1,1\n")
        ready, _, _ = select.select([running.stdout], [], [], DEADLINE)
        first = os.read(running.stdout.fileno(), 1 << 16) if ready else b"{}"
        running.stdin.close()  # only now
        running.wait(DEADLINE)
    assert json.loads(first)["row"] == 1


def test_predicates_of_ones_own_come_from_a_module(tmp_path: Path) -> None:
    (tmp_path / "falling.py").write_text(
        "import spst\nfrom spst.predicates import Numbers, Truth\n\n"
        "@spst.predicate('Falling')\ndef falling(rate: Numbers) -> Truth:\n    return rate < 0\n"
    )
    (tmp_path / "rates.csv").write_text("rate\n" + "1\n-1\n-2\n" * 50)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    learning = ["--pattern", ";(Falling(rate),Falling(rate)){order:1}", "--events", tmp_path / "rates.csv"]
    model, own = tmp_path / "m.spst", ["--predicates", "falling"]
    for argv, code, said in (
        (["train", *learning, *own, "--model", model], 0, b"detections 50"),
        (["forecast", "--model", model, "--events", tmp_path / "rates.csv", *own], 0, b"2,,1,5,"),
        (["show", model, *own], 0, b"Falling"),
        (["show", model], 1, b"unknown predicate Falling"),
    ):
        with process(*argv, env=environment) as running:
            out, err = running.communicate(timeout=DEADLINE)
        assert (running.returncode, said in (err if code else out)) == (code, True), err


# sweep


def test_sweep_scores_every_combination(shell: Shell) -> None:
    start = LETTERS.index("--order")
    grid = ["--order", "0,1,2", "--p-min", "0.01,0.1", "--gamma", "0.001", "--threshold", "0.1,0.2", "--k", "3,5"]
    told = shell("sweep", *LETTERS[:start], *grid, "--json").json
    assert len(told["rows"]) == 24
    assert told["best"]["mcc"] == max(row["mcc"] for row in told["rows"])
    one = {"order": 2, "p_min": 0.01, "threshold": 0.2, "k": 5}
    row = next(row for row in told["rows"] if one.items() <= row.items())
    assert {key: row[key] for key in COUNTS} == {key: shell("score", *LETTERS, "--json").json[key] for key in COUNTS}
    shown = shell("sweep", *LETTERS[:start], *grid, "--top", 4).out.splitlines()
    assert shown[0].startswith("24 combinations over 800 events; the best 4 by mcc")
    assert shown[2].split()[:4] == ["order", "p_min", "threshold", "k"]
    assert len(shown) == 9


# new


def test_new_writes_what_score_can_use(shell: Shell, tmp_path: Path) -> None:
    data = golden_cases.SHIPPED / "glucose_2010.csv.gz"
    told = shell("new", data, "--output", tmp_path, "--json").json
    assert (told["time"], told["entity"]) == ("timestamp", "session")
    assert {column["name"]: column["kind"] for column in told["columns"]} == {
        "timestamp": "number",
        "session": "text",
        "glucose": "number",
        "isig": "number",
    }
    pattern, declarations, configuration = told["files"]
    scored = shell(
        "score",
        "--pattern",
        pattern,
        "--declarations",
        declarations,
        "--events",
        data,
        "--threshold",
        told["threshold"],
        "--json",
    ).json
    assert {key: scored[key] for key in COUNTS} == {key: told[key] for key in COUNTS}
    assert scored["detections"] > 0
    assert Path(configuration).name == "glucose_2010.toml"


def test_new_suggests_event_types_where_there_are(shell: Shell, tmp_path: Path) -> None:
    told = shell("new", golden_cases.GOLDEN / "data" / "letters_three.csv", "--output", tmp_path, "--json").json
    assert (told["time"], told["entity"]) == ("timestamp", "entity")
    assert "an event of type" in told["meaning"]
    assert told["detections"] > 0


def test_new_takes_positions_for_what_they_are(shell: Shell, tmp_path: Path) -> None:
    data = golden_cases.SHIPPED / "ny_harbor_ais_2020_12_01_07.csv.gz"
    told = shell("new", data, "--output", tmp_path, "--json").json
    assert (told["time"], told["entity"]) == ("timestamp", "mmsi")
    assert told["meaning"].startswith("speed is below")


def test_new_shows_a_person_what_it_found_and_what_to_do(shell: Shell, tmp_path: Path) -> None:
    data = tmp_path / "my readings.csv"
    data.write_text("".join(f"{i},s{i % 3},{i * i % 97}\n" for i in range(300)))
    done = shell("new", data, "--columns", "time,sensor,level", "--output", tmp_path / "study")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == [
        "my_readings.declarations.sre",
        "my_readings.sre",
        "my_readings.toml",
    ]
    assert "level is below" in done.out
    assert "--columns time,sensor,level" in done.out.splitlines()[-1]
    parsed = spst.parse_pattern(
        (tmp_path / "study" / "my_readings.sre").read_text(),
        (tmp_path / "study" / "my_readings.declarations.sre").read_text(),
    )
    assert (parsed.order, parsed.partition_by) == (2, "sensor")


def test_new_writes_over_nothing_unless_forced(shell: Shell, tmp_path: Path) -> None:
    data = golden_cases.GOLDEN / "data" / "letters_one.csv"
    shell("new", data, "--output", tmp_path)
    (tmp_path / "letters_one.sre").write_text("mine")
    refused = shell("new", data, "--output", tmp_path)
    assert (refused.code, (tmp_path / "letters_one.sre").read_text()) == (1, "mine")
    assert "--force" in refused.err
    assert shell("new", data, "--output", tmp_path, "--force").code == 0
    assert (tmp_path / "letters_one.sre").read_text() != "mine"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("1,2\n3,4\n", "no header"),
        ("name,kind\na,b\nc,d\n", "no pattern to suggest"),
        ("x\n1\n1\n", "no pattern"),
        ("x\n", "no rows below the header"),
    ],
)
def test_new_says_why_it_can_suggest_nothing(shell: Shell, tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "data.csv").write_text(text)
    done = shell("new", tmp_path / "data.csv", "--output", tmp_path)
    assert done.code == 1
    assert problem in done.err


# What goes wrong


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["score", "--pattern", "nosuch.sre", "--events", "x.csv"], "no such file: nosuch.sre"),
        (["score", "--pattern", ";(GT(x,1)", "--events", "x.csv"], "line 1, column"),
        (["score", "--pattern", ";(GT(x,1),GT(x,2))", "--events", "x.csv"], "give --order N"),
        (["score", "--pattern", ";(GT(x,1),GT(x,2)){order:1}", "--events", "nosuch.csv"], "nosuch.csv"),
        (["score", "--pattern", ";(GT(x,1),GT(x,2)){order:1}", "--events", "LETTERS"], "x"),
        (["score", *LETTERS, "--threshold", "1.5"], "threshold"),
        (["score", *LETTERS, "--gamma", "0.5"], "gamma"),
        (["score", *LETTERS, "--evaluation", "tomorrow"], "evaluation"),
        (["score", *LETTERS, "--evaluation", "last-bucket"], "two buckets"),
        (["score", *LETTERS, "--start", "leaf", "--evaluation", "holdout:0.3"], "in-sample"),
        (["score", *LETTERS, "--predicates", "no.such.module"], "no.such.module"),
        (
            ["score", "--pattern", ROOT / "dataflow/demo/data/glucose_2010.csv.gz", "--events", "LETTERS"],
            "no text in UTF-8",
        ),
        (["score", *LETTERS, "--k", "1000000", "--order", "6", "--p-min", "0"], "look at most"),
        (["show", "nosuch.spst"], "nosuch.spst"),
        (["show", "LETTERS"], "not a model file"),
        (["train", *LETTERS, "--model", "/nosuch/folder/m.spst"], "/nosuch/folder"),
    ],
)
def test_refusal_is_one_clear_message_and_code_1(shell: Shell, argv: list[object], problem: str) -> None:
    data = golden_cases.GOLDEN / "data" / "letters_one.csv"
    done = shell(*[data if argument == "LETTERS" else argument for argument in argv])
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("python -m spst: error: ")
    assert problem in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "argv",
    [[], ["fly"], ["score"], ["score", *LETTERS, "--k", "many"], ["sweep", *LETTERS, "--p-min", "0.1,x"], ["plot"]],
)
def test_wrong_usage_is_code_2(shell: Shell, capsys: pytest.CaptureFixture[str], argv: list[object]) -> None:
    with pytest.raises(SystemExit) as end:
        shell(*argv)
    assert end.value.code == 2
    assert "usage: python -m spst" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args([name, "--help"])
    assert end.value.code == 0
    assert f"  python -m spst {name} " in capsys.readouterr().out


def test_module_runs_as_a_program_and_bears_a_closed_pipe(trained: Path) -> None:
    data = golden_cases.SHIPPED / "glucose_2010.csv.gz"
    pattern = pattern_options("glucose_onset_order1")
    with process("train", *pattern, "--events", data, "--model", trained) as running:
        out, err = running.communicate(timeout=DEADLINE)
        assert (running.returncode, err) == (0, b"")
        assert b"sha256" in out
    with process("forecast", "--model", trained, "--events", data) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith(b"row,")
        running.stdout.close()
        assert running.stderr is not None
        assert running.stderr.read() == b""
        assert running.wait(DEADLINE) == 1
