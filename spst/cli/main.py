"""The parser of the command line, and what errors mean to the shell: 0 done, 1 refused and told why, 2 wrong usage."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from spst.cli import learn, new, pictures, use
from spst.errors import SpstError

PROGRAM = "python -m spst"
ABOUT = """\
Forecast complex events: learn, from a stream of events, when a pattern will be detected next.

Start with your own data:       python -m spst new DATA.csv
Every command explains itself:  python -m spst score --help
"""
COMMANDS: tuple[tuple[str, str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    ("new", "look at a file of events; write a pattern to begin with, and a first score", new.ABOUT, new.add),
    ("score", "learn from events and score the forecasts", learn.SCORE, learn.add_score),
    ("sweep", "score many hyperparameters at once", learn.SWEEP, learn.add_sweep),
    ("train", "learn from events and save the model", learn.TRAIN, learn.add_train),
    ("show", "say what is in a model file", use.SHOW, use.add_show),
    ("forecast", "let a model forecast a stream of events", use.FORECAST, use.add_forecast),
    ("plot", "draw a model, its scores or a sweep", pictures.ABOUT, pictures.add),
)


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    whole = argparse.ArgumentParser(prog=PROGRAM, description=ABOUT, formatter_class=raw)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name, summary, about, define in COMMANDS:
        define(commands.add_parser(name, help=summary, description=about, formatter_class=raw))
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str or None
        What follows ``python -m spst``; None: the process's own arguments.

    Returns
    -------
    int
        0, or 1 if it was refused; one line on standard error says why. 2 (as `SystemExit`) for wrong usage.
    """
    args = parser().parse_args(argv)
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has enough; nothing is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SpstError, OSError) as error:
        sys.stderr.write(f"{PROGRAM}: error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
