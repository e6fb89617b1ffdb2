"""One fit in a process of its own, ours or the peer's: prints its seconds and the MB that it added to the peak.

python -m tests.bench.peers ours|vlmc EVENTS
"""

from __future__ import annotations

import sys
import time

import numpy as np

from tests.bench.generate import symbol_stream
from tests.bench.measure import peak_rss_mb

ORDER, N_SYMBOLS = 5, 14


def ours(symbols: np.ndarray) -> object:
    """Counts and tree of one stream."""
    from spst.arrangement import Arrangement
    from spst.counts import count_words, find_contexts
    from spst.tree import Hyperparameters, learn

    start, end = np.array([0]), np.array([len(symbols) - 1])
    stream = Arrangement(symbols, np.zeros(len(symbols), np.uint8), start, end, N_SYMBOLS, n_buckets=1)
    counts = count_words(stream, *find_contexts(stream, ORDER)).of(np.ones(1, dtype=bool))
    return learn(counts, Hyperparameters(order=ORDER, p_min=1e-4, gamma=1e-4, threshold=0.3, k=5))


def peers(symbols: np.ndarray) -> object:
    """The Bayesian context tree of one stream."""
    import vlmc

    model = vlmc.VLMC(alphabet_size=N_SYMBOLS, max_depth=ORDER, method="bct")
    model.fit([symbols])
    return model


def main() -> None:
    """Fit once on a small stream, so that nothing is loaded later, then measure."""
    fit = {"ours": ours, "vlmc": peers}[sys.argv[1]]
    symbols = symbol_stream(int(sys.argv[2]), N_SYMBOLS)
    fit(symbols[:2_000])
    before = peak_rss_mb()
    start = time.perf_counter()
    fit(symbols)
    sys.stdout.write(f"{time.perf_counter() - start} {peak_rss_mb() - before}\n")


if __name__ == "__main__":
    main()
