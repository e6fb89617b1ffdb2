"""Sweeps: many sets of hyperparameters, and the scores found for them.

Owns grids and the table of results. Must not know: how a set is fitted and scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import product
from typing import TypeAlias

from spst.errors import HyperparameterError
from spst.scoring import Score
from spst.tree import Hyperparameters

Grid: TypeAlias = Mapping[str, Iterable[float] | float]


@dataclass(frozen=True)
class SweepTable:
    """What a sweep found: a score for each set of hyperparameters, in the order in which they were given.

    Attributes
    ----------
    hyperparameters : tuple of Hyperparameters
    scores : tuple of Score
    """

    hyperparameters: tuple[Hyperparameters, ...]
    scores: tuple[Score, ...]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> int:
        """Place of the highest MCC, of several the first.

        Raises
        ------
        HyperparameterError
            The table is empty.
        """
        if not self.scores:
            raise HyperparameterError("a sweep over no hyperparameters has no best")
        return max(range(len(self)), key=lambda place: round(self.scores[place].mcc, 12))

    def rows(self) -> list[dict[str, float | None]]:
        """Plain data, ready for JSON: hyperparameters and score of each set in one row."""
        pairs = zip(self.hyperparameters, self.scores, strict=True)
        return [{**tried.as_dict(), **score.as_dict()} for tried, score in pairs]


def sets_of(tried: Grid | Iterable[Hyperparameters]) -> tuple[Hyperparameters, ...]:
    """Every combination of a grid's values, the last name varying fastest; or what is a list already.

    Raises
    ------
    HyperparameterError
        A name is unknown or missing, or a value out of its range.
    """
    if not isinstance(tried, Mapping):
        return tuple(tried)
    known = {entry.name for entry in fields(Hyperparameters)}
    needed = {entry.name for entry in fields(Hyperparameters) if entry.default is MISSING}
    if not needed <= set(tried) <= known:
        raise HyperparameterError(f"a grid needs {sorted(needed)} and may have {sorted(known)}, not {sorted(tried)}")
    values = [list(v) if isinstance(v, Iterable) and not isinstance(v, str) else [v] for v in tried.values()]
    return tuple(Hyperparameters(**dict(zip(tried, chosen, strict=True))) for chosen in product(*values))
