"""The command `plot`: pictures of a model, of its scores, of a sweep."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from spst import plots
from spst.cli import options
from spst.cli.output import say
from spst.cli.use import PARAMETERS
from spst.errors import SpstError
from spst.forecasts import METHODS
from spst.hyperparameters import Hyperparameters
from spst.scoring import Score
from spst.sweeps import SweepTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = """\
Draw a picture; the ending of --output (.png, .svg, .pdf) says of which kind. Needs the extra `plots`.

  python -m spst plot tree --model onset.spst --output tree.png
  python -m spst plot waiting --model onset.spst --after 3,8 --method smallest --max-spread 3 --output waiting.png
  python -m spst plot threshold --pattern onset.sre --events glucose.csv.gz --output threshold.svg
  python -m spst sweep --pattern onset.sre --events glucose.csv.gz --k 3,5 --order 1,2,3 --json > sweep.json
  python -m spst plot sweep --table sweep.json --output sweep.png
"""


def add(parser: ArgumentParser) -> None:
    """Define `plot` and its kinds."""
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for name, summary in _KINDS.items():
        kind = kinds.add_parser(name, help=summary, description=summary, formatter_class=RawDescriptionHelpFormatter)
        kind.add_argument("--output", required=True, type=Path, metavar="FILE", help="where the picture goes")
        _ADD[name](kind)
        kind.set_defaults(run=plot, kind=name)


def plot(args: Namespace) -> None:
    """Draw one picture."""
    figure = _DRAW[args.kind](args)
    try:
        figure.savefig(args.output)
    except ValueError as error:  # matplotlib knows no such ending
        raise SpstError(f"{args.output}: {error}") from error
    say(str(args.output))


_KINDS = {
    "tree": "the contexts and what follows them",
    "automaton": "the states and what leads from one to another",
    "waiting": "when the next detection is expected after some symbols, and the forecast interval",
    "threshold": "the scores of every threshold",
    "sweep": "the landscape of mcc over one or two hyperparameters",
}


def _add_model(parser: ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="FILE", help="a model (.spst)")
    options.add_predicates(parser)


def _add_tree(parser: ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--max-nodes", type=int, default=40, metavar="N", help="contexts drawn (default: 40)")


def _add_waiting(parser: ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument(
        "--after", default="", metavar="I,J,..", help="symbols so far, oldest first (`show` lists them)"
    )
    parser.add_argument("--method", choices=tuple(METHODS), default="next_k", help="default: next_k")
    for name, kind in PARAMETERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X")


def _add_threshold(parser: ArgumentParser) -> None:
    options.add_pattern(parser)
    options.add_events(parser)
    options.add_hyperparameters(parser)
    options.add_evaluation(parser)


def _add_sweep(parser: ArgumentParser) -> None:
    parser.add_argument("--table", required=True, type=Path, metavar="FILE", help="what `sweep --json` printed")
    parser.add_argument("--over", type=options.names, metavar="X,Y", help="hyperparameters (default: the most varied)")


def _tree(args: Namespace) -> Figure:
    return plots.plot_tree(options.read_model(args), max_nodes=args.max_nodes)


def _automaton(args: Namespace) -> Figure:
    return plots.plot_automaton(options.read_model(args))


def _waiting(args: Namespace) -> Figure:
    given = {name: getattr(args, name) for name in PARAMETERS if getattr(args, name) is not None}
    try:
        after = [int(symbol) for symbol in args.after.split(",") if symbol]
    except ValueError:
        raise SpstError(f"--after takes numbers of symbols separated by commas, not {args.after!r}") from None
    return plots.plot_waiting(options.read_model(args), after, method=args.method, **given)


def _threshold(args: Namespace) -> Figure:
    pattern = options.read_pattern(args)
    chosen = options.hyperparameters(args, pattern)
    prepared = options.prepare(args, pattern, options.open_events(args)(), chosen.order, chosen.k)
    return plots.plot_threshold_curve(prepared.threshold_curve(prepared.fit(chosen)), chosen.threshold)


class _Sweep(msgspec.Struct):
    rows: list[dict[str, Any]]


def _sweep(args: Namespace) -> Figure:
    try:
        rows = msgspec.json.decode(args.table.read_bytes(), type=_Sweep).rows
        tried = tuple(msgspec.convert(row, Hyperparameters) for row in rows)
        table = SweepTable(tried, tuple(msgspec.convert(row, Score) for row in rows))
    except msgspec.MsgspecError as error:
        raise SpstError(f"{args.table}: expected what `sweep --json` prints: {error}") from error
    return plots.plot_sweep(table, args.over)


_ADD = {
    "tree": _add_tree,
    "automaton": _add_model,
    "waiting": _add_waiting,
    "threshold": _add_threshold,
    "sweep": _add_sweep,
}
_DRAW = {"tree": _tree, "automaton": _automaton, "waiting": _waiting, "threshold": _threshold, "sweep": _sweep}
