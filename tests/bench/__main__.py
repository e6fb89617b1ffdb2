"""Run the benchmark: every case in a process of its own, one table, and ``bench.json``.

`--only D1,D7` runs some targets, `--quick` smaller sizes for a look, `--readme` also puts the table into the README.
All of it takes about ten minutes, and 1 GB of generated traffic below build/bench.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

import msgspec

from tests.bench import cluster_cases, flow_cases, kafka_cases  # noqa: F401 - register their cases
from tests.bench.cases import CASES
from tests.bench.measure import Row

README = Path(__file__).parents[2] / "README.md"
TABLE = re.compile(r"(?<=<!-- begin: benchmark -->\n).*?(?=<!-- end: benchmark -->)", re.DOTALL)


class Report(TypedDict):
    """The content of ``bench.json``."""

    machine: str
    versions: dict[str, str]
    date: str
    rows: list[Row]


PACKAGES = ("numpy", "scipy", "pyarrow", "bytewax", "msgspec", "vlmc")


def main() -> int:
    """Run the chosen cases and report; the exit status tells whether every bound was kept."""
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    options.add_argument("--only", default="", help="targets to run, such as D1,D7 (default: all)")
    options.add_argument("--quick", action="store_true", help="smaller sizes: a look, not a record")
    options.add_argument("--out", type=Path, default=Path("bench.json"), help="where the figures go")
    options.add_argument("--readme", action="store_true", help="put the table into the README")
    options.add_argument("--case", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.case:
        sys.stdout.buffer.write(msgspec.json.encode(list(CASES[chosen.case](chosen.quick))))
        return 0
    wanted = set(filter(None, chosen.only.split(",")))
    rows = [row for name in CASES if not wanted or name.split()[0] in wanted for row in measured(name, chosen.quick)]
    chosen.out.write_bytes(msgspec.json.format(msgspec.json.encode(report(rows)), indent=1))
    if chosen.readme:
        text = README.read_text()
        README.write_text(TABLE.sub(lambda _: markdown(report(rows)), text))
    print(f"\nwritten: {chosen.out}; {sum(row.met for row in rows)} of {len(rows)} figures within their bounds")
    return 0 if all(row.met for row in rows) else 1


def measured(name: str, quick: bool) -> list[Row]:
    """Run one case in its own process, so that its peak memory is its own, and print its rows."""
    command = [sys.executable, "-m", "tests.bench", "--case", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    rows = msgspec.json.decode(done.stdout, type=list[Row])
    for row in rows:
        sign = "<=" if row.sense == "max" else ">="
        bound = "" if row.bound is None else f"{sign} {row.bound:g}"
        verdict = "" if row.bound is None else ("ok" if row.met else "MISSED")
        print(
            f"{row.target:<4} {row.case:<58} {row.value:>10.4g} {row.unit:<10} +-{row.spread:<9.3g} {bound:<10} "
            f"{verdict:<7} {row.peak_rss_mb:>6.0f} MB",
            flush=True,
        )
    return rows


def markdown(content: Report) -> str:
    """The table for the README, with the machine and the date that it was measured on."""
    lines = ["| target | what | measured | spread | bound | peak RSS |", "|---|---|---|---|---|---|"]
    for row in content["rows"]:
        sign = "at most" if row.sense == "max" else "at least"
        bound = "" if row.bound is None else f"{sign} {row.bound:g} {row.unit}" + ("" if row.met else ", **missed**")
        spread = f"{row.spread:.2g}" if row.spread else ""
        figures = f"{row.value:.3g} {row.unit} | {spread} | {bound} | {row.peak_rss_mb:.0f} MB"
        lines.append(f"| {row.target} | {row.case} | {figures} |")
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    return "\n".join([f"Measured on {content['date']}, {content['machine']}; {versions}.", "", *lines, ""])


def report(rows: list[Row]) -> Report:
    """The content of ``bench.json``."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "date": datetime.date.today().isoformat(),
        "rows": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
