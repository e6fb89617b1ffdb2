"""From one event to its symbol, quickly: the scalar form of an alphabet.

Owns the shortcut of a forecaster: a predicate on a column or distance changes only where that meets one of its
constants (see `spst.regions`), so the symbol depends only on between which constants each property of the event lies.
The first event of every such cell is encoded by the alphabet, the others are looked up. Must not know: partitions,
models.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeAlias

from spst.alphabet import Alphabet
from spst.columns import Columns
from spst.expressions import Predicate, atoms
from spst.geometry import distance_km
from spst.predicates import bind_scalar
from spst.reader import Event
from spst.regions import property_of

MAX_CELLS = 1 << 16  # cells remembered; real patterns have some hundred

_Place: TypeAlias = Callable[[Event], Hashable]


class SymbolLookup:
    """Gives the symbol of one event whose values are known to be there and of the right kind.

    Parameters
    ----------
    alphabet : Alphabet
        The lookup agrees with its `encode_one` for every event that has its `columns`, as floats and texts.
    """

    def __init__(self, alphabet: Alphabet) -> None:
        about: dict[Hashable, list[Predicate]] = {}
        for p in dict.fromkeys(p for sentence in alphabet.sentences for p in atoms(sentence)):
            about.setdefault(property_of(p), []).append(p)
        self._places = tuple(_place(key, group) for key, group in about.items())
        self._encode = alphabet.encode_one
        self._symbols: dict[tuple[Hashable, ...], int] = {}

    def __call__(self, event: Event) -> int:
        """Give the symbol of an event; raises as `Alphabet.encode_one`."""
        cell = tuple([place(event) for place in self._places])
        symbol = self._symbols.get(cell)
        if symbol is None:
            if len(self._symbols) >= MAX_CELLS:
                self._symbols.clear()
            symbol = self._symbols[cell] = self._encode(event)
        return symbol


def _place(about: Hashable, group: Sequence[Predicate]) -> _Place:
    """Make the function that tells where an event's property lies among the constants of the predicates on it."""
    if isinstance(about, Predicate):
        holds = bind_scalar(about)
        return lambda event: holds(Columns(event))
    assert isinstance(about, tuple)
    constants = [arg for p in group for arg in p.args]
    if not about:  # TruePredicate inside a sentence
        return lambda event: None
    if about[0] == "distance":
        return _distance(about[1], about[2], constants)
    names = [name for name, _ in about]
    if about[0][1] == "text":
        return _text(names[0], constants)
    return _number(names[0], constants) if len(names) == 1 else _difference(names[0], names[1], constants)


def _text(name: str, constants: Iterable[object]) -> _Place:
    texts = set(constants)

    def place(event: Event) -> Hashable:
        text: str = event[name]
        return text if text in texts else None

    return place


def _number(name: str, constants: Iterable[object]) -> _Place:
    cuts = _cuts(constants)
    return lambda event: bisect_left(cuts, event[name]) + bisect_right(cuts, event[name])


def _difference(left: str, right: str, constants: Iterable[object]) -> _Place:
    cuts = _cuts([*constants, 0.0])

    def place(event: Event) -> int:
        if event[left] == event[right]:  # also two equal infinities
            return bisect_left(cuts, 0.0) + bisect_right(cuts, 0.0)
        difference = event[left] - event[right]
        return bisect_left(cuts, difference) + bisect_right(cuts, difference)

    return place


def _distance(lon: float, lat: float, constants: Iterable[object]) -> _Place:
    cuts = _cuts(constants)

    def place(event: Event) -> int:
        distance: float = distance_km(event["lon"], event["lat"], lon, lat)
        return bisect_left(cuts, distance) + bisect_right(cuts, distance)

    return place


def _cuts(constants: Iterable[object]) -> list[float]:
    """The distinct numbers among some constants, ascending; the sum of both bisections tells the place of a number."""
    return sorted({constant for constant in constants if isinstance(constant, float)})
