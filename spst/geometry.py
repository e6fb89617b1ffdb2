"""Distances and bearings on a sphere, for columns of positions or for one position.

Plain floats are computed with `math`, arrays with NumPy: the same formulas, results that may differ in the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

EARTH_RADIUS_KM = 6371.0  # mean radius, as in the reference results


def distance_km(lon: Any, lat: Any, centre_lon: float, centre_lat: float) -> Any:
    """Great-circle distance to a centre by the haversine formula.

    Parameters
    ----------
    lon, lat : float or ndarray, shape (n_events,)
        Positions in degrees.
    centre_lon, centre_lat : float
        The centre in degrees.

    Returns
    -------
    float or ndarray, shape (n_events,)
        Kilometres, from 0 to half the circumference.
    """
    lib: Any = math if isinstance(lon, float) else np
    phi, centre_phi = lib.radians(lat), math.radians(centre_lat)
    half_phi = (phi - centre_phi) / 2
    half_lambda = (lib.radians(lon) - math.radians(centre_lon)) / 2
    h = lib.sin(half_phi) ** 2 + lib.cos(phi) * math.cos(centre_phi) * lib.sin(half_lambda) ** 2
    capped = min(h, 1.0) if lib is math else np.minimum(h, 1.0)  # rounding may lead past the antipode
    return 2 * EARTH_RADIUS_KM * lib.asin(lib.sqrt(capped))


def bearing_degrees(lon: Any, lat: Any, target_lon: float, target_lat: float) -> Any:
    """Initial great-circle bearing from positions to a target, clockwise from north, in [0, 360)."""
    lib: Any = math if isinstance(lon, float) else np
    phi, target_phi = lib.radians(lat), math.radians(target_lat)
    delta = math.radians(target_lon) - lib.radians(lon)
    east = lib.sin(delta) * math.cos(target_phi)
    north = lib.cos(phi) * math.sin(target_phi) - lib.sin(phi) * math.cos(target_phi) * lib.cos(delta)
    return lib.degrees(lib.atan2(east, north)) % 360.0
