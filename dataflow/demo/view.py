"""The demo on the terminal: a picture that is drawn anew while it goes on, or one line for everything that happens.

Draws a `Board`; decides nothing.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dataflow.demo.board import Board, dataset_state, day_name
from dataflow.demo.controller import SEARCH_SPACE


class View(Protocol):
    """Where the demo shows what happens."""

    def say(self, line: str) -> None:
        """Tell one thing that happened."""

    def show(self, board: Board) -> None:
        """Bring the picture up to date."""

    def __enter__(self) -> View:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""


class PlainView:
    """One line for everything that happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def say(self, line: str) -> None:
        """Print the line."""
        print(f"{time.monotonic() - self._begin:6.1f} s  {line}", flush=True)

    def show(self, board: Board) -> None:
        """Draw nothing."""

    def __enter__(self) -> PlainView:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing to be undone."""


class LiveView:
    """Tables that are drawn anew, with the newest lines below them; it fits a terminal of 80 by 24 characters."""

    _DATASETS, _STEPS, _LINES = 4, 4, 3

    def __init__(self) -> None:
        self._said: list[str] = []
        self._live = Live(console=Console(), refresh_per_second=8, transient=True)

    def say(self, line: str) -> None:
        """Keep the line for the foot of the picture."""
        self._said.append(line)

    def show(self, board: Board) -> None:
        """Draw the board."""
        foot = Text("\n".join(self._said[-self._LINES :]), style="dim", no_wrap=True, overflow="ellipsis")
        tables = datasets_table(board, self._DATASETS), steps_table(board, self._STEPS)
        self._live.update(Group(*tables, Panel(foot, title="now")))

    def __enter__(self) -> LiveView:
        """Take the terminal."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        self._live.stop()


def datasets_table(board: Board, newest: int) -> RenderableType:
    """Return the newest dataset versions: their days, their size, and which is current or locked."""
    table = Table("version", "days", "positions", "state", title="Datasets", title_justify="left", box=SIMPLE_HEAD)
    for notice in board.announced[-newest:]:
        ack = next((ack for ack in board.acks if ack["version"] == notice["version"]), None)
        days = " ".join(day_name(bucket) for bucket in notice["buckets_range"])
        rows, state = (f"{ack['rows']:,}", dataset_state(ack, board.acks[-1])) if ack else ("", "assembling")
        style = "bold" if "locked" in state else "dim" if state == "removed" else ""
        table.add_row(str(notice["version"]), days, rows, state, style=style)
    return table


def steps_table(board: Board, newest: int) -> RenderableType:
    """Return the newest steps of the search with their parameters and MCC, the best one marked."""
    best = f", best MCC {board.best.mcc:.3f}" if board.best else ""
    title = f"Search: {len(board.steps)} steps{best}"
    table = Table("step", *SEARCH_SPACE, "MCC", "", title=title, title_justify="left", box=SIMPLE_HEAD)
    for number, step in list(enumerate(board.steps, start=1))[-newest:]:
        values = (f"{value:.4g}" for value in step.params.values())
        mcc = step.error if step.mcc is None else f"{step.mcc:.3f}"
        mark, style = ("best", "bold green") if step is board.best else ("", "")
        table.add_row(str(number), *values, mcc, mark, style=style)
    return table
