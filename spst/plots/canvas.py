"""What all pictures share: how a figure is made, and the colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spst.errors import SpstError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#d9641f", "#2a8a4a", "#8a8f98"


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of some inches.

    Raises
    ------
    SpstError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SpstError("pictures need matplotlib: pip install 'rtcef-model-factory[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained", dpi=120)
