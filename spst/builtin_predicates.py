"""The predicates that every pattern can use, each with its units and its boundary rule.

Attributes are columns; ``EventType`` and ``Timestamp`` are the columns ``type`` and ``timestamp``. Positions are the
columns ``lon`` and ``lat`` in degrees, distances are great-circle kilometres on a sphere of radius 6371 km.
"""

from __future__ import annotations

import numpy as np

from spst.geometry import bearing_degrees
from spst.predicates import DistanceTo, Heading, Numbers, Texts, Truth, predicate


@predicate("TruePredicate", thresholds=True, scalar=True)
def true() -> Truth:
    """``TruePredicate``: every event."""
    return np.array(True)


@predicate("IsEventTypePredicate", thresholds=True, scalar=True)
def is_event_type(name: str, *, type: Texts) -> Truth:
    """``IsEventTypePredicate(name)``: the column ``type`` is this text."""
    return eq_str(type, name)


@predicate("EQStr", thresholds=True, scalar=True)
def eq_str(attribute: Texts, text: str) -> Truth:
    """``EQStr(attribute,text)``: equal, upper and lower case told apart."""
    truth: Truth = attribute == text
    return truth


@predicate("EQ", thresholds=True, scalar=True)
def eq(attribute: Numbers, number: float) -> Truth:
    """``EQ(attribute,number)``: exactly equal, in the attribute's unit."""
    truth: Truth = attribute == number
    return truth


@predicate("GT", thresholds=True, scalar=True)
def gt(attribute: Numbers, number: float) -> Truth:
    """``GT(attribute,number)``: attribute > number, in the attribute's unit."""
    return attribute > number


@predicate("GTE", thresholds=True, scalar=True)
def gte(attribute: Numbers, number: float) -> Truth:
    """``GTE(attribute,number)``: attribute >= number, in the attribute's unit."""
    return attribute >= number


@predicate("LT", thresholds=True, scalar=True)
def lt(attribute: Numbers, number: float) -> Truth:
    """``LT(attribute,number)``: attribute < number, in the attribute's unit."""
    return attribute < number


@predicate("LTE", thresholds=True, scalar=True)
def lte(attribute: Numbers, number: float) -> Truth:
    """``LTE(attribute,number)``: attribute <= number, in the attribute's unit."""
    return attribute <= number


@predicate("BT", thresholds=True, scalar=True)
def bt(attribute: Numbers, low: float, high: float) -> Truth:
    """``BT(attribute,low,high)``: low <= attribute < high, in the attribute's unit."""
    return (low <= attribute) & (attribute < high)


@predicate("EQAttr", thresholds=True, scalar=True)
def eq_attr(left: Numbers, right: Numbers) -> Truth:
    """``EQAttr(left,right)``: two numeric attributes of one event are exactly equal."""
    truth: Truth = left == right
    return truth


@predicate("GTAttr", thresholds=True, scalar=True)
def gt_attr(left: Numbers, right: Numbers) -> Truth:
    """``GTAttr(left,right)``: left > right, two numeric attributes of one event in the same unit."""
    return left > right


@predicate("LTAttr", thresholds=True, scalar=True)
def lt_attr(left: Numbers, right: Numbers) -> Truth:
    """``LTAttr(left,right)``: left < right, two numeric attributes of one event in the same unit."""
    return left < right


@predicate("EQAttrStr", scalar=True)
def eq_attr_str(left: Texts, right: Texts) -> Truth:
    """``EQAttrStr(left,right)``: two text attributes of one event are equal, upper and lower case told apart."""
    truth: Truth = left == right
    return truth


@predicate("WithinCirclePredicate", thresholds=True, scalar=True)
def within_circle(lon: float, lat: float, km: float, *, distance_to: DistanceTo) -> Truth:
    """``WithinCirclePredicate(lon,lat,km)``: distance < km; the circle itself is outside."""
    return distance_to(lon, lat) < km


@predicate("OutsideCirclePredicate", thresholds=True, scalar=True)
def outside_circle(lon: float, lat: float, km: float, *, distance_to: DistanceTo) -> Truth:
    """``OutsideCirclePredicate(lon,lat,km)``: distance >= km, the negation of ``WithinCirclePredicate``."""
    return distance_to(lon, lat) >= km


@predicate("DistanceBetweenPredicate", thresholds=True, scalar=True)
def distance_between(lon: float, lat: float, low: float, high: float, *, distance_to: DistanceTo) -> Truth:
    """``DistanceBetweenPredicate(lon,lat,low,high)``: low < distance < high in km, both circles left out."""
    distance = distance_to(lon, lat)
    return (low < distance) & (distance < high)


@predicate("HeadingTowardsPredicate", scalar=True)
def heading_towards(
    target_lon: float, target_lat: float, degrees: float, *, lon: Numbers, lat: Numbers, heading: Heading
) -> Truth:
    """``HeadingTowardsPredicate(lon,lat,degrees)``: the bearing to the point is less than degrees off the heading.

    The heading is the column ``heading`` if the events have one, else ``cog``, in degrees clockwise from north.
    """
    off_course = bearing_degrees(lon, lat, target_lon, target_lat) - heading
    truth: Truth = abs((off_course + 180.0) % 360.0 - 180.0) < degrees
    return truth
