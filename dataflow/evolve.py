"""What a line is after a message, what it says, and which files it lets go of.

Pure. A table of decisions and their outcomes, one small function each; every function returns the next state and the
outputs, and what is common to all (entry number, marks, identities of outputs, deletions) is added around them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec.structs import replace

from dataflow import answers
from dataflow.decisions import (
    Abort,
    Assemble,
    Assembled,
    Decision,
    Done,
    Fit,
    Fitted,
    Lock,
    Outcome,
    Refused,
    Reject,
    Repeat,
    Silence,
    Sweep,
    Swept,
    Wait,
)
from dataflow.errors import Code
from dataflow.messages import (
    Command,
    DatasetNotice,
    Message,
    OptAbort,
    OptFinalise,
    OptInitialise,
    OptStep,
    OptSweep,
    Output,
    Report,
    line_source_id,
)
from dataflow.params import asked
from dataflow.settings import LineSettings
from dataflow.state import (
    FAILED_REMEMBERED,
    Closed,
    FinalModel,
    LineState,
    Session,
    Step,
    impossible,
    mark_of,
)

Change: TypeAlias = tuple[LineState, tuple[Output, ...]]
Effect: TypeAlias = Callable[[LineState, Any, Any, Any, LineSettings], Change]


def evolve(
    state: LineState, message: Message, decision: Decision, outcome: Outcome, settings: LineSettings
) -> tuple[LineState, tuple[Output, ...], tuple[str, ...]]:
    """Return the state after a message, its outputs in order, and the files to delete, relative to the line's folder.

    Raises
    ------
    ImpossibleTransition
        If such an outcome cannot come of such a decision.
    """
    effect = EFFECTS.get((type(decision), type(outcome)))
    if effect is None:
        raise impossible(state, message, f"{type(outcome).__name__} cannot come of {type(decision).__name__}")
    changed, outputs = effect(_noted(state, message, decision), message, decision, outcome, settings)
    mark = mark_of(message.position)
    following = replace(
        changed,
        seq=state.seq + 1,
        marks=state.marks | {mark: max(message.position.offset, state.marks.get(mark, -1))},
    )
    named = tuple(
        replace(output, source_id=line_source_id(message.key, following.seq, number))
        for number, output in enumerate(outputs)
    )
    return following, named, tuple(sorted(state.files() - following.files()))


def _noted(state: LineState, message: Message, decision: Decision) -> LineState:
    """Return the state with what every handled message leaves behind, whatever it brings about."""
    if isinstance(decision, Wait):
        return state
    if state.waiting and state.waiting[0].position == message.position:
        state = replace(state, waiting=state.waiting[1:])
    if isinstance(decision, Fit):
        state = replace(state, next_model_id=decision.model_id + 1)
    if isinstance(message, OptStep | OptFinalise | OptSweep | OptAbort) and _is_own(state, message):
        state = replace(state, session=_session(state).saw(message.id))
    return state


def _assembled(
    state: LineState, notice: DatasetNotice, decision: Assemble, outcome: Assembled, settings: LineSettings
) -> Change:
    return replace(state, dataset=outcome.dataset), (answers.ack(notice, outcome),)


def _not_assembled(
    state: LineState, notice: DatasetNotice, decision: Assemble, outcome: Refused, settings: LineSettings
) -> Change:
    return state, (answers.refused_notice(notice, outcome),)


def _opened(state: LineState, command: OptInitialise, decision: Lock, outcome: Done, settings: LineSettings) -> Change:
    """Open the session; one that was open is aborted by being replaced."""
    timestamp = decision.timestamp
    reopened = state.closed is not None and state.closed.timestamp == timestamp
    session = Session(timestamp=timestamp, dataset=decision.dataset).saw(command.id)
    failed = tuple(other for other in state.failed if other != timestamp)
    return replace(state, session=session, failed=failed, closed=None if reopened else state.closed), ()


def _fitted(state: LineState, command: Command, decision: Fit, outcome: Fitted, settings: LineSettings) -> Change:
    if decision.purpose == "step":
        return _stepped(state, command, decision, outcome, settings)
    report, model = answers.final_model(command, decision, outcome)
    kept = FinalModel(
        model_id=decision.model_id, file=outcome.file, sha256=outcome.sha256, dataset_version=decision.dataset.version
    )
    state = replace(state, models=(*state.models, kept)[-settings.keep_models :])
    if decision.purpose == "finalise":
        closed = Closed(timestamp=_session(state).timestamp, answer=_kept(report, settings))
        state = replace(state, session=None, closed=closed)
    return state, (report, model)


def _stepped(state: LineState, command: Command, decision: Fit, outcome: Fitted, settings: LineSettings) -> Change:
    report = answers.step(command, decision, outcome)
    step = Step(
        id=command.id,
        asked=decision.hyperparameters,
        model_id=decision.model_id,
        file=outcome.file,
        f_val=outcome.metrics["f_val"],
        answer=_kept(report, settings),
    )
    return replace(state, session=_session(state).recorded(step)), (report,)


def _swept(state: LineState, command: OptSweep, decision: Sweep, outcome: Swept, settings: LineSettings) -> Change:
    return state, (answers.sweep(command, decision, outcome),)


def _aborted(state: LineState, command: OptAbort, decision: Abort, outcome: Done, settings: LineSettings) -> Change:
    return replace(state, session=None), (answers.aborted(command, _session(state).dataset),)


def _rejected(
    state: LineState, command: Command, decision: Decision, outcome: Outcome, settings: LineSettings
) -> Change:
    """Answer with the error of the decision or of the attempt; a step takes its index, a failed session is noted."""
    refusal = decision if isinstance(decision, Reject) else outcome
    assert isinstance(refusal, Reject | Refused), "the table of effects gives one of the two"
    report = answers.error(command, refusal.code, refusal.text)
    if isinstance(command, OptStep) and _is_own(state, command):
        step = Step(
            id=command.id,
            asked=asked(command.params, settings),
            code=refusal.code,
            answer=_kept(report, settings),
        )
        state = replace(state, session=_session(state).recorded(step))
    if isinstance(command, OptInitialise) and not _is_own(state, command) and command.timestamp is not None:
        others = tuple(other for other in state.failed if other != command.timestamp)
        failed = (*others, command.timestamp)[-FAILED_REMEMBERED:]
        # A command that found no place to wait was never weighed: it aborts nothing.
        session = state.session if refusal.code is Code.WAITING_FULL else None
        state = replace(state, session=session, failed=failed)
    return state, (report,)


def _silent(state: LineState, command: Command, decision: Silence, outcome: Done, settings: LineSettings) -> Change:
    return state, ()


def _repeated(state: LineState, command: Command, decision: Repeat, outcome: Done, settings: LineSettings) -> Change:
    if isinstance(command, OptInitialise):
        state = replace(state, session=_session(state).rewound(command.id))
    elif isinstance(command, OptStep):
        state = replace(state, session=_session(state).advanced())
    return state, () if decision.answer is None else (decision.answer,)


def _queued(state: LineState, command: Command, decision: Wait, outcome: Done, settings: LineSettings) -> Change:
    return replace(state, waiting=(*state.waiting, command)), ()


def _session(state: LineState) -> Session:
    assert state.session is not None, "the decision says that a session is open"
    return state.session


def _is_own(state: LineState, command: Command) -> bool:
    return state.session is not None and state.session.timestamp == command.timestamp


def _kept(report: Report, settings: LineSettings) -> Report | None:
    """Return the answer to keep: only where repeats are answered, because states stand in every journal entry."""
    return report if settings.repeats == "answer" else None


EFFECTS: dict[tuple[type[Decision], type[Outcome]], Effect] = {
    (Assemble, Assembled): _assembled,
    (Assemble, Refused): _not_assembled,
    (Lock, Done): _opened,
    (Lock, Refused): _rejected,
    (Fit, Fitted): _fitted,
    (Fit, Refused): _rejected,
    (Sweep, Swept): _swept,
    (Sweep, Refused): _rejected,
    (Abort, Done): _aborted,
    (Reject, Done): _rejected,
    (Silence, Done): _silent,
    (Repeat, Done): _repeated,
    (Wait, Done): _queued,
}
"""Every decision with everything that can come of it."""
