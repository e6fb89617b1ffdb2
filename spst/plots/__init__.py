"""Pictures of a model and of its scores (extra `plots`: matplotlib, imported only when something is drawn).

Every function gives a matplotlib figure, to be saved with ``figure.savefig("x.png")`` or shown in a notebook; no global
state of matplotlib is touched. Must not know: files, events, training.
"""

from spst.plots.model import plot_automaton, plot_tree, plot_waiting, symbol_names
from spst.plots.scores import plot_sweep, plot_threshold_curve

__all__ = ["plot_automaton", "plot_sweep", "plot_threshold_curve", "plot_tree", "plot_waiting", "symbol_names"]
