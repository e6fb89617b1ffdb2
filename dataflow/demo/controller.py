"""The demo's controller: trains once, searches hyperparameters with Optuna (ask and tell), finalises, trains again.

Run by the demo as a process of its own. It speaks the protocol and knows nothing else of the factory; its answers are
matched by `reply_id`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from dataflow.demo.timetable import newest_due
from dataflow.demo.topics import ACKS, COMMANDS, DATASETS, REPORTS, Message, topics_at
from dataflow.errors import FactoryFault

SEARCH_SPACE: dict[str, BaseDistribution] = {
    "pMin": FloatDistribution(1e-5, 1e-2, log=True),
    "gamma": FloatDistribution(1e-5, 5e-3, log=True),
    "order": IntDistribution(1, 4),
    "confidence": FloatDistribution(0.05, 0.6),
}
"""In the order of `search_space` in the factory's configuration: a step's parameters are a list."""

SEED = 7
RANDOM_STEPS = 5
"""Steps before the sampler's model of the space takes over from chance."""


class Refused(Exception):  # noqa: N818 - an answer of the factory, not a fault here
    """The factory answered a command that the demo cannot do without by an error."""


class Controller:
    """One conversation with the factory.

    Parameters
    ----------
    root : Path
        The demo's data root.
    steps : int
        Length of the search.
    bootstrap : str, optional
        `HOST:PORT` of the broker that has the topics; without it they are files.
    """

    def __init__(self, root: Path, *, steps: int, bootstrap: str | None = None) -> None:
        self._steps = steps
        topic = topics_at(root, bootstrap)
        self._commands = topic(COMMANDS)
        self._reports, self._acks, self._datasets = (topic(name).follow() for name in (REPORTS, ACKS, DATASETS))
        self._sent = self._answers = 0
        self._version, self._timestamp = -1, 0

    def run(self) -> None:
        """Hold the whole conversation.

        Raises
        ------
        Refused
            If a train or the finalise is answered by an error, or every step is.
        """
        self._wait_for_datasets()
        self._must("train")
        best = self._search(self._timestamp)
        self._wait_for_datasets()
        self._must("train", params=best)

    def _search(self, timestamp: int) -> dict[str, Any]:
        """Search on the dataset that is current now; return the best step's parameters."""
        sampler = optuna.samplers.TPESampler(seed=SEED, n_startup_trials=RANDOM_STEPS)
        study = optuna.create_study(sampler=sampler, direction="minimize")
        self._send("opt_initialise", timestamp)
        for _ in range(self._steps):
            trial = study.ask(SEARCH_SPACE)
            report = self._ask("opt_step", timestamp, params=[trial.params[name] for name in SEARCH_SPACE])
            if report["status"] == "success":
                study.tell(trial, json.loads(report["metrics"])["f_val"])
            else:
                study.tell(trial, state=TrialState.FAIL)
            self._wait_for_datasets()
        if not study.get_trials(states=(TrialState.COMPLETE,)):
            raise Refused(f"no step of the search succeeded; the last answer: {report}")
        self._must("opt_finalise", timestamp, best_i=study.best_trial.number)
        return study.best_trial.params

    def _wait_for_datasets(self) -> None:
        """Wait until the factory has acknowledged every dataset that is due by the timetable."""
        while self._version < newest_due(self._answers, self._steps):
            self._version = next(self._acks)["version"]
            self._timestamp = next(self._datasets)["timestamp"]

    def _must(self, command: str, timestamp: int | None = None, **fields: Any) -> None:
        report = self._ask(command, timestamp or self._timestamp, **fields)
        if report["status"] != "success":
            raise Refused(f"{command} was refused: {report['error']}")

    def _ask(self, command: str, timestamp: int, **fields: Any) -> Message:
        identity = self._send(command, timestamp, **fields)
        self._answers += 1
        report = next(self._reports)
        if report["reply_id"] != identity:  # opt_initialise is answered only if it fails
            raise Refused(f"expected the answer to {command}, got {report}")
        return report

    def _send(self, command: str, timestamp: int, *, params: Any = None, best_i: int = -1) -> str:
        identity = f"cmd-{self._sent}"
        self._sent += 1
        message: Message = {
            "type": command,
            "id": identity,
            "train_id": -1,
            "optimisation_id": 0,
            "timestamp": timestamp,
            "params": json.dumps({"params": params}),
            "best_i": best_i,
        }
        self._commands.send(message)
        return identity


def main(kind: type[Controller] = Controller) -> None:
    """Run as a process of the demo."""
    parser = argparse.ArgumentParser(prog="python -m dataflow.demo.controller", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--bootstrap")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        kind(arguments.root, steps=arguments.steps, bootstrap=arguments.bootstrap).run()
    except (Refused, FactoryFault) as end:
        sys.exit(str(end))


if __name__ == "__main__":
    main()
