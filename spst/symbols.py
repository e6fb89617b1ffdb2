"""From events to symbols: the last place where events are known.

Owns the stream of symbols with its partitions and resets, and a bounded cache of such streams. Must not know: files,
hyperparameters, trees.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from sys import getsizeof

import numpy as np
import numpy.typing as npt

from spst.alphabet import Alphabet
from spst.arrays import IntArray, frozen
from spst.errors import BadRowsError
from spst.events import Events
from spst.table import BadRow


@dataclass(frozen=True, eq=False)
class Symbols:
    """A stream of events, each reduced to its symbol, in the order of the file.

    Attributes
    ----------
    symbols : uint8 or uint16, shape (n,)
        Symbol of each event; ``n_symbols`` at a reset row.
    partitions : uint8, uint16 or int32, shape (n,), or None
        Partition of each event and reset row, as a place in `values`; None: one partition.
    values : tuple of str
        Partition values, in the order of their first occurrence.
    n_symbols, n_events, rows, rows_skipped : int
        Size of the alphabet; events, which are rows less resets and bad ones; rows read; bad rows.
    timestamps : (float, float) or None
        Smallest and largest timestamp of the events.
    first_bad : BadRow or None
    """

    symbols: IntArray
    partitions: IntArray | None
    values: tuple[str, ...]
    n_symbols: int
    n_events: int
    rows: int
    rows_skipped: int
    timestamps: tuple[float, float] | None
    first_bad: BadRow | None

    @cached_property
    def nbytes(self) -> int:
        """Bytes held."""
        codes = 0 if self.partitions is None else self.partitions.nbytes
        return self.symbols.nbytes + codes + sum(map(getsizeof, self.values))

    def check(self, max_bad_rows: float) -> None:
        """Refuse a stream of which more than a share of the rows, 0..1, was bad.

        Raises
        ------
        BadRowsError
        """
        if self.first_bad is not None and self.rows_skipped > max_bad_rows * self.rows:
            raise BadRowsError(self.rows_skipped, self.rows, self.first_bad.line, self.first_bad.text)


def symbol_type(n_symbols: int) -> type[np.unsignedinteger]:
    """The smaller unsigned type that holds all symbols and the mark of a reset row."""
    return np.uint8 if n_symbols <= np.iinfo(np.uint8).max else np.uint16


def encode(
    events: Events, alphabet: Alphabet, partition_by: str | None = None, progress: Callable[[int], None] | None = None
) -> Symbols:
    """Read events once and keep their symbols.

    Parameters
    ----------
    partition_by : str or None
        Attribute that tells an event's partition.
    progress : called with the number of rows read so far, after every batch

    Raises
    ------
    EventsError, AlphabetError
        See `Events.batches` and `Alphabet.encode`.
    """
    n, kind = len(alphabet), symbol_type(len(alphabet))
    numbering: dict[str, int] = {}
    symbols, partitions = [np.zeros(0, dtype=kind)], [np.zeros(0, dtype=np.int32)]
    rows = skipped = n_events = 0
    spans: list[tuple[float, float]] = []
    first_bad: BadRow | None = None
    for batch in events.batches(alphabet.columns, partition_by):
        marks = np.full(len(batch.is_event), n, dtype=kind)
        marks[batch.is_event] = alphabet.encode(batch.columns, n_events)
        symbols.append(marks)
        if batch.partition is not None:
            partitions.append(_renumbered(batch.partition.codes, batch.partition.values, numbering))
        rows, skipped, n_events = rows + batch.rows, skipped + batch.skipped, n_events + int(batch.is_event.sum())
        spans += [batch.timestamps] if batch.timestamps else []
        first_bad = first_bad or batch.first_bad
        if progress is not None:
            progress(rows)
    return Symbols(
        symbols=frozen(np.concatenate(symbols)),
        partitions=None if partition_by is None else frozen(_narrow(np.concatenate(partitions), len(numbering))),
        values=tuple(numbering),
        n_symbols=n,
        n_events=n_events,
        rows=rows,
        rows_skipped=skipped,
        timestamps=_joined_span(spans),
        first_bad=first_bad,
    )


def _renumbered(codes: IntArray, values: Sequence[str], numbering: dict[str, int]) -> npt.NDArray[np.int32]:
    """Codes of a batch as codes of the stream; new values are added to `numbering`."""
    return np.array([numbering.setdefault(value, len(numbering)) for value in values], dtype=np.int32)[codes]


def _narrow(codes: npt.NDArray[np.int32], n_values: int) -> IntArray:
    return codes.astype(np.uint8 if n_values <= 1 << 8 else np.uint16 if n_values <= 1 << 16 else np.int32, copy=False)


def _joined_span(spans: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None


def join(parts: Sequence[Symbols]) -> Symbols:
    """One stream of several in a row; all from the same alphabet and partition attribute."""
    if len(parts) == 1:
        return parts[0]
    numbering: dict[str, int] = {}
    partitions = None
    if parts[0].partitions is not None:
        codes = [_renumbered(p.partitions, p.values, numbering) for p in parts if p.partitions is not None]
        partitions = frozen(_narrow(np.concatenate(codes), len(numbering)))
    return Symbols(
        symbols=frozen(np.concatenate([part.symbols for part in parts])),
        partitions=partitions,
        values=tuple(numbering),
        n_symbols=parts[0].n_symbols,
        n_events=sum(part.n_events for part in parts),
        rows=sum(part.rows for part in parts),
        rows_skipped=sum(part.rows_skipped for part in parts),
        timestamps=_joined_span([part.timestamps for part in parts if part.timestamps]),
        first_bad=next((part.first_bad for part in parts if part.first_bad), None),
    )


class SymbolCache:
    """Streams by their content, so that buckets which several datasets share are encoded once.

    What was not used for the longest time goes first when there is too much.

    Parameters
    ----------
    max_bytes : int
        What the streams together may hold; a larger one is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[Hashable, Symbols] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(stream.nbytes for stream in self._held.values())

    def get(self, key: Hashable, make: Callable[[], Symbols]) -> Symbols:
        """The stream of a key, made if it is not held; `key` stands for content, alphabet and partition attribute."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        stream = make()
        if stream.nbytes <= self._max_bytes:
            self._held[key] = stream
        while self.nbytes > self._max_bytes:
            self._held.popitem(last=False)
        return stream
