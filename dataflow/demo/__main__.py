"""The demo: a collector, the factory and a controller on a week of ship traffic in New York harbour.

`python -m dataflow.demo` starts the three as processes, shows what happens, starts the factory again if it dies, and at
the end checks that everything did happen: only then is the exit status 0.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataflow.demo.board import FEED, Board
from dataflow.demo.broker import check_listening, own_broker
from dataflow.demo.processes import DemoFailed, Neighbourhood
from dataflow.demo.summary import judge, missing, show_ending, write_summary
from dataflow.demo.topics import Topic, topics_at
from dataflow.demo.view import LiveView, PlainView, View
from dataflow.errors import FactoryFault

PATIENCE = 300.0
"""Seconds without any news before the demo gives up."""
SPACE_MB = 100
"""What the buckets, datasets and models of a run need (about 10 MB), with room to spare."""
_TICK = 0.05
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit status: 0, 1 if something did not happen, 2 for wrong options, 130 after Ctrl-C."""
    try:
        _demo(_parsed(arguments))
    except (DemoFailed, FactoryFault) as failed:
        print(f"demo: {failed}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"demo: {error.filename or 'the volume'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _demo(options: argparse.Namespace) -> None:
    begin = time.monotonic()
    if options.bootstrap:
        check_listening(options.bootstrap)
    root = _make_root(options.data_root)
    board = Board()
    view: View = PlainView() if options.plain or not sys.stdout.isatty() else LiveView()
    with view:
        view.say(f"data root {root}")
        with _broker(options, root, view) as bootstrap:
            topics = _unused_topics(root, bootstrap)
            neighbourhood = Neighbourhood(root, steps=options.steps, speed=options.speed, bootstrap=bootstrap)
            _converse(neighbourhood, topics, board, view)
    ending = judge(board)
    summary = write_summary(root, board, ending, seconds=time.monotonic() - begin)
    if ending:
        show_ending(board, ending)
    if lacking := missing(board, summary, steps=options.steps):
        raise DemoFailed("; ".join(lacking))


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dataflow.demo", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="an empty or new folder (default: demo-data/run-N)"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="days of traffic per second, at most (default: 1)")
    parser.add_argument("--steps", type=int, default=12, help="steps of the search (default: 12)")
    parser.add_argument("--plain", action="store_true", help="lines instead of the live view")
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--kafka", action="store_true", help="talk over a Kafka broker that the demo starts itself")
    transport.add_argument("--bootstrap", metavar="HOST:PORT", help="talk over a Kafka broker of yours")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be 1 or more, not {options.steps}")
    if not options.speed > 0:
        parser.error(f"--speed must be more than 0 days a second, not {options.speed}")
    if options.bootstrap is not None and not _is_address(options.bootstrap):
        parser.error(f"--bootstrap must be HOST:PORT, not {options.bootstrap!r}")
    return options


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) < 1 << 16


def _make_root(chosen: Path | None) -> Path:
    """Make the data root with its folders; the default is a fresh one below the working directory."""
    root = chosen or next(
        folder for number in itertools.count(1) if not (folder := Path("demo-data") / f"run-{number}").exists()
    )
    root = root.absolute()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DemoFailed(f"{root} is occupied: choose an empty or new folder with --data-root")
    for name in ("buckets", "logs"):
        (root / name).mkdir(mode=0o750, parents=True)
    free_mb = shutil.disk_usage(root).free // 1_000_000
    if free_mb < SPACE_MB:
        raise DemoFailed(f"no space: {SPACE_MB} MB needed in {root}, {free_mb} MB free")
    return root


@contextmanager
def _broker(options: argparse.Namespace, root: Path, view: View) -> Iterator[str | None]:
    """Yield the address of the broker that was named, or of one that ends with the block; None: talk through files."""
    if not options.kafka:
        yield options.bootstrap
        return
    with own_broker(root) as (broker, address):
        view.say(f"broker      started as process {broker.pid}, listens on {address}")
        yield address


def _unused_topics(root: Path, bootstrap: str | None) -> dict[str, Topic]:
    """Open the topics that the story is told from; none may know another one."""
    topics = dict(zip(FEED, map(topics_at(root, bootstrap), FEED), strict=True))
    if used := [name for name, topic in topics.items() if not topic.is_empty()]:
        raise DemoFailed(
            f"topics at {bootstrap} hold messages of an earlier run: {', '.join(used)}; "
            "delete them, or let the demo start a broker of its own with --kafka"
        )
    return topics


def _converse(neighbourhood: Neighbourhood, topics: dict[str, Topic], board: Board, view: View) -> None:
    """Run the three processes to the end of their conversation and show it."""
    try:
        neighbourhood.start()
        view.say(f"factory     started as process {neighbourhood.factory.pid}")
        _watch(neighbourhood, topics, board, view)
    finally:
        status = neighbourhood.stop()
    if status != 0:
        raise DemoFailed(f"the factory did not end by itself when asked to: status {status}")
    for line in _hear(topics, board):  # what it still had to say when the neighbours had heard enough
        view.say(line)
    view.say("factory     ended")
    view.show(board)


def _watch(neighbourhood: Neighbourhood, topics: dict[str, Topic], board: Board, view: View) -> None:
    news = time.monotonic()
    done = False
    while not done:
        done = neighbourhood.done()  # asked before the topics are read: what was said last is still heard
        lines = _hear(topics, board)
        if revived := neighbourhood.revive():
            lines.append(revived)
        for line in lines:
            view.say(line)
        view.show(board)
        if lines:
            news = time.monotonic()
        elif time.monotonic() - news > PATIENCE:
            raise DemoFailed(
                f"nothing happened for {PATIENCE:.0f} s; the logs are in {neighbourhood.factory.log.parent}"
            )
        time.sleep(_TICK)


def _hear(topics: dict[str, Topic], board: Board) -> list[str]:
    """Take the new messages; answers are read before questions, so that no answer is without its question."""
    new = {name: topics[name].new() for name in reversed(FEED)}
    return [line for name in FEED for message in new[name] for line in board.take(name, message)]


if __name__ == "__main__":
    logging.basicConfig(handlers=[logging.NullHandler()])  # what a broker client has to say, the demo says in one line
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the three processes end with this one
    sys.exit(main())
