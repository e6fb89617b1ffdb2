"""One run of the scenario: the conversations, the consumers that follow every output, and the factory between them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.e2e.factory import DEADLINE, Factory
from tests.e2e.neighbours import OUTPUTS, FileTopics, Topics, parse, speaker
from tests.e2e.scenario import KEYS, conversations, prepare

LOOK_SECONDS = 0.001
"""Rest between two looks at the outputs: as often as a kill at a given moment needs."""


class Run:
    """The scenario in progress.

    Parameters
    ----------
    root : Path
        The data root, empty or not there; always the same path, because outputs name it.
    folder : Path
        Empty, for what is not on the volume.
    environment : Mapping of str to str
        Added to the factory's environment.
    topics : Topics, optional
        Where messages go and come from; the files below the root if nothing else is said.
    keys : sequence of str
        The model lines.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        topics: Topics | None = None,
        keys: Sequence[str] = KEYS,
    ) -> None:
        self.root = root
        prepare(root, folder / "settings", keys)
        self.topics = topics or FileTopics(root / "topics")
        self.factory = Factory(root, folder, environment or {})
        self.heard: dict[str, list[dict[str, object]]] = {name: [] for name in OUTPUTS}
        self.counts: Counter[tuple[str, str]] = Counter()
        self._expected: Counter[tuple[str, str]] = Counter()
        self._conversations = conversations(root, keys)
        self._said = dict.fromkeys(self._conversations, 0)

    @property
    def outputs(self) -> int:
        """How many outputs have been read."""
        return self.counts.total()

    def is_finished(self) -> bool:
        """Whether everything was said and answered."""
        everything = all(self._said[key] == len(lines) for key, lines in self._conversations.items())
        return everything and all(self._has_heard(key) for key in self._conversations)

    def play(self, until: Callable[[], bool]) -> None:
        """Go on until a condition holds or the scenario is finished; the factory must run all the time."""
        self._play(lambda: until() or self.is_finished(), may_end=False)

    def play_to_the_end_of_the_factory(self) -> int:
        """Go on until the factory ends by itself; return its exit status."""
        self._play(lambda: not self.factory.is_running(), may_end=True)
        return self.factory.wait()

    def listen(self) -> None:
        """Read what is new in the outputs."""
        for name in OUTPUTS:
            for output in map(parse, self.topics.poll(name)):
                self.heard[name].append(output)
                self.counts[speaker(output), name] += 1

    def check_outputs(self) -> None:
        """Fail if an output topic is not what was read while it grew."""
        self.listen()
        self.topics.check()

    def _play(self, done: Callable[[], bool], *, may_end: bool) -> None:
        outputs, deadline = -1, 0.0
        while not done():
            if self.outputs > outputs:
                outputs, deadline = self.outputs, time.monotonic() + DEADLINE
            assert may_end or self.factory.is_running(), f"the factory ended:\n{self.factory.last_words()}"
            assert time.monotonic() < deadline, f"no output in {DEADLINE} s:\n{self.factory.last_words()}"
            self._speak()
            time.sleep(LOOK_SECONDS)
            self.listen()

    def _speak(self) -> None:
        for key, lines in self._conversations.items():
            while self._said[key] < len(lines) and self._has_heard(key):
                say = lines[self._said[key]]
                self.topics.send(say.stream, say.message)
                self._expected.update((key, name) for name in say.answers)
                self._said[key] += 1

    def _has_heard(self, key: str) -> bool:
        return all(self.counts[key, name] >= self._expected[key, name] for name in OUTPUTS)
