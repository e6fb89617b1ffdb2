"""What watches the factory: rules and dashboard name only what a process really exports, and can be read."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest
import yaml

from tests.brokers import free_port
from tests.e2e.factory import DEADLINE, Factory
from tests.e2e.manifests import K8S
from tests.e2e.scenario import prepare

MONITORING = K8S / "monitoring"
METRIC = re.compile(r"\b(?:factory|bytewax|process)_[a-z_]+")
SCRAPED = {"up"}
"""What Prometheus adds by itself."""


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(msgspec.json.decode((MONITORING / "dashboard.json").read_bytes())["panels"])


def expressions() -> dict[str, str]:
    """Return every expression of rules and dashboard, by what it is for."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in panels():
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """The names of all samples that a running process can show, from its own page."""
    folder, port = tmp_path_factory.mktemp("exported"), free_port()
    prepare(folder / "root", folder / "settings")
    api = {"ENABLED": "yes", "PORT": str(port), "CACHE_PATH": str(folder)}
    factory = Factory(folder / "root", folder, {f"BYTEWAX_DATAFLOW_API_{name}": value for name, value in api.items()})
    factory.start()
    try:
        yield set(_names(_page(factory, port)))
    finally:
        factory.kill()


def _page(factory: Factory, port: int) -> str:
    """Return the page once the flow has taken a snapshot: Bytewax shows what it has measured."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert factory.is_running(), factory.last_words()
        assert time.monotonic() < deadline, factory.last_words()
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE) as answer:
                page: str = answer.read().decode()
        except OSError:
            page = ""
        if "bytewax_snapshot_duration_seconds_count" in page:
            return page
        time.sleep(0.1)


def _names(page: str) -> Iterator[str]:
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        yield from (name + suffix for suffix in suffixes)


@pytest.mark.parametrize("purpose", expressions())
def test_expression_names_what_is_exported(purpose: str, exported: set[str]) -> None:
    expression = expressions()[purpose]
    named = set(METRIC.findall(expression))
    assert named or any(re.search(rf"\b{name}\b", expression) for name in SCRAPED)
    assert named <= exported


def test_metrics_of_the_factory_are_watched(exported: set[str]) -> None:
    """What is exported and looked at nowhere is not worth exporting; creation times come with every counter."""
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("factory_")}
    named = " ".join(expressions().values())
    unwatched = {name for name in ours if name not in named and not name.endswith("_created")}
    assert unwatched == UNWATCHED


UNWATCHED = {"factory_dataset_version", "factory_dataset_bytes", "factory_open_sessions", "factory_assembly_seconds"}
"""For a closer look by hand."""


def test_dashboard_has_a_place_for_every_panel() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert [panel["id"] for panel in panels()] == list(range(1, len(panels()) + 1))
    assert all(panel["description"] for panel in panels())


def test_alerts_say_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_scrape_finds_the_service() -> None:
    monitor = yaml.safe_load((MONITORING / "scrape.yaml").read_text())["spec"]
    service = yaml.safe_load((K8S / "base" / "service.yaml").read_text())
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert {each["port"] for each in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    return found


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    """The rules as Prometheus itself reads them."""
    spec = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_rules_can_be_read(rule_file: Path) -> None:
    checked = subprocess.run([promtool(), "check", "rules", rule_file], capture_output=True, text=True, check=False)
    assert (checked.returncode, f"{len(rules())} rules found" in checked.stdout) == (0, True), checked.stderr


STORY = """
rule_files: [rules.yml]
evaluation_interval: 1h
tests:
  - interval: 1h  # the process starts again after hour 1 and shows nothing of the line from then on
    input_series:
      - {series: 'factory_dataset_assembled_seconds{namespace="f", key="k"}', values: '0 0 _x120'}
      - {series: 'factory_locked_since_seconds{namespace="f", key="k"}', values: '0 3600 _x120'}
      - {series: 'factory_locked_since_seconds{namespace="f", key="closed"}', values: '3600 0 _x120'}
      - {series: 'factory_locked_since_seconds{namespace="f", key="moved", instance="a"}', values: '3600 3600 _x120'}
      - {series: 'factory_locked_since_seconds{namespace="f", key="moved", instance="b"}', values: '_ _ 0x120'}
    alert_rule_test:
      - {eval_time: 71h, alertname: FactoryNoDataset, exp_alerts: []}
      - eval_time: 73h
        alertname: FactoryNoDataset
        exp_alerts:
          - exp_labels: {namespace: f, key: k, severity: warning}
            exp_annotations:
              summary: k has had no new dataset for 3d 1h 0m 0s
              description: Does its collector run? Do the dead letters name a bucket that is missing?
      - {eval_time: 7h, alertname: FactoryOldLock, exp_alerts: []}
      - eval_time: 8h
        alertname: FactoryOldLock
        exp_alerts:
          - exp_labels: {namespace: f, key: k, severity: warning}
            exp_annotations:
              summary: The session of k has been open for 7h 0m 0s
              description: >-
                It ends with opt_finalise, opt_abort or the next opt_initialise; its dataset is kept until then.
"""


MISSING_POD = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m  # of two pods one is not there: the other answers and waits for it
    input_series:
      - {series: 'up{service="model-factory-peers", namespace="f", pod="p-0"}', values: '1x60'}
    alert_rule_test:
      - {eval_time: 4m, alertname: FactoryNoSnapshots, exp_alerts: []}
      - eval_time: 10m
        alertname: FactoryNoSnapshots
        exp_alerts:
          - exp_labels: {service: model-factory-peers, namespace: f, pod: p-0, severity: warning}
            exp_annotations:
              summary: p-0 has made no snapshot for ten minutes
              description: A very long step, a broker that is away, or a pod that waits for the others.
  - interval: 1m  # both are there
    input_series:
      - {series: 'up{service="model-factory-peers", namespace="f", pod="p-0"}', values: '1x60'}
      - {series: 'bytewax_snapshot_duration_seconds_count{namespace="f", pod="p-0", step="s"}', values: '0+6x60'}
    alert_rule_test:
      - {eval_time: 30m, alertname: FactoryNoSnapshots, exp_alerts: []}
      - {eval_time: 30m, alertname: FactoryDown, exp_alerts: []}
  - interval: 1m  # none is there
    alert_rule_test:
      - eval_time: 10m
        alertname: FactoryDown
        exp_alerts:
          - exp_labels: {service: model-factory-peers, severity: critical}
            exp_annotations:
              summary: " does not answer, or there is no pod at all"
              description: "The pods of a factory stop and start together: look at the one whose log says `stopped`."
"""


@pytest.mark.parametrize("story", [STORY, MISSING_POD], ids=["restart", "missing pod"])
def test_rules_tell_what_happened(story: str, rule_file: Path) -> None:
    path = rule_file.with_name("story.yml")
    path.write_text(story)
    told = subprocess.run([promtool(), "test", "rules", path], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
