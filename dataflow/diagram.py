"""The README's state diagram, made from the table of transitions, so that the two cannot differ.

`python -m dataflow.diagram` prints it as Mermaid text.
"""

from __future__ import annotations

import sys

from dataflow.decide import LEADS_TO, TRANSITIONS, Rule, Situation

_STATES = {
    Situation.NO_DATASET: "no_dataset",
    Situation.READY: "ready",
    Situation.OWN_SESSION: "session_open",
    Situation.OTHER_SESSION: "session_open",
    Situation.WAITING: "waiting",
}
"""A line has one open session; whether a message belongs to it is the message's affair."""

_OWNERS = {Situation.OWN_SESSION: " of its timestamp", Situation.OTHER_SESSION: " of another timestamp"}

_FRAME = """\
stateDiagram-v2
    [*] --> no_dataset
{edges}
    note right of waiting
        a command that is newer than its dataset allows, and all behind it:
        handled in order, one by one, when a dataset covers the first
    end note"""


def state_diagram() -> str:
    """Return the transitions as a Mermaid state diagram: `from --> to : messages / what the factory does`."""
    edges: dict[tuple[str, str, str, Rule], dict[str, None]] = {}
    for (situation, kind), rule in TRANSITIONS.items():
        both = {TRANSITIONS.get((session, kind), rule) for session in _OWNERS}
        owner = _OWNERS.get(situation, "") if len(both) > 1 else ""
        for target in LEADS_TO.get((situation, kind), {situation}):
            edge = (_STATES[situation], _STATES[target], owner, rule)
            edges.setdefault(edge, {})[str(kind.__struct_config__.tag)] = None
    lines = [
        f"    {source} --> {target} : {', '.join(kinds)}{owner} / {rule.__name__.strip('_').replace('_', ' ')}"
        for (source, target, owner, rule), kinds in edges.items()
    ]
    return _FRAME.format(edges="\n".join(sorted(lines)))


if __name__ == "__main__":
    sys.stdout.write(state_diagram() + "\n")
