"""The library's cases: each a name that starts with its target, and a function that yields its rows."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

import spst
from spst.replica import replay
from spst.symbols import SymbolCache, encode
from spst.training import tabulate
from spst.tree import Hyperparameters
from tests.bench.generate import port_pattern, traffic, write_copies, write_traffic
from tests.bench.measure import Figure, Row, in_turn, median, once, peak_rss_mb, ratio, row, seconds

Case = Callable[[bool], Iterator[Row]]
CASES: dict[str, Case] = {}
DATA = Path("build/bench")
PORT_EVENTS = 30_193
COLUMNS = ["timestamp", "mmsi", "lon", "lat", "speed"]
"""What the 14-symbol pattern needs: raw reading of these is what preparing is compared with."""


def case(name: str) -> Callable[[Case], Case]:
    """Register a case under its name, ``TARGET what is measured``."""

    def register(function: Case) -> Case:
        CASES[name] = function
        return function

    return register


def traffic_file(events: int) -> Path:
    """Path of generated traffic, written at first use."""
    DATA.mkdir(parents=True, exist_ok=True)
    return write_traffic(DATA / f"traffic_{events}.csv", events)


def prepared(path: Path, order: int = 5, rings: int = 5, flags: int = 1) -> spst.TrainingSet:
    """Prepare a file for the port pattern with K up to 5."""
    pattern = spst.parse_pattern(*port_pattern(order, rings, flags))
    return spst.TrainingSet.prepare(spst.read_events(path), pattern, order=order, k_max=5)


def with_nodes(training: spst.TrainingSet, order: int, nodes: int) -> Hyperparameters:
    """Hyperparameters whose tree has about the wanted number of nodes, by bisection over p_min."""
    low, high = 1e-7, 0.1
    for _ in range(40):
        middle = (low * high) ** 0.5
        hyperparameters = Hyperparameters(order=order, p_min=middle, gamma=1e-4, threshold=0.3, k=5)
        if len(training.fit(hyperparameters).tree) > nodes:
            low = middle
        else:
            high = middle
    return hyperparameters


@case("D1 one step, 30 k events")
def step_small(quick: bool) -> Iterator[Row]:
    """Fit, waiting times and score on the port-like case."""
    for order, nodes, bound in ((2, 60, 1.5), (5, 200, 3.0)):
        training = prepared(traffic_file(PORT_EVENTS), order)
        chosen = with_nodes(training, order, nodes)
        size = len(training.fit(chosen).tree)
        times = seconds(lambda t=training, h=chosen: t.score(t.fit(h)), 200)  # type: ignore[misc]  # bound by default
        yield row(f"D1 one step, order {order}, {size} nodes", "ms", median(times, 1e3), bound)


@case("D1 one step, 100 k rows")
def step_large(quick: bool) -> Iterator[Row]:
    """A step on many distinct (context, state) rows, with a tree of the usual size and with a large one."""
    training = prepared(traffic_file(50_000 if quick else 150_000), 8, 8, 2)
    rows = len(training.outcomes.context)
    for nodes in (200, 5_000):
        chosen = with_nodes(training, 8, nodes)
        size = len(training.fit(chosen).tree)
        times = seconds(lambda h=chosen: training.score(training.fit(h)), 30)  # type: ignore[misc]  # bound by default
        yield row(f"D1 one step, 40 symbols, {rows} rows, {size} nodes", "ms", median(times, 1e3), 60)


@case("D1 one step against the naive twin")
def step_naive(quick: bool) -> Iterator[Row]:
    """How much faster the score of one model is than the event-by-event twin."""
    events = PORT_EVENTS
    pattern = spst.parse_pattern(*port_pattern(2))
    table = traffic(events)
    training = spst.TrainingSet.prepare(spst.Events.from_columns(columns_of(table)), pattern, order=2, k_max=5)
    model = training.fit(Hyperparameters(order=2, p_min=1e-3, gamma=1e-4, threshold=0.3, k=5))
    stream = encode(spst.Events.from_columns(columns_of(table)), training.alphabet, pattern.partition_by)
    slow, fast = in_turn(lambda: replay(model, stream), lambda: training.score(model), 5)
    yield row(f"D1 score against the event-by-event replica, {events} events", "x", ratio(slow, fast), 10, "min")


@case("D2 flat in the number of events")
def flat(quick: bool) -> Iterator[Row]:
    """The same distinct contexts from few and from many events."""
    DATA.mkdir(parents=True, exist_ok=True)
    copies = 33 if quick else 333
    few = prepared(write_copies(DATA / "copies_1.csv", 30_000, 1))
    many = prepared(write_copies(DATA / f"copies_{copies}.csv", 30_000, copies))
    chosen = with_nodes(few, 5, 200)
    ours, other = in_turn(lambda: many.score(many.fit(chosen)), lambda: few.score(few.fit(chosen)), 100)
    yield row(f"D2 step on {many.n_events} events / step on {few.n_events}", "x", ratio(ours, other), 1.3)


@case("D3 preparing 1 M events")
def preparing(quick: bool) -> Iterator[Row]:
    """Reading, symbols, counts and outcomes, against pyarrow just reading the columns."""
    path = traffic_file(100_000 if quick else 1_000_000)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    options = pa.csv.ConvertOptions(include_columns=COLUMNS)
    reading = pa.csv.ReadOptions(use_threads=False)
    ours, raw = in_turn(
        lambda: prepared(path), lambda: pa.csv.read_csv(path, read_options=reading, convert_options=options), 7
    )
    events = prepared(path).n_events
    yield row("D3 preparing / reading the columns with pyarrow", "x", ratio(ours, raw), 5)
    yield row("D3 preparing, order 5, 7 predicates", "M events/s", median([events / s / 1e6 for s in ours]), 1.5, "min")
    pattern = spst.parse_pattern(*port_pattern(5))
    training = prepared(path)
    symbols = encode(spst.read_events(path), training.alphabet, pattern.partition_by)
    passes = seconds(lambda: tabulate(symbols, [len(symbols.symbols)], training.automaton, 5, 5), 7)
    yield row("D3 the pass after symbols", "ns/event", median(passes, 1e9 / events), 150)


@case("D4 sliding window")
def sliding(quick: bool) -> Iterator[Row]:
    """Seven buckets of which six are known, against seven from the files."""
    size = 20_000 if quick else 150_000
    paths = [write_bucket(number, size) for number in range(8)]
    pattern = spst.parse_pattern(*port_pattern(5))

    def window(first: int, cache: SymbolCache | None) -> spst.TrainingSet:
        chosen = paths[first : first + 7]
        keys = [str(path) for path in chosen]
        events = [spst.read_events(path) for path in chosen]
        return spst.TrainingSet.prepare(events, pattern, order=5, k_max=5, cache=cache, keys=keys)

    def slid() -> float:
        cache = SymbolCache(2**28)
        window(0, cache)
        return once(lambda: window(1, cache))

    pairs = [(slid(), once(lambda: window(1, None))) for _ in range(7)]
    yield row(f"D4 6 of 7 buckets of {size} known / none", "x", ratio(*map(list, zip(*pairs, strict=True))), 0.5)


@case("D5 memory")
def memory(quick: bool) -> Iterator[Row]:
    """Peak memory of preparing 10 M events, and what is held afterwards."""
    before = peak_rss_mb()
    training = prepared(traffic_file(1_000_000 if quick else 10_000_000))
    yield row(
        f"D5 peak RSS of preparing {training.n_events} events ({before:.0f} MB before)",
        "GB",
        Figure(peak_rss_mb() / 1e3),
        1.6,
    )
    held = training.nbytes / training.n_events
    yield row("D5 held after preparing", "bytes/event", Figure(held), 40)


@case("D6 fitting against vlmc")
def fitting(quick: bool) -> Iterator[Row]:
    """Time and peak memory of fitting 3 M symbols at order 5; each fit in a process of its own."""
    size = 300_000 if quick else 3_000_000
    figures: dict[str, list[tuple[float, float]]] = {"ours": [], "vlmc": []}
    for _ in range(3 if quick else 5):
        for who, runs in figures.items():
            command = [sys.executable, "-m", "tests.bench.peers", who, str(size)]
            spent, megabytes = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()
            runs.append((float(spent), float(megabytes)))
    (ours, our_peak), (theirs, their_peak) = ([list(c) for c in zip(*figures[who], strict=True)] for who in figures)
    yield row(f"D6 vlmc (bct) / ours, fitting {size} symbols, order 5", "x", ratio(theirs, ours), 3, "min")
    yield row("D6 our peak memory / vlmc's, above the symbols", "x", ratio(our_peak, their_peak), 0.5)
    yield row("D6 our fit", "s", median(ours))


@case("D7 sweep of 1,000 sets")
def sweeping(quick: bool) -> Iterator[Row]:
    """A grid of 1,000 hyperparameter sets on the port-like case."""
    training = prepared(traffic_file(PORT_EVENTS))
    grid: dict[str, Sequence[float] | float] = {
        "order": [1, 2, 3, 4, 5],
        "p_min": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
        "gamma": [1e-5, 1e-4, 5e-4, 1e-3],
        "threshold": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6],
        "k": 5,
    }
    yield row("D7 sweep of 1,000 sets, 30 k events", "s", median(seconds(lambda: training.sweep(grid), 5)), 1.0)


@case("D9 forecaster")
def forecaster(quick: bool) -> Iterator[Row]:
    """Memory that a forecaster's updates leave behind, and how many events a second it takes."""
    training = prepared(traffic_file(PORT_EVENTS))
    model = training.fit(with_nodes(training, 5, 200))
    table = traffic(PORT_EVENTS)
    names = [*COLUMNS]
    events = [
        dict(zip(names, values, strict=True)) for values in zip(*(table[n].to_pylist() for n in names), strict=True)
    ]
    running = model.forecaster()
    for event in events:
        running.update(event)
    tracemalloc.start()
    settled = tracemalloc.get_traced_memory()[0]
    for event in events:
        running.update(event)
    grown = (tracemalloc.get_traced_memory()[0] - settled) / len(events)
    tracemalloc.stop()
    yield row("D9 memory left by an update", "bytes/event", Figure(grown), 0.5)
    single = seconds(lambda: [running.update(event) for event in events], 5)
    yield row("D9 one event at a time", "events/s", median([len(events) / s for s in single]), 60_000, "min")
    columns = columns_of(table)
    many = seconds(lambda: running.update_many(columns), 9)
    yield row("D9 update_many", "events/s", median([len(events) / s for s in many]), 200_000, "min")


def write_bucket(number: int, events: int) -> Path:
    """One bucket of generated traffic."""
    DATA.mkdir(parents=True, exist_ok=True)
    return write_traffic(DATA / f"bucket_{events}_{number}.csv", events, seed=number)


def columns_of(table: pa.Table) -> dict[str, np.ndarray]:
    """Columns of a table as arrays."""
    return {name: table[name].to_numpy() for name in table.column_names}
