"""The configuration: what a file and the environment make together, and what is refused before anything is consumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dataflow.config import (
    EXAMPLE,
    OVERRIDES,
    TOPICS,
    Config,
    JournalSettings,
    MemorySettings,
    effective,
    load_config,
    main,
)
from dataflow.errors import ConfigError
from dataflow.kafka_settings import KafkaSettings
from dataflow.params import WIRE_NAMES
from dataflow.settings import Limits, LineSettings
from spst.hyperparameters import Hyperparameters

DEMO = Path(__file__).parents[2] / "dataflow" / "demo" / "factory.toml"


def load(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    """Load a configuration file that lies beside two patterns."""
    for name in ("arrival.sre", "other.sre", "arrival.declarations.sre"):
        (folder / name).write_text("TruePredicate()")
    (folder / "factory.toml").write_text(text)
    return load_config(folder / "factory.toml", environment or {})


def test_configuration_without_a_file_is_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(None, {}) == Config(
        connector="files", data_root=tmp_path / "data", buckets=tmp_path / "data" / "buckets", durability="full",
        log_level="info", predicates=(), topics=TOPICS, limits=Limits(), journal=JournalSettings(),
        memory=MemorySettings(), kafka=KafkaSettings(), defaults=LineSettings(), lines={},
    )  # fmt: skip


def test_file_says_everything_there_is_to_say(tmp_path: Path) -> None:
    text = """
        connector = "kafka"
        data_root = "volume"
        buckets = "incoming/buckets"
        durability = "process"
        log_level = "debug"
        predicates = ["my_predicates"]
        [topics]
        reports = "my_reports"
        [limits]
        sweep = 7
        [journal]
        entries = 100
        hours = 0.5
        [kafka]
        brokers = ["one:9092", "two:9092"]
        [defaults]
        pattern = "arrival.sre"
        declarations = "arrival.declarations.sre"
        columns = ["timestamp", "mmsi"]
        search_space = ["confidence", "order", "pmin", "GAMMA"]
        baseline = { pMin = 0.01, order = 1, spread = 3 }
        min_events = 10
        max_bad_rows = 0
        repeats = "answer"
        keep_models = 3
        wait_for_dataset_seconds = 60
        max_order = 3
        k_max = 9
        evaluation = "holdout:0.3"
        alphabet = "satisfiable"
        policy = "nonoverlap"
    """
    config = load(tmp_path, text)
    assert (config.connector, config.durability, config.log_level) == ("kafka", "process", "debug")
    assert config.data_root == tmp_path / "volume"
    assert config.buckets == tmp_path / "volume" / "incoming" / "buckets"
    assert config.topics == TOPICS | {"reports": "my_reports"}
    assert config.journal == JournalSettings(entries=100, hours=0.5)
    assert config.kafka.brokers == ("one:9092", "two:9092")
    assert config.predicates == ("my_predicates",)
    assert config.line("any") == LineSettings(
        pattern=str(tmp_path / "arrival.sre"), declarations=str(tmp_path / "arrival.declarations.sre"),
        columns=("timestamp", "mmsi"), search_space=("threshold", "order", "p_min", "gamma"),
        baseline=Hyperparameters(order=1, p_min=0.01, gamma=0.0005, threshold=0.3, k=3), min_events=10,
        max_bad_rows=0.0, repeats="answer", keep_models=3, wait_for_dataset_seconds=60.0, max_order=3, k_max=9,
        evaluation="holdout:0.3", alphabet="satisfiable", policy="nonoverlap", limits=Limits(sweep=7),
    )  # fmt: skip


def test_section_stands_over_the_defaults_field_by_field(tmp_path: Path) -> None:
    text = """
        [defaults]
        pattern = "arrival.sre"
        declarations = "arrival.declarations.sre"
        min_events = 10
        baseline = { pMin = 0.01, order = 1 }
        [lines.harbour]
        min_events = 20
        baseline = { P_MIN = 0.02, k = 4 }
        [lines.glucose]
        pattern = "other.sre"
    """
    config = load(tmp_path, text)
    harbour, glucose, unknown = (config.line(key) for key in ("harbour", "glucose", "unknown"))
    assert unknown == config.defaults
    assert (harbour.min_events, harbour.pattern) == (20, unknown.pattern)
    assert harbour.baseline == Hyperparameters(order=1, p_min=0.02, gamma=0.0005, threshold=0.3, k=4)
    assert glucose.min_events == 10
    assert (glucose.pattern, glucose.declarations) == (str(tmp_path / "other.sre"), None)
    assert unknown.declarations == str(tmp_path / "arrival.declarations.sre")


def test_environment_stands_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "FACTORY_CONNECTOR": "kafka",
        "FACTORY_DATA_ROOT": "elsewhere",
        "FACTORY_DURABILITY": "process",
        "FACTORY_LOG_LEVEL": "error",
        "FACTORY_BROKERS": "one:1, two:2",
        "FACTORY_SERVICE_HOST": "10.0.0.1",  # what Kubernetes puts there for a service named factory
    }
    config = load(tmp_path, 'connector = "files"\ndata_root = "volume"\nlog_level = "debug"', environment)
    assert config.connector == "kafka"
    assert config.data_root == tmp_path / "elsewhere"
    assert (config.durability, config.log_level) == ("process", "error")
    assert config.kafka.brokers == ("one:1", "two:2")


def test_empty_variable_overrides_nothing(tmp_path: Path) -> None:
    config = load(tmp_path, 'data_root = "volume"', {"FACTORY_DATA_ROOT": "", "FACTORY_CONNECTOR": ""})
    assert (config.data_root, config.connector) == (tmp_path / "volume", "files")


def test_environment_names_the_file(tmp_path: Path) -> None:
    load(tmp_path, 'log_level = "error"')
    assert load_config(None, {"FACTORY_CONFIG": str(tmp_path / "factory.toml")}).log_level == "error"
    assert load_config(None, {"FACTORY_CONFIG": ""}).log_level == "info"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("connector = ", "factory.toml: "),
        ('conector = "files"', "unknown field `conector`"),
        ('connector = "rabbit"', "Invalid enum value 'rabbit'"),
        ("[limits]\nparams = 1", "unknown field `params` - at `$.limits`"),
        ("[limits]\nsweep = 0", "`int` >= 1"),
        ("[journal]\nentries = 0", "`int` >= 1"),
        ('[topics]\nreport = "x"', "[topics]: expected commands, datasets, .* came report"),
        ('[topics]\nreports = "a/b"', "[topics]: expected names of the form"),
        ('[topics]\nreports = ".hidden"', "[topics]: expected names of the form"),
        ('[topics]\nreports = "model_versions"', "expected a name of its own for each"),
        ('buckets = "/etc"', "buckets: expected a folder below data_root, came '/etc'"),
        ('buckets = "a/../.."', "buckets: expected a folder below data_root"),
        ('data_root = ""', "data_root"),
        ("data_root = 5", "Expected `str`, got `int` - at `$.data_root`"),
        ("[defaults]\nmin_event = 1", "[defaults]: Object contains unknown field `min_event`"),
        ("[lines.a]\nmin_event = 1", "[lines.a]: Object contains unknown field `min_event`"),
        ("[lines.a]\nlimits = { sweep = 1 }", "[lines.a]: limits: they hold for all lines and stand in [limits]"),
        ("[lines.a]\nmin_events = -1", "[lines.a]: Expected `int` >= 0 - at `$.min_events`"),
        ("[lines.a]\nkeep_models = 0", "Expected `int` >= 1"),
        ("[lines.a]\nmax_bad_rows = 1.1", "max_bad_rows"),
        ("[lines.a]\nmax_order = 13", "max_order"),
        ("[lines.a]\nwait_for_dataset_seconds = -1", "wait_for_dataset_seconds"),
        ('[lines.a]\nrepeats = "loud"', "repeats"),
        ('[lines.a]\nevaluation = "holdout:1.5"', "evaluation: expected in-sample, last-bucket or holdout:SHARE"),
        ('[lines.a]\nevaluation = "holdout:0.0"', "evaluation: expected"),
        ('[lines.a]\npattern = "missing.sre"', "[lines.a]: pattern: expected a file, found none at /"),
        ('[lines.a]\npattern = "."', "pattern: expected a file"),
        ("[lines.a]\npattern = 5", "Expected `str | null`, got `int` - at `$.pattern`"),
        ('[lines.a]\npattern = "other.sre"\ndeclarations = "missing"', "declarations: expected a file, found none"),
        ('[lines.a]\ndeclarations = "other.sre"', "declarations: expected a pattern beside them"),
        ('[lines.a]\nsearch_space = ["speed"]', "search_space: expected names out of pMin, .*, once, came 'speed'"),
        ('[lines.a]\nsearch_space = ["pMin", "p_min"]', "once, came 'p_min'"),
        ("[lines.a]\nsearch_space = [5]", "search_space: expected names .* came 5"),
        ("[lines.a]\nsearch_space = []", "search_space: expected at least one name"),
        ('[lines.a]\nsearch_space = "pMin"', "Expected `array`, got `str` - at `$.search_space`"),
        ("[lines.a]\nbaseline = { speed = 1 }", "baseline: expected names out of"),
        ("[lines.a]\nbaseline = { pMin = 0.1, p_min = 0.1 }", "baseline: expected names .*, once"),
        ("[lines.a]\nbaseline = { pMin = 2.0 }", "p_min must be"),
        ("[lines.a]\nbaseline = { order = 2.5 }", "[lines.a]: "),
        ("[lines.a]\nbaseline = { order = 7 }", "baseline: order: expected at most max_order = 6, came 7"),
        ("[lines.a]\nbaseline = { k = 21 }", "baseline: k: expected at most k_max = 20, came 21"),
        ("[lines.a]\nbaseline = 5", "baseline: expected a table of names and values, came 5"),
        ('[lines."a/b"]\nmin_events = 1', "[lines.a/b]: expected a key of the form"),
        ("[lines.harbour]\n[lines.Harbour]\n", "[lines.harbour] and [lines.Harbour] differ in case only"),
        ('[kafka]\nbroker = "x"', "unknown field `broker`"),
    ],
)
def test_configuration_that_cannot_work_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(str(tmp_path / "factory.toml"))
    assert "\n" not in message
    for part in expected.split(" .*"):
        assert part.removeprefix(",") in message


def test_refusal_names_the_environment_where_it_has_a_part(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"factory.toml under \{'log_level': 'loud'\}: Invalid enum value 'loud'"):
        load(tmp_path, "", {"FACTORY_LOG_LEVEL": "loud"})


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml", {})


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "factory.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"factory\.toml: "):
        load_config(tmp_path / "factory.toml", {})


def test_demo_configuration_can_be_used() -> None:
    line = load_config(DEMO, {}).line("default")
    assert line.pattern is not None
    assert [WIRE_NAMES[field] for field in line.search_space] == ["pMin", "gamma", "order", "confidence"]


def test_effective_configuration_names_every_field_and_no_secret(tmp_path: Path) -> None:
    secret = "correct horse battery staple"
    environment = {"FACTORY_KAFKA_PASSWORD": secret, "FACTORY_KAFKA_KEY_PASSWORD": secret}
    shown = effective(load(tmp_path, '[lines.harbour]\npattern = "arrival.sre"', environment))
    assert secret not in shown
    fields: dict[str, Any] = json.loads(shown)
    assert fields.keys() == Config.__dataclass_fields__.keys()
    assert fields["lines"]["harbour"].keys() == set(LineSettings.__struct_fields__)
    assert fields["lines"]["harbour"]["pattern"] == str(tmp_path / "arrival.sre")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dataflow.config", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def test_command_line_prints_what_can_be_used_and_refuses_in_one_line(tmp_path: Path) -> None:
    load(tmp_path, 'log_level = "error"')
    good = run(FACTORY_CONFIG=str(tmp_path / "factory.toml"))
    assert (good.returncode, json.loads(good.stdout)["log_level"]) == (0, "error")
    bad = run(str(tmp_path / "none.toml"))
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("configuration: ")
    assert bad.stderr.count("\n") == 1


def test_help_teaches_with_an_example_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert EXAMPLE in shown
    assert all(name in shown for name in ("FACTORY_CONFIG", "FACTORY_BROKERS", *OVERRIDES))
    config = load(tmp_path, EXAMPLE)
    assert (config.line("harbour").min_events, config.limits.sweep) == (500, 500)
