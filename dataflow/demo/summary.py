"""The demo's end: did everything happen, what is the model worth, and `summary.json`.

Knows the story as the board has it and the volume; runs no process.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dataflow.demo.board import Board, lock_of
from dataflow.demo.collector import WEEK, days_of
from dataflow.demo.engine import Foresight, foresee
from dataflow.demo.timetable import DAYS, WINDOW
from dataflow.demo.topics import Message
from dataflow.demo.view import steps_table


@dataclass(frozen=True)
class Ending:
    """What the finalised model is worth: on the days it was trained on, and on the day after them."""

    model: Message
    trained: Foresight
    next_day: Foresight


def judge(board: Board) -> Ending | None:
    """Let the inference engine try the finalised model; None if there is none."""
    finalised = next((model for model in board.models if model["creation_method"] == "optimisation"), None)
    if finalised is None:
        return None
    trained_on = board.announced[finalised["dataset_version"]]["buckets_range"]
    days = dict(days_of(WEEK))
    after = min(day for day in days if day > trained_on[-1])
    path = Path(finalised["path"])
    return Ending(
        finalised,
        trained=foresee(path, [days[day] for day in trained_on]),
        next_day=foresee(path, [days[after]]),
    )


def write_summary(root: Path, board: Board, ending: Ending | None, *, seconds: float) -> Message:
    """Write `<root>/summary.json`; return what is in it."""
    summary: Message = {
        "datasets_assembled": len({ack["path"] for ack in board.acks}),
        "acks": len(board.acks),
        "buckets_deleted": len(announced_buckets(board)) - len(list((root / "buckets").iterdir())),
        "trains": sum(model["creation_method"] == "retrain" for model in board.models),
        "steps": len(board.steps),
        "steps_failed": sum(step.mcc is None for step in board.steps),
        "best_params": board.best.params if board.best else None,
        "best_mcc": board.best.mcc if board.best else None,
        "next_day_mcc": ending.next_day.mcc if ending else None,
        "final_model": ending.model["path"] if ending else None,
        "seconds": round(seconds, 3),
        "stage_seconds": _stage_seconds(root / "logs" / "factory.log"),
    }
    (root / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def missing(board: Board, summary: Message, *, steps: int) -> list[str]:
    """Return what should have happened and did not, one line each."""
    expected = {
        "datasets_assembled": DAYS,
        "acks": DAYS,
        "buckets_deleted": DAYS - WINDOW,
        "trains": 2,
        "steps": steps,
        "steps_failed": 0,
    }
    wrong = [
        f"{name} should be {value}, is {summary[name]}" for name, value in expected.items() if summary[name] != value
    ]
    return wrong + list(_broken_promises(board))


def _broken_promises(board: Board) -> Iterator[str]:
    if not any(model["creation_method"] == "optimisation" for model in board.models):
        yield "no model came out of the search"
    for model in board.models:
        path = Path(model["path"])
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != model["sha256"]:
            yield f"{path} is not the model that was announced"
    for ack in board.acks:
        if lock_of(Path(ack["path"])).exists():
            yield f"{ack['path']} is still locked"
    for letter in board.dead_letters:
        yield f"the factory could not use a message: {letter['reason']}"


def show_ending(board: Board, ending: Ending) -> None:
    """Print the search, the models and what the finalised one is worth, for a person."""
    console = Console(highlight=False)
    console.print(steps_table(board, len(board.steps)))
    for model in board.models:
        print(f"model {model['id']} ({model['creation_method']}): {model['path']}")
    for foresight, when in (
        (ending.trained, f"in the {WINDOW} days that the model was trained on"),
        (ending.next_day, "on the next day, which it had not seen"),
    ):
        console.print(sentence(foresight, when), soft_wrap=not console.is_terminal)


def sentence(foresight: Foresight, when: str) -> str:
    """Say what a model is worth in words that need no statistics."""
    return (
        f"Of {foresight.arrivals} arrivals {when}, {foresight.announced} were announced within the {foresight.horizon} "
        f"positions before; {foresight.false_alarms_a_day:.0f} false alarms a day."
    )


def announced_buckets(board: Board) -> set[int]:
    """Return the ids of all buckets that were announced."""
    return {bucket for notice in board.announced for bucket in notice["buckets_range"]}


def _stage_seconds(log: Path) -> dict[str, float]:
    """Sum what the factory logged about the time that its messages took, by stage."""
    total: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            total.update(json.loads(line).get("seconds", {}))
    return {stage: round(seconds, 3) for stage, seconds in total.items()}
