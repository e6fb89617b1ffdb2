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
    from spst.counts import count_words, find_contexts
    from spst.tree import Hyperparameters, learn

    starts = np.zeros(1, dtype=np.int64)
    contexts, longest = find_contexts(symbols, starts, ORDER, N_SYMBOLS)
    counts = count_words(contexts, longest, symbols, starts, None, 1).of(np.ones(1, dtype=bool))
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
    print(time.perf_counter() - start, peak_rss_mb() - before)


if __name__ == "__main__":
    main()
