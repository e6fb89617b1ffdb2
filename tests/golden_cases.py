"""The reference results in `tests/golden`, as Python values; read once per process."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import spst
from spst.model import Model
from spst.symbols import Symbols, encode

GOLDEN = Path(__file__).parent / "golden"
SHIPPED = Path(__file__).parents[1] / "dataflow" / "demo" / "data"
NAMES = sorted(path.stem for path in (GOLDEN / "cases").glob("*.json"))


@dataclass(frozen=True)
class GoldenCase:
    """One case: what went in, what the reference gave."""

    name: str
    meta: dict[str, Any]
    sentences: list[str]
    alphabet: list[dict[str, Any]]
    symbols: dict[str, Any]
    automaton: dict[str, Any]
    counts: dict[str, Any]
    tree: list[dict[str, Any]]
    waiting: dict[str, Any]
    evaluation: dict[str, Any]

    @property
    def data(self) -> Path:
        here = GOLDEN / "data" / str(self.meta["data"])
        return here if here.exists() else SHIPPED / str(self.meta["data"])

    @property
    def hyperparameters(self) -> spst.Hyperparameters:
        names = ("order", "p_min", "gamma", "alpha", "r", "threshold")
        return spst.Hyperparameters(**{name: self.meta[name] for name in names}, k=self.meta["K"])


@cache
def index() -> list[dict[str, str]]:
    with (GOLDEN / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def case(name: str) -> GoldenCase:
    content = json.loads((GOLDEN / "cases" / f"{name}.json").read_text())
    parts = ("meta", "sentences", "alphabet", "symbols", "automaton", "counts", "tree", "waiting", "evaluation")
    return GoldenCase(name, *(content[part] for part in parts))


@cache
def training_set(name: str) -> spst.TrainingSet:
    meta = case(name).meta
    return spst.TrainingSet.prepare(
        spst.read_events(case(name).data),
        spst.parse_pattern(meta["pattern"], meta["declarations"] or ""),
        order=meta["order"],
        k_max=meta["K"],
        policy=meta["policy"],
        forecast_at_detection=meta["forecast_at_detection"],
    )


@cache
def model(name: str) -> Model:
    return training_set(name).fit(case(name).hyperparameters)


@cache
def stream(name: str) -> Symbols:
    trained = model(name)
    return encode(spst.read_events(case(name).data), trained.alphabet, trained.pattern.partition_by)
