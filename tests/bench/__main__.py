"""Run the benchmark: every case in a process of its own, one table, and ``bench.json``.

python -m tests.bench                     all cases: ten minutes, and 1.5 GB of traffic below build/bench
python -m tests.bench --only D1,D7        some targets
python -m tests.bench --quick             smaller sizes, for a look
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.bench import flow_cases, kafka_cases  # noqa: F401 - register their cases
from tests.bench.cases import CASES
from tests.bench.measure import Row

PACKAGES = ("numpy", "scipy", "pyarrow", "bytewax", "msgspec", "vlmc")


def main() -> int:
    """Run the chosen cases and report; the exit status tells whether every bound was kept."""
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    options.add_argument("--only", default="", help="targets to run, such as D1,D7 (default: all)")
    options.add_argument("--quick", action="store_true", help="smaller sizes: a look, not a record")
    options.add_argument("--out", type=Path, default=Path("bench.json"), help="where the figures go")
    options.add_argument("--case", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.case:
        sys.stdout.buffer.write(msgspec.json.encode(list(CASES[chosen.case](chosen.quick))))
        return 0
    wanted = set(filter(None, chosen.only.split(",")))
    rows = [row for name in CASES if not wanted or name.split()[0] in wanted for row in measured(name, chosen.quick)]
    chosen.out.write_bytes(msgspec.json.format(msgspec.json.encode(report(rows)), indent=1))
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


def report(rows: list[Row]) -> dict[str, object]:
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
