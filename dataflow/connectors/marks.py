"""How a sink knows what it has already written: the highest rank per owner.

Every output has a `source_id` of an owner (a model line, or an input partition for what could not be decoded) and a
rank within it, and one owner's outputs arrive in rank order. So one rank per owner tells everything that was written
before; it knows no files, no brokers and no message but the identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dataflow.connectors import Line
from dataflow.messages import split_source_id

Rank = tuple[int, ...]


class Marks:
    """The highest rank written per owner.

    Parameters
    ----------
    ranks : Mapping of str to tuple of int, optional
        The marks at the time of a snapshot.
    """

    def __init__(self, ranks: Mapping[str, Rank] | None = None) -> None:
        self._ranks = dict(ranks or {})

    def advance(self, source_id: str) -> bool:
        """Move the owner's mark up to this output; False if the output lies at or below it, so was written before."""
        owner, rank = split_source_id(source_id)
        known = self._ranks.get(owner)
        if known is not None and rank <= known:
            return False
        self._ranks[owner] = rank
        return True

    def fresh(self, lines: Iterable[Line]) -> list[Line]:
        """Return what was not written before, in order, and move the marks past it."""
        return [line for line in lines if self.advance(line[0])]

    def snapshot(self) -> dict[str, Rank]:
        """Return a copy that later outputs do not change."""
        return dict(self._ranks)
