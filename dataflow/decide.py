"""What a message means in the state a line is in: a table of situations and messages, one small function each.

Pure: no clock, no file, no environment; time and position come with the message. A peer's fault becomes a `Reject`, a
pair that no history can produce raises `ImpossibleTransition`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeAlias

from dataflow.decisions import Abort, Assemble, Decision, Fit, Lock, Purpose, Reject, Repeat, Silence, Sweep, Wait
from dataflow.decoding import shown
from dataflow.errors import Code, RequestRejected
from dataflow.messages import (
    Command,
    DatasetNotice,
    Malformed,
    Message,
    OptAbort,
    OptFinalise,
    OptInitialise,
    OptStep,
    OptSweep,
    Report,
    Train,
)
from dataflow.params import asked, resolve, resolve_grid, resolve_or_baseline
from dataflow.settings import LineSettings
from dataflow.state import Dataset, LineState, Session, Step, impossible
from spst.hyperparameters import Hyperparameters


class Situation(str, Enum):
    """How a line stands to a message."""

    NO_DATASET = "no_dataset"
    """Nothing has been assembled."""
    READY = "ready"
    """There is a current dataset and no open session."""
    OWN_SESSION = "own_session"
    """The open session has the command's timestamp."""
    OTHER_SESSION = "other_session"
    """A session is open, and the message does not belong to it."""
    WAITING = "waiting"
    """The command is newer than the dataset allows, or stands behind one that is."""


Rule: TypeAlias = Callable[[LineState, Any, LineSettings], Decision]


def decide(state: LineState, message: Message, settings: LineSettings) -> Decision:
    """Return what the line does about a message.

    Raises
    ------
    ImpossibleTransition
        If the table has no such pair.
    """
    situation = situation_of(state, message, settings)
    rule = TRANSITIONS.get((situation, type(message)))
    if rule is None:
        raise impossible(state, message, f"{type(message).__name__} cannot meet the situation {situation.value}")
    try:
        return rule(state, message, settings)
    except RequestRejected as rejected:
        return Reject(code=rejected.code, text=rejected.text)


def situation_of(state: LineState, message: Message, settings: LineSettings) -> Situation:
    """Return how the line stands to the message."""
    if not isinstance(message, DatasetNotice) and _must_wait(state, message, settings):
        return Situation.WAITING
    if state.session is not None:
        own = not isinstance(message, DatasetNotice) and message.timestamp == state.session.timestamp
        return Situation.OWN_SESSION if own else Situation.OTHER_SESSION
    return Situation.NO_DATASET if state.dataset is None else Situation.READY


def releasable(state: LineState, settings: LineSettings) -> Command | None:
    """Return the first waiting command if nothing holds it back any more: to be handled as a message of its own."""
    head = state.waiting[0] if state.waiting else None
    return head if head is not None and _is_covered(state, head, settings) else None


def _must_wait(state: LineState, command: Command, settings: LineSettings) -> bool:
    if state.waiting:
        return state.waiting[0].position != command.position
    return not _is_covered(state, command, settings)


def _is_covered(state: LineState, command: Command, settings: LineSettings) -> bool:
    """Tell whether the current dataset is recent enough for a command that works on the current dataset."""
    slack, timestamp = settings.wait_for_dataset_seconds, command.timestamp
    if slack is None or timestamp is None or not isinstance(command, Train | OptInitialise | OptSweep):
        return True
    if not isinstance(command, Train) and state.session is not None and state.session.timestamp == timestamp:
        return True
    if state.dataset is None:
        return False
    until = state.dataset.covers_until
    return until is None or timestamp <= until + slack


def _assemble(state: LineState, notice: DatasetNotice, settings: LineSettings) -> Decision:
    locked = state.session.dataset if state.session else None
    held = {dataset.file: dataset for dataset in (state.dataset, locked) if dataset is not None}
    return Assemble(notice=notice, held=tuple(held.values()))


def _wait(state: LineState, command: Command, settings: LineSettings) -> Decision:
    limit = settings.limits.waiting
    if len(state.waiting) < limit:
        return Wait()
    text = f"{limit} commands already wait for a dataset, and more are not kept; send it again after the next ACK"
    raise RequestRejected(Code.WAITING_FULL, text)


def _not_understood(state: LineState, command: Malformed, settings: LineSettings) -> Decision:
    raise RequestRejected(Code.BAD_MESSAGE, command.problem)


def _no_dataset(state: LineState, command: Command, settings: LineSettings) -> Decision:
    text = "no dataset has been assembled yet: announce buckets on the datasets topic and wait for the ACK"
    raise RequestRejected(Code.NO_DATASET, text)


def _train(state: LineState, command: Train, settings: LineSettings) -> Decision:
    dataset = _usable(state, settings)
    return _fit(state, command, "train", dataset, resolve_or_baseline(command.params, settings))


def _initialise(state: LineState, command: OptInitialise, settings: LineSettings) -> Decision:
    assert command.timestamp is not None, "the decoder gives session commands a timestamp"
    return Lock(dataset=_usable(state, settings), timestamp=command.timestamp)


def _rewind(state: LineState, command: OptInitialise, settings: LineSettings) -> Decision:
    return Repeat()


def _step(state: LineState, command: OptStep, settings: LineSettings) -> Decision:
    session = _open_session(state)
    first = session.first_of(command.id, asked(command.params, settings))
    if first is not None:
        return _repeat(first.answer, settings)
    return _fit(state, command, "step", session.dataset, resolve(command.params, settings))


def _finalise(state: LineState, command: OptFinalise, settings: LineSettings) -> Decision:
    session = _open_session(state)
    best = _best(session.steps, command.best_i)
    return _fit(state, command, "finalise", session.dataset, best)


def _sweep_locked(state: LineState, command: OptSweep, settings: LineSettings) -> Decision:
    return Sweep(dataset=_open_session(state).dataset, grid=resolve_grid(command.params, settings))


def _sweep(state: LineState, command: OptSweep, settings: LineSettings) -> Decision:
    return Sweep(dataset=_usable(state, settings), grid=resolve_grid(command.params, settings))


def _abort(state: LineState, command: OptAbort, settings: LineSettings) -> Decision:
    return Abort()


def _no_session(state: LineState, command: OptStep | OptFinalise | OptAbort, settings: LineSettings) -> Decision:
    timestamp = command.timestamp
    if timestamp in state.failed and not isinstance(command, OptAbort):
        return Silence(why=f"the opt_initialise of timestamp {timestamp} failed, which was answered")
    if isinstance(command, OptFinalise) and state.closed is not None and state.closed.timestamp == timestamp:
        return _repeat(state.closed.answer, settings)
    text = f"no optimisation session is open for timestamp {timestamp}"
    if state.session is not None:
        text += f"; open is {state.session.timestamp}"
    raise RequestRejected(Code.NO_SESSION, text)


def _open_session(state: LineState) -> Session:
    assert state.session is not None, "the situation says that a session is open"
    return state.session


def _usable(state: LineState, settings: LineSettings) -> Dataset:
    assert state.dataset is not None, "the situation says that there is a dataset"
    if state.dataset.rows < settings.min_events:
        text = (
            f"expected at least {settings.min_events} events, dataset {state.dataset.version} has {state.dataset.rows}"
        )
        raise RequestRejected(Code.TOO_FEW_EVENTS, text)
    return state.dataset


def _fit(
    state: LineState, command: Command, purpose: Purpose, dataset: Dataset, hyperparameters: Hyperparameters
) -> Decision:
    return Fit(
        model_id=state.next_model_id,
        purpose=purpose,
        dataset=dataset,
        hyperparameters=hyperparameters,
        key=command.key,
        command_id=command.id,
        timestamp=command.timestamp,
    )


def _repeat(answer: Report | None, settings: LineSettings) -> Decision:
    return Repeat(answer=answer if settings.repeats == "answer" else None)


def _best(steps: tuple[Step, ...], best_i: Any) -> Hyperparameters:
    """Return the hyperparameters of the step that a controller calls best."""
    expected = f"expected the index of a step that succeeded, from 0 to {len(steps) - 1}" if steps else "no step yet"
    if not isinstance(best_i, int) or isinstance(best_i, bool) or not 0 <= best_i < len(steps):
        raise RequestRejected(Code.INVALID_BEST_I, f"Invalid best_i: {expected}, came {shown(best_i)}")
    best = steps[best_i]
    if isinstance(best.asked, str) or best.file is None:
        raise RequestRejected(Code.INVALID_BEST_I, f"Invalid best_i: {expected}; step {best_i} failed ({best.code})")
    return best.asked


_ROWS: dict[type[Message], tuple[Rule | None, ...]] = {
    # message: no dataset, ready, own session, other session, waiting
    DatasetNotice: (_assemble, _assemble, None, _assemble, None),  # a notice has no session and never waits
    Train: (_no_dataset, _train, _train, _train, _wait),
    OptInitialise: (_no_dataset, _initialise, _rewind, _initialise, _wait),
    OptStep: (_no_session, _no_session, _step, _no_session, _wait),
    OptFinalise: (_no_session, _no_session, _finalise, _no_session, _wait),
    OptSweep: (_no_dataset, _sweep, _sweep_locked, _sweep, _wait),
    OptAbort: (_no_session, _no_session, _abort, _no_session, _wait),
    Malformed: (_not_understood, _not_understood, None, _not_understood, _wait),  # nor has this
}

TRANSITIONS: dict[tuple[Situation, type[Message]], Rule] = {
    (situation, kind): rule
    for kind, row in _ROWS.items()
    for situation, rule in zip(Situation, row, strict=True)
    if rule is not None
}
"""Every pair that a history can produce."""

LEADS_TO: dict[tuple[Situation, type[Message]], frozenset[Situation]] = {
    (Situation.NO_DATASET, DatasetNotice): frozenset({Situation.READY}),
    (Situation.READY, OptInitialise): frozenset({Situation.OWN_SESSION}),
    (Situation.OTHER_SESSION, OptInitialise): frozenset({Situation.OWN_SESSION, Situation.READY}),  # ready if it fails
    (Situation.OWN_SESSION, OptFinalise): frozenset({Situation.READY}),
    (Situation.OWN_SESSION, OptAbort): frozenset({Situation.READY}),
}
"""Where a line can stand after a message of a pair, if not where it stood; for the diagram, and tested."""
