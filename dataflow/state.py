"""What one model line remembers between messages: small frozen structs, versioned, without arrays.

Models and datasets are names with hashes. Knows the wire's structs and nothing of files, clocks or Bytewax. A file
belongs to a line exactly as long as `LineState.files` names it: deletions are what the next state no longer names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from dataflow.errors import Code, FactoryFault, ImpossibleTransition
from dataflow.messages import Command, CommandId, Message, Number, Position, Report
from spst.hyperparameters import Hyperparameters

SCHEMA = 1
"""Version of `LineState` in snapshots and journals; a newer one is refused by name."""

FAILED_REMEMBERED = 16
"""Timestamps of failed opt_initialise commands kept, so that their steps meet silence; one controller has one."""

Asked: TypeAlias = Hyperparameters | str
"""What a step asked for: its hyperparameters, or a digest of params that cannot be used."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket's span within an assembled dataset: `start` and `bytes` in bytes, the header line outside."""

    id: int
    start: int
    bytes: int
    rows: int


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """An assembled dataset; `file` is its name in `datasets/`, `prefix` and `timestamp` come from its notice."""

    version: int
    file: str
    sha256: str
    rows: int
    bytes: int
    buckets: tuple[Bucket, ...]
    buckets_range: tuple[int, ...]
    prefix: str
    first_timestamp: Number | None = None
    last_timestamp: Number | None = None
    timestamp: Number | None = None

    @property
    def covers_until(self) -> Number | None:
        """The end of the time span: as its notice says, or else as its rows say; None if neither does."""
        return self.last_timestamp if self.timestamp is None else self.timestamp

    @property
    def path(self) -> str:
        """The dataset, relative to the line's folder."""
        return f"datasets/{self.file}"

    @property
    def manifest(self) -> str:
        """Its manifest, relative to the line's folder."""
        return f"{self.path}.json"

    @property
    def lock(self) -> str:
        """Its lock while a session holds it, relative to the line's folder."""
        return f"{self.path}.lock"


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answered step of a session; without a model it failed, with `code` as the reason."""

    id: CommandId
    asked: Asked
    model_id: int | None = None
    file: str | None = None
    f_val: float | None = None
    code: Code | None = None
    answer: Report | None = None
    """The first answer, kept only where repeats are answered."""


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open optimisation session."""

    timestamp: Number
    dataset: Dataset
    steps: tuple[Step, ...] = ()
    cursor: int | None = None
    """After a repeated opt_initialise: index of the step that a repeating controller would send next."""
    highest_id: int | None = None
    """Highest command number seen, None before the first command that has one."""

    def first_of(self, command_id: CommandId, asked: Asked) -> Step | None:
        """Return the recorded step that a step repeats, None if it is new.

        While a cursor is set, only the step at the cursor can be repeated. Without one, a repeat asks for what is
        recorded under an id that is not new: not above the highest number seen or, without a number, recorded itself.
        """
        if self.cursor is not None:
            step = self.steps[self.cursor]
            return step if step.asked == asked else None
        number = number_of(command_id)
        same = [step for step in self.steps if step.asked == asked]
        same_id = [step for step in same if step.id == command_id]
        if number is None:
            repeated = same_id
        elif self.highest_id is not None and number <= self.highest_id:
            repeated = same_id or same
        else:
            repeated = []
        return repeated[0] if repeated else None

    def saw(self, command_id: CommandId) -> Session:
        """Return the session with the highest number raised to this id's."""
        numbers = [number for number in (self.highest_id, number_of(command_id)) if number is not None]
        return replace(self, highest_id=max(numbers, default=None))

    def rewound(self, command_id: CommandId) -> Session:
        """Return the session after a repeated opt_initialise: the steps may come again from the first on."""
        return replace(self, cursor=0 if self.steps else None, highest_id=number_of(command_id))

    def advanced(self) -> Session:
        """Return the session after a repeated step: the cursor, if there is one, stands on the next or at the end."""
        if self.cursor is None:
            return self
        return replace(self, cursor=self.cursor + 1 if self.cursor + 1 < len(self.steps) else None)

    def recorded(self, step: Step) -> Session:
        """Return the session with a new step; what stood at the cursor and behind it is cut."""
        return replace(self, steps=(*self.steps[: self.cursor], step), cursor=None)


class Closed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The session finalised last, so that a repeated opt_finalise is known."""

    timestamp: Number
    answer: Report | None = None


class FinalModel(msgspec.Struct, frozen=True, kw_only=True):
    """An announced model; `file` is its name in `models/`."""

    model_id: int
    file: str
    sha256: str
    dataset_version: int


class LineState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a model line remembers.

    Attributes
    ----------
    schema : int
        `SCHEMA` of the code that wrote it.
    seq : int
        Number of the journal entry that made this state; 0 before the first.
    dataset : Dataset or None
        The current dataset.
    session : Session or None
        The open session; its dataset is locked.
    failed : tuple of timestamps
        Failed opt_initialise commands, oldest first, at most `FAILED_REMEMBERED`.
    closed : Closed or None
        The session finalised last.
    next_model_id : int
        Never reused; a step that fails takes one too.
    models : tuple of FinalModel
        Announced models still kept, oldest first.
    marks : dict
        `stream/partition` -> highest offset handled.
    waiting : tuple of commands
        What waits for a dataset that covers it, in order.
    """

    schema: int = SCHEMA
    seq: int = 0
    dataset: Dataset | None = None
    session: Session | None = None
    failed: tuple[Number, ...] = ()
    closed: Closed | None = None
    next_model_id: int = 1
    models: tuple[FinalModel, ...] = ()
    marks: dict[str, int] = {}
    waiting: tuple[Command, ...] = ()

    def __deepcopy__(self, memo: object) -> LineState:
        """Return the state itself, of which nothing ever changes: Bytewax copies every state before it pickles it."""
        return self

    def __reduce__(self) -> tuple[Callable[..., LineState], tuple[bytes, str]]:
        """Be JSON in the recovery store too: what is pickled names no class, and can be read by later code."""
        return read_state, (msgspec.json.encode(self), "the recovery store")

    def knows(self, position: Position) -> bool:
        """Tell whether the message at this position was handled before."""
        return position.offset <= self.marks.get(mark_of(position), -1)

    def files(self) -> frozenset[str]:
        """Return every file that the line holds, relative to its folder."""
        held = {f"models/{model.file}" for model in self.models}
        if self.dataset:
            held |= {self.dataset.path, self.dataset.manifest}
        if self.session:
            locked = self.session.dataset
            held |= {locked.path, locked.manifest, locked.lock}
            held |= {f"models/{step.file}" for step in self.session.steps if step.file}
        return frozenset(held)

    def validate(self) -> None:
        """Check what holds after every message.

        Raises
        ------
        ImpossibleTransition
            Naming what does not hold.
        """
        session, waiting = self.session, [command.position for command in self.waiting]
        finals, steps = self.models, session.steps if session else ()
        made = [step for step in steps if step.file is not None]
        ids = [model.model_id for model in finals], [step.model_id or 0 for step in made]
        files = [model.file for model in finals] + [step.file for step in made]
        rules = {
            "schema, entry and model numbers": self.schema == SCHEMA and self.seq >= 0 and self.next_model_id >= 1,
            "a current dataset beside a session": session is None or self.dataset is not None,
            "the cursor on a step": session is None or session.cursor is None or 0 <= session.cursor < len(steps),
            "a model or a code for every step": all((step.file is None) == (step.code is not None) for step in steps),
            "hyperparameters for every model": not any(isinstance(step.asked, str) for step in made),
            "rising model numbers below the next": all(
                row == sorted(set(row)) and all(0 < number < self.next_model_id for number in row) for row in ids
            ),
            "a file for every model": len(files) == len(set(files)),
            "an open session that has not ended": session is None
            or session.timestamp not in (*self.failed, self.closed and self.closed.timestamp),
            "few and different failures": len(set(self.failed)) == len(self.failed) <= FAILED_REMEMBERED,
            "known and different waiting commands": len(set(waiting)) == len(waiting) and all(map(self.knows, waiting)),
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ImpossibleTransition(f"expected {'; '.join(broken)}, came {self}")


def impossible(state: LineState, message: Message, what: str) -> ImpossibleTransition:
    """Return the error that tells the story: key, state, message, and what cannot be."""
    story = f"line {message.key!r} after entry {state.seq}: {what}; message {message}; state {state}"
    return ImpossibleTransition(story)


def number_of(command_id: CommandId) -> int | None:
    """Return the number of a command: the id itself, or the digits at the end of a text (the last 18: 64 bits)."""
    if isinstance(command_id, int):
        return command_id
    digits = re.search(r"[0-9]{1,18}\Z", command_id)
    return int(digits[0]) if digits else None


def mark_of(position: Position) -> str:
    """Return the name under which a position's partition stands in `LineState.marks`."""
    return f"{position.stream}/{position.partition}"


class _Schema(msgspec.Struct):
    schema: int


def read_state(content: bytes | msgspec.Raw, where: str) -> LineState:
    """Return a state from its JSON. Recovery stores name this function: it keeps its name and its arguments.

    Parameters
    ----------
    content : bytes
        What any release so far has written.
    where : str
        Where it stands, for the complaint.

    Raises
    ------
    FactoryFault
        If a newer factory wrote it.
    """
    schema = msgspec.json.decode(content, type=_Schema).schema
    if schema > SCHEMA:
        raise FactoryFault(
            f"{where} has a line's state of schema {schema}, this factory knows {SCHEMA} and older: "
            "start the newer factory"
        )
    return replace(msgspec.json.decode(content, type=LineState), schema=SCHEMA)
