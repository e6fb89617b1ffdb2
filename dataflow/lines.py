"""The model lines that a worker has open, and the mapper of the one step that holds state.

Owns the order in which a message's effects become real: files, then the journal's entry, then deletions, then outputs.
The journal leads and the snapshot follows: what the journal has beyond the snapshot was decided, and is never decided
again. Knows Bytewax only as whoever calls it with a state and a message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from msgspec.structs import astuple

from dataflow import logs, metrics, shutdown
from dataflow.config import Config, JournalSettings
from dataflow.decide import decide, releasable
from dataflow.decisions import Decision, Fitted, Outcome, Refused, Reject, Repeat, Silence, Wait
from dataflow.errors import FactoryFault
from dataflow.evolve import evolve
from dataflow.journal import NAME, Emission, Entry, Journal, adoption_of, create_journal, entry_of, read_journal
from dataflow.messages import DatasetNotice, Message
from dataflow.perform import Performer, Stopwatch
from dataflow.pulse import pulse
from dataflow.settings import LineSettings
from dataflow.state import LineState
from dataflow.storage import LineFiles

_log = logging.getLogger(__name__)


class Lines:
    """All model lines of a worker; called by Bytewax with a line's snapshot and its next message.

    Parameters
    ----------
    config : Config
        The deployment's configuration.
    clock : callable
        Seconds since 1970; tells nothing but how long journal entries are kept.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self._config, self._clock = config, clock
        self._performer = Performer(config)
        self._open: dict[str, Line] = {}

    def __call__(self, snapshot: LineState | None, message: Message) -> tuple[LineState, tuple[Emission, ...]]:
        """Return the line's state after the message, and what has to be emitted.

        Raises
        ------
        FactoryFault
            Our own side failed: nothing is emitted, and the message is handled again after a start.
        """
        with shutdown.message_in_hand(), pulse.at_work():
            line, outputs = self._line(message.key, snapshot)
            outputs += line.release()
            if line.state.knows(message.position):
                metrics.known_message()
                logs.known(message.key, type(message).__name__, *astuple(message.position))
            else:
                outputs += line.handle(message)
                outputs += line.release()
        return line.state, tuple(outputs)

    def _line(self, key: str, snapshot: LineState | None) -> tuple[Line, list[Emission]]:
        """Return the line and, on its first message after a start, its backlog."""
        if line := self._open.get(key):
            line.compact()
            return line, []
        files = LineFiles(self._config.data_root, key)
        journal, state, backlog = open_journal(files, key, snapshot, self._config.journal, self._clock)
        line = Line(key, self._config, files, journal, state, self._performer, self._clock)
        self._open[key] = line
        logs.opened(key, state.seq, len(backlog))
        metrics.backlog(len(backlog))
        line.show()
        return line, backlog


def open_journal(
    files: LineFiles, key: str, snapshot: LineState | None, keep: JournalSettings, clock: Callable[[], float]
) -> tuple[Journal, LineState, list[Emission]]:
    """Bring a line's folder, its journal and the snapshot to one state.

    The journal is the truth. Beyond the snapshot, its outputs were perhaps never emitted: they are the backlog. A
    snapshot beyond the journal means that the journal lost its tail, with outputs that were all emitted before the
    snapshot was made: the snapshot's state is adopted. A journal that is missing altogether means the wrong volume.

    Returns
    -------
    journal, state, backlog
        To go on with; the backlog is to be emitted first.

    Raises
    ------
    FactoryFault
        The volume refuses, or the journal is missing, damaged, newer than this code, or another line's.
    """
    path, seen = files.path(NAME), snapshot.seq if snapshot else 0
    if files.written_at(NAME) is None:
        if seen or files.hold_anything():
            raise FactoryFault(
                f"{path} is missing, but the line has files beside it, or entries ({seen}) in the recovery store: is "
                "this the right volume? If so, put the journal back; if it is lost for good, let the neighbours use "
                "another key, for the sinks would take a new journal's outputs for old ones"
            )
        files.prepare()
        create_journal(path, key)
    files.prepare()
    content = read_journal(path, key, beyond=seen)
    journal = Journal(path, content, keep)
    if snapshot and content.seq < seen:
        _log.warning("%s ends with entry %d, the recovery store knows entry %d: adopted", path, content.seq, seen)
        journal.append(adoption_of(snapshot, clock()))
        return journal, snapshot, []
    if content.entries and content.entries[0].seq > seen + 1:
        _log.info("%s keeps entries from %d on; outputs before are not repeated", path, content.entries[0].seq)
    if content.last:
        files.delete(content.last.deletions)
    state = content.last.line_state() if content.last else LineState()
    return journal, state, [output for entry in content.entries for output in entry.outputs]


class Line:
    """One open model line."""

    def __init__(
        self,
        key: str,
        config: Config,
        files: LineFiles,
        journal: Journal,
        state: LineState,
        performer: Performer,
        clock: Callable[[], float],
    ) -> None:
        self.state = state
        self._key, self._files, self._journal, self._performer, self._clock = key, files, journal, performer, clock
        self._settings: LineSettings = config.line(key)
        self._flush_all = config.durability == "full"

    def handle(self, message: Message) -> tuple[Emission, ...]:
        """Decide, perform, evolve, commit; return what has to be emitted."""
        watch = Stopwatch()
        decision = decide(self.state, message, self._settings)
        outcome = self._performer.perform(decision, self._files, self._settings, watch)
        evolved = evolve(self.state, message, decision, outcome, self._settings)
        evolved[0].validate()
        entry = entry_of(message, decision, outcome, evolved, self._clock())
        with watch.stage("commit"):
            self._commit(entry)
        self.state = evolved[0]
        self._observe(message, entry, decision, outcome, watch)
        return entry.outputs

    def release(self) -> Iterator[Emission]:
        """Handle the waiting commands that a dataset covers by now, each as an entry of its own."""
        while command := releasable(self.state, self._settings):
            yield from self.handle(command)

    def show(self) -> None:
        """Show an operator what the line has now."""
        session, dataset = self.state.session, self.state.dataset
        metrics.line(
            self._key,
            self.state,
            journal_bytes=self._journal.size,
            assembled=self._files.written_at(dataset.manifest) if dataset else None,
            locked_since=self._files.written_at(session.dataset.lock) if session else None,
        )

    def compact(self) -> None:
        """Let the journal drop what is too old: between messages, so that nothing goes that was not handed on yet."""
        self._journal.compact(self._clock())

    def _commit(self, entry: Entry) -> None:
        """Make an entry real; one that neither announces nor deletes anything may be lost with the power."""
        self._journal.append(entry, durable=self._flush_all or bool(entry.outputs or entry.deletions))
        self._files.delete(entry.deletions)

    def _observe(self, message: Message, entry: Entry, decision: Decision, outcome: Outcome, watch: Stopwatch) -> None:
        result = _result(decision, outcome, entry)
        if not isinstance(message, DatasetNotice):
            metrics.command(entry.message, result)
        elif isinstance(outcome, Refused):
            metrics.dead_letter()
        if result == "repeat":
            metrics.silent_repeat()
        if "assemble" in watch.seconds:
            metrics.assembly(watch.seconds["assemble"])
        for stage, seconds in watch.seconds.items():
            metrics.stage(stage, seconds)
        if isinstance(outcome, Fitted) and outcome.metrics:
            metrics.scored(self._key, outcome.metrics)
        self.show()
        session, dataset = self.state.session, self.state.dataset
        refusal = decision if isinstance(decision, Reject) else outcome
        logs.handled(
            self._key,
            entry.message,
            result,
            watch.seconds,
            id=entry.id,
            seq=entry.seq,
            position=message.position,
            dataset_version=dataset.version if dataset else None,
            session=session.timestamp if session else None,
            error_code=refusal.code if isinstance(refusal, Reject | Refused) else None,
        )


def _result(decision: Decision, outcome: Outcome, entry: Entry) -> str:
    """Return what became of a message, in one word."""
    if isinstance(decision, Reject) or isinstance(outcome, Refused):
        return "error"
    if isinstance(decision, Repeat):
        return "answered again" if entry.outputs else "repeat"
    return {Silence: "silent", Wait: "waiting"}.get(type(decision), "success")
