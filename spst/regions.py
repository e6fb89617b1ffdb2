"""What events can be, as far as the predicates tell: cells in which no predicate on a property changes its truth.

A predicate registered with ``thresholds=True`` changes only where a column, a distance or the difference of two
columns meets one of its constants. So a finite number of samples shows everything: every constant, and the next
number on both sides of it. The predicates themselves are asked for their truth there. Predicates on different
properties are taken as independent, except distances to several centres, which obey the triangle inequality.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spst.columns import Columns
from spst.errors import AlphabetError
from spst.expressions import Predicate
from spst.geometry import EARTH_RADIUS_KM, distance_km
from spst.predicates import bind, definition, predicate_columns, predicate_constants

Cell = Mapping[Predicate, bool]

_HALF_WAY_KM = math.pi * EARTH_RADIUS_KM  # no two points are farther apart
_SLACK_KM = 1e-6  # rounding in distances never rules anything out


def dimensions(predicates: Iterable[Predicate], max_cells: int) -> list[Sequence[Cell]]:
    """Sort predicates by the property that they are about, and list every property's cells.

    Parameters
    ----------
    predicates : iterable of Predicate
        Each once.
    max_cells : int
        Limit on the combinations of distances to several centres.

    Returns
    -------
    list of sequences of mappings
        For every property its cells: the truth of the predicates about it. A predicate that nothing is known about is
        a property of its own with two cells.

    Raises
    ------
    AlphabetError
        There are more combinations of distances than `max_cells`.
    """
    about: dict[Hashable, list[Predicate]] = {}
    for p in predicates:
        about.setdefault(property_of(p), []).append(p)
    centres = {key[1:]: group for key, group in about.items() if isinstance(key, tuple) and key[:1] == ("distance",)}
    cells: list[Sequence[Cell]] = [_cells(key, group) for key, group in about.items() if group not in centres.values()]
    return [*cells, _distance_cells(centres, max_cells)] if centres else cells


def property_of(p: Predicate) -> Hashable:
    """Tell what a predicate is about: columns with their kinds, the distance to a centre, or itself (nothing known)."""
    known, columns = definition(p.name), tuple(sorted(set(predicate_columns(p))))
    if not known.thresholds:
        return p
    if known.distance:
        return "distance", *p.args[:2]
    kinds = [kind for _, kind in columns]
    return columns if len(kinds) <= 1 or kinds == ["number", "number"] else p


def _cells(about: Hashable, group: list[Predicate]) -> Sequence[Cell]:
    if isinstance(about, Predicate):
        return ({about: False}, {about: True})
    assert isinstance(about, tuple)
    names = [name for name, _ in about]
    constants = [value for p in group for value in predicate_constants(p)]
    if about and about[0][1] == "text":
        texts = [*map(str, constants)]
        samples = np.array([*texts, "".join(texts) + "_"])  # the last one differs from all
        return _distinct(_truths(group, Columns({names[0]: samples}), len(samples)))
    numbers = _samples([*map(float, constants), *[0.0] * (len(names) == 2)])
    data = dict(zip(names, (numbers, np.zeros_like(numbers)), strict=False))  # of two columns the difference counts
    return _distinct(_truths(group, Columns(data), len(numbers)))


def _samples(cuts: Iterable[float]) -> NDArray[np.float64]:
    """Every cut and the next numbers on both sides of it, ascending; 0 if there is none."""
    points = np.array(sorted(set(cuts)) or [0.0])
    return np.unique(np.concatenate([np.nextafter(points, -np.inf), points, np.nextafter(points, np.inf)]))


def _truths(group: list[Predicate], columns: Columns, n_samples: int) -> list[dict[Predicate, bool]]:
    truths = [np.broadcast_to(bind(p)(columns), n_samples).tolist() for p in group]
    return [dict(zip(group, sample, strict=True)) for sample in zip(*truths, strict=True)]


def _distinct(cells: Iterable[Cell]) -> list[Cell]:
    return list({tuple(cell.values()): cell for cell in cells}.values())


@dataclass(frozen=True)
class _Ring:
    """The points from `low` to `high` km from a centre (lon, lat in degrees), and what is true there."""

    centre: tuple[float, float]
    low: float
    high: float
    truth: Cell

    def meets(self, other: _Ring) -> bool:
        """Tell whether the triangle inequality, on a sphere, lets a point be in both."""
        apart: float = distance_km(*self.centre, *other.centre)
        nearest = max(self.low - other.high, other.low - self.high)
        farthest = min(self.high + other.high, 2 * _HALF_WAY_KM - self.low - other.low)
        return nearest <= apart + _SLACK_KM and apart <= farthest + _SLACK_KM


def _rings(centre: tuple[float, float], group: list[Predicate]) -> list[_Ring]:
    cuts = [arg for p in group for arg in p.args[2:] if isinstance(arg, float) and 0 <= arg <= _HALF_WAY_KM]
    samples = _samples([*cuts, 0.0])
    samples = samples[(samples >= 0) & (samples <= _HALF_WAY_KM)]
    borders = sorted({0.0, *cuts, _HALF_WAY_KM})
    cells = _truths(group, Columns({}, {centre: samples}), len(samples))
    rings = {}
    for d, cell in zip(samples.tolist(), cells, strict=True):
        low, high = max(b for b in borders if b <= d), min(b for b in borders if b >= d)
        rings[low, high] = _Ring(centre, low, high, cell)
    return list(rings.values())


def _distance_cells(centres: Mapping[tuple[float, float], list[Predicate]], max_cells: int) -> list[Cell]:
    places: list[tuple[_Ring, ...]] = [()]
    for centre, group in centres.items():
        rings = _rings(centre, group)
        places = [(*place, ring) for place in places for ring in rings if all(map(ring.meets, place))]
        if len(places) > max_cells:
            raise AlphabetError(
                f"the distances to {len(centres)} centres have more than {max_cells} combinations; "
                "use the declared alphabet"
            )
    return _distinct({p: true for ring in place for p, true in ring.truth.items()} for place in places)
