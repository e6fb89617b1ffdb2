"""Seeded vessel traffic of any size around a port, and patterns whose alphabets have a wanted size.

Every vessel draws a distance from the port that wanders in and out, so that all rings are visited; rows of the vessels
are interleaved in time, as a receiver would see them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

PORT_LON, PORT_LAT = -4.47, 48.38
KM_PER_DEGREE = 111.2
ROWS_PER_VESSEL = 1_500
HEADER = b"timestamp,mmsi,lon,lat,speed,cog\n"
BATCH = 1_000_000
"""Rows generated and written at a time: bounds the generator's own memory."""


def traffic(events: int, seed: int = 7, first: int = 0) -> pa.Table:
    """Positions of about ``events / 1500`` vessels, in order of time.

    Parameters
    ----------
    events : int
        Number of rows.
    seed : int
        Of the random generator; equal seeds give equal rows.
    first : int
        Number of the first row: shifts the time stamps and the names of the vessels, for writing in batches.

    Returns
    -------
    pyarrow.Table, columns timestamp (s), mmsi, lon, lat (degrees), speed (knots), cog (degrees)
    """
    rng = np.random.default_rng(seed + first)
    vessels = max(1, events // ROWS_PER_VESSEL)
    steps = -(-events // vessels)
    wander = np.cumsum(rng.normal(0, 0.25, (steps, vessels)), axis=0) + rng.uniform(0, 6, vessels)
    km = np.abs((wander + 6) % 12 - 6)
    angle = np.cumsum(rng.normal(0, 0.05, (steps, vessels)), axis=0) + rng.uniform(0, 2 * np.pi, vessels)
    speed = np.abs(np.diff(wander, axis=0, prepend=wander[:1])) * 30 * rng.uniform(0.5, 1.5, (steps, vessels))
    columns = {
        "timestamp": 1_443_650_000 + first + np.arange(events),
        "mmsi": np.tile(228_000_000 + first // ROWS_PER_VESSEL + np.arange(vessels), steps)[:events],
        "lon": PORT_LON + km * np.cos(angle) / (KM_PER_DEGREE * np.cos(np.radians(PORT_LAT))),
        "lat": PORT_LAT + km * np.sin(angle) / KM_PER_DEGREE,
        "speed": speed,
        "cog": np.degrees(angle) % 360,
    }
    digits = {"lon": 5, "lat": 5, "speed": 1, "cog": 1}
    return pa.table({name: np.round(c.ravel()[:events], digits.get(name, 0)) for name, c in columns.items()})


def write_traffic(path: Path, events: int, seed: int = 7) -> Path:
    """Write ``events`` rows of traffic as CSV with a header line, in batches; an existing file is kept."""
    if path.exists():
        return path
    return _write(path, (traffic(min(BATCH, events - first), seed, first) for first in range(0, events, BATCH)))


def write_copies(path: Path, events: int, copies: int, seed: int = 7) -> Path:
    """Write the same traffic ``copies`` times over, each for other vessels: more events, the same contexts."""
    if path.exists():
        return path
    table = traffic(events, seed)

    def shifted(copy: int) -> pa.Table:
        later = pa.array(table["timestamp"].to_numpy() + copy * events)
        other = pa.array(table["mmsi"].to_numpy() + copy * 10_000)
        return table.set_column(0, "timestamp", later).set_column(1, "mmsi", other)

    return _write(path, (shifted(copy) for copy in range(copies)))


def _write(path: Path, tables: Iterable[pa.Table]) -> Path:
    half = path.with_suffix(".part")
    with half.open("wb") as file:
        file.write(HEADER)
        for table in tables:
            pa.csv.write_csv(table, file, pa.csv.WriteOptions(include_header=False, quoting_style="none"))
    return half.rename(path)


def symbol_stream(events: int, n_symbols: int, seed: int = 7) -> np.ndarray:
    """Symbols that mostly stay or move to a neighbour, as rings around a port do; uint8, shape (events,)."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.choice([-1, 0, 0, 0, 0, 1], events)) % (2 * n_symbols)
    return np.asarray(np.abs(walk - n_symbols).clip(0, n_symbols - 1), dtype=np.uint8)


def port_pattern(order: int, rings: int = 5, flags: int = 1) -> tuple[str, str]:
    """Arrival at a port: two events in the innermost ring around it, then one inside.

    The alphabet has ``(rings + 2) * 2**flags`` symbols: inside, one of the rings or beyond, times the independent flags
    (fast; heading east). 5 rings and 1 flag give 14 symbols, 8 rings and 2 flags 40.

    Returns
    -------
    (str, str)
        Text of the pattern and of its declarations.
    """
    inner, width = 0.8, 5.2 / rings
    port = f"{PORT_LON},{PORT_LAT}"
    inside = f"WithinCirclePredicate({port},{inner})"
    edges = [round(inner + width * i, 3) for i in range(rings + 1)]
    bands = [f"DistanceBetweenPredicate({port},{a},{b})" for a, b in pairwise(edges)]
    extras = [*bands, *["GT(speed,6.0)", "LT(cog,180.0)"][:flags]]
    pattern = f";({bands[0]},{bands[0]},{inside}){{order:{order}}}{{partitionBy:mmsi}}"
    return pattern, f"+({','.join(extras)}),\n~({','.join([inside, *bands])})"
