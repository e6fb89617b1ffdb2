"""The protocol a second time, written from docs/protocol alone: mutable, plain and slow, the twin of decide and evolve.

One `Line` takes messages as wire objects and returns what a peer would see of the answers, as short tuples:
("report", id, "success" or error code, model), ("model", model), ("ack", version), ("dead", code).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

Wire = dict[str, Any]
Seen = tuple[Any, ...]

BASELINE = {"pmin": 0.001, "gamma": 0.0005}
MIN_EVENTS = 50
UNFIT = 0.9


@dataclass
class Data:
    version: int
    rows: int
    timestamp: int


@dataclass
class Entry:
    id: int | str
    wants: Any
    model: int | None
    answer: list[Seen]


@dataclass
class Search:
    timestamp: int
    data: Data
    highest: int | None
    record: list[Entry] = field(default_factory=list)
    cursor: int | None = None


@dataclass
class Line:
    answers_repeats: bool = False
    slack: int | None = None
    queue_limit: int = 100
    data: Data | None = None
    search: Search | None = None
    failed: list[int] = field(default_factory=list)
    finalised: int | None = None
    final_answer: list[Seen] = field(default_factory=list)
    models: int = 0
    queue: list[Wire] = field(default_factory=list)

    def dataset(self, notice: Wire) -> list[Seen]:
        if "nowhere" in notice["path_prefix"]:
            return [("dead", "missing_bucket")]
        rows = 10 if "small" in notice["path_prefix"] else 100
        self.data = Data(notice["version"], rows, notice["timestamp"])
        seen: list[Seen] = [("ack", notice["version"])]
        while self.queue and not self.too_new(self.queue[0]):
            seen += self.obey(self.queue.pop(0))
        return seen

    def command(self, command: Wire) -> list[Seen]:
        if not self.queue and not self.too_new(command):
            return self.obey(command)
        if len(self.queue) == self.queue_limit:
            return self.refuse(command, "waiting_full")
        self.queue.append(command)
        return []

    def too_new(self, command: Wire) -> bool:
        if self.slack is None or command["type"] not in ("train", "opt_initialise", "opt_sweep"):
            return False
        if command["type"] != "train" and self.own(command):
            return False
        return self.data is None or command["timestamp"] > self.data.timestamp + self.slack

    def own(self, command: Wire) -> bool:
        return self.search is not None and self.search.timestamp == command["timestamp"]

    def obey(self, command: Wire) -> list[Seen]:
        kind = command["type"]
        if self.own(command) and self.search and kind != "train":
            return getattr(self, kind)(command, self.search)  # type: ignore[no-any-return]  # the methods below
        if kind in ("train", "opt_initialise", "opt_sweep"):
            if self.data is None:
                return self.refuse(command, "no_dataset")
            if self.data.rows < MIN_EVENTS:
                return self.refuse(command, "too_few_events")
            return self.train(command) if kind == "train" else self.start(command, self.data)
        if command["timestamp"] in self.failed and kind != "opt_abort":
            return []
        if kind == "opt_finalise" and command["timestamp"] == self.finalised:
            return self.final_answer if self.answers_repeats else []
        return self.refuse(command, "no_session")

    def refuse(self, command: Wire, code: str) -> list[Seen]:
        seen: list[Seen] = [("report", command["id"], code, None)]
        if command["type"] == "opt_initialise" and not self.own(command):
            self.failed = [other for other in self.failed if other != command["timestamp"]] + [command["timestamp"]]
            self.failed = self.failed[-16:]
            self.search = self.search if code == "waiting_full" else None
        if command["type"] == "opt_step" and self.own(command) and self.search:
            self.note(self.search, command)
            self.write(self.search, Entry(command["id"], meaning(command["params"]), None, seen))
        return seen

    def train(self, command: Wire) -> list[Seen]:
        wants = meaning(command["params"]) if command["params"] is not None else BASELINE
        return self.fit(command, wants)

    def fit(self, command: Wire, wants: Any) -> list[Seen]:
        if isinstance(wants, str):
            return self.refuse(command, "bad_params")
        self.models += 1
        if wants["gamma"] == UNFIT:
            return self.refuse(command, "bad_params")
        return [("report", command["id"], "success", self.models), ("model", self.models)]

    def start(self, command: Wire, data: Data) -> list[Seen]:
        if command["type"] == "opt_sweep":
            return self.opt_sweep(command, None)
        self.search = Search(command["timestamp"], data, number(command["id"]))
        self.failed = [other for other in self.failed if other != command["timestamp"]]
        if self.finalised == command["timestamp"]:
            self.finalised = None
        return []

    def opt_sweep(self, command: Wire, search: Search | None) -> list[Seen]:
        if search:
            self.note(search, command)
        points = [meaning(point) for point in command["params"]]
        if not points or any(isinstance(point, str) for point in points):
            return self.refuse(command, "bad_params")
        return [("report", command["id"], "success", None)]

    def opt_initialise(self, command: Wire, search: Search) -> list[Seen]:
        search.cursor, search.highest = (0 if search.record else None), number(command["id"])
        return []

    def opt_step(self, command: Wire, search: Search) -> list[Seen]:
        wants, told = meaning(command["params"]), number(command["id"])
        repeated = None
        if search.cursor is not None:
            if search.record[search.cursor].wants == wants:
                repeated = search.record[search.cursor]
                search.cursor = search.cursor + 1 if search.cursor + 1 < len(search.record) else None
        else:
            same = [entry for entry in search.record if entry.wants == wants]
            same_id = [entry for entry in same if entry.id == command["id"]]
            if told is None:
                repeated = same_id[0] if same_id else None
            elif same and search.highest is not None and told <= search.highest:
                repeated = (same_id + same)[0]
        self.note(search, command)
        if repeated:
            return repeated.answer if self.answers_repeats else []
        seen = self.fit(command, wants)
        if seen[0][2] == "success":
            self.write(search, Entry(command["id"], wants, self.models, seen[:1]))
        return seen[:1]

    def opt_finalise(self, command: Wire, search: Search) -> list[Seen]:
        self.note(search, command)
        best = command["best_i"]
        if type(best) is not int or not 0 <= best < len(search.record) or search.record[best].model is None:
            return self.refuse(command, "invalid_best_i")
        seen = self.fit(command, search.record[best].wants)
        self.search, self.finalised, self.final_answer = None, search.timestamp, seen[:1]
        return seen

    def opt_abort(self, command: Wire, search: Search) -> list[Seen]:
        self.search = None
        return [("report", command["id"], "success", None)]

    def note(self, search: Search, command: Wire) -> None:
        told = number(command["id"])
        if told is not None and (search.highest is None or told > search.highest):
            search.highest = told

    def write(self, search: Search, entry: Entry) -> None:
        if search.cursor is not None:
            del search.record[search.cursor :]
            search.cursor = None
        search.record.append(entry)


def number(command_id: int | str) -> int | None:
    if isinstance(command_id, int):
        return command_id
    digits = re.findall(r"\d+$", command_id)
    return int(digits[0]) if digits else None


def meaning(params: Any) -> dict[str, float] | str:
    """Return pMin and gamma, or the text of what means nothing."""
    given = json.loads(params) if isinstance(params, str) else params
    given = given["params"] if isinstance(given, dict) and "params" in given else given
    if isinstance(given, list) and len(given) == 2:
        given = dict(zip(("pmin", "gamma"), given, strict=True))
    if isinstance(given, dict):
        named = BASELINE | {name.lower().replace("_", ""): value for name, value in given.items()}
        if named.keys() == BASELINE.keys() and all(0 <= value < 1 for value in named.values()):
            return named
    return f"unusable {params}"
