"""A pattern to begin with, for events of which only a survey is known; as texts for a person to edit.

Owns the suggestion and its files. Must not know: how it scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spst.cli.survey import Column, Survey
from spst.errors import EventsError
from spst.expressions import Predicate
from spst.hyperparameters import Hyperparameters

_POSITION = ("lon", "lat")


@dataclass(frozen=True)
class Suggestion:
    """What to detect, and the features that may announce it.

    Attributes
    ----------
    steps : tuple of Predicate
        One after the other, they are the pattern.
    extras : tuple of Predicate
        Features that refine the alphabet.
    exclusives : tuple of tuples of Predicate
        At most one of each is true for an event.
    meaning : str
        What the pattern detects, in words.
    """

    steps: tuple[Predicate, ...]
    extras: tuple[Predicate, ...]
    exclusives: tuple[tuple[Predicate, ...], ...]
    meaning: str


def suggest(survey: Survey) -> Suggestion:
    """Suggest a pattern: two event types in a row, or a number that enters its highest tenth.

    Raises
    ------
    EventsError
        No column offers either.
    """
    types = next((c for c in survey.attributes if c.name == "type" and c.distinct > 1), None)
    if types is not None and len(types.examples) > 1:
        return _of_types(types)
    numeric = [c for c in survey.attributes if c.kind == "number" and len(_cuts(c)) > 1]
    numeric.sort(key=lambda c: (c.missing > survey.rows // 100, c.name in _POSITION))  # complete ones, no coordinates
    if not numeric:
        raise EventsError(
            "no pattern to suggest: there is no column `type` with two values and no column of varied numbers"
        )
    return _of_numbers(numeric[0])


def _of_types(column: Column) -> Suggestion:
    types = tuple(Predicate("IsEventTypePredicate", (value,)) for value in column.examples)
    first, last = column.examples[0], column.examples[-1]
    return Suggestion(
        (types[0], types[-1]), types[1:-1], (types,), f"an event of type {last} right after one of type {first}"
    )


def _cuts(column: Column) -> list[float]:
    """The distinct quantiles inside the range, ascending, rounded to three digits."""
    assert column.low is not None
    rounded = sorted({float(f"{quantile:.3g}") for quantile in column.quantiles})
    return [cut for cut in rounded if cut > column.low]


def _of_numbers(column: Column) -> Suggestion:
    *cuts, high = _cuts(column)
    below, above = Predicate("LT", (column.name, high)), Predicate("GTE", (column.name, high))
    bands = [Predicate("BT", (column.name, low, top)) for low, top in zip(cuts, [*cuts[1:], high], strict=True)]
    extras = (Predicate("LT", (column.name, cuts[0])), *bands)
    meaning = f"{column.name} is below {high:g} twice, then {high:g} or more (about its highest tenth)"
    return Suggestion((below, below, above), extras, ((*extras, above), (below, above)), meaning)


def pattern_text(suggestion: Suggestion, survey: Survey, order: int, command: str) -> str:
    """Write the pattern's file."""
    entity = f"{{partitionBy:{_word(survey.entity)}}}" if survey.entity else ""
    whose = f", for every {survey.entity} on its own" if survey.entity else ""
    steps = ",\n".join(f"  {step}" for step in suggestion.steps)
    return f"""\
// Written by `{command}`, for you to edit.
// Detects that {suggestion.meaning}{whose}.
//
// ;(a,b,..) one after the other   +(a,b,..) one of them   *(a) any number of times   !(a) anything else
// ^(p,q,..) and   |(p,q,..) or   -p not, of conditions on one event
// GT GTE LT LTE EQ(column,number)   BT(column,low,high)   EQStr(column,text)   IsEventTypePredicate(TYPE)
// WithinCirclePredicate(lon,lat,km)   OutsideCirclePredicate(lon,lat,km)
// {{order:N}} is the longest context: how many events back a forecast may look.
;(
{steps}
){{order:{order}}}{entity}
"""


def declarations_text(suggestion: Suggestion, command: str) -> str:
    """Write the declarations' file."""
    groups = "\n".join(f"~({','.join(map(str, group))})" for group in suggestion.exclusives)
    extras = f"+({','.join(map(str, suggestion.extras))})\n" if suggestion.extras else ""
    return f"""\
// Written by `{command}`, for you to edit.
// +(..): features that the pattern does not name, but that may announce it; each makes the alphabet finer.
{extras}// ~(..): at most one of these is true for an event; without this, impossible combinations are symbols too.
{groups}
"""


def configuration_text(name: str, columns: Sequence[str], hyperparameters: Hyperparameters, command: str) -> str:
    """Write the section of a model line for the factory's configuration."""
    baseline = ", ".join(f"{key} = {value}" for key, value in hyperparameters.as_dict().items())
    listed = ", ".join(f'"{column}"' for column in columns)
    return f"""\
# Written by `{command}`, for you to edit: one model line of the factory.
# Check it with `python -m dataflow.config {name}.toml`.
[lines.{name}]
pattern = "{name}.sre"
declarations = "{name}.declarations.sre"
columns = [{listed}]
search_space = ["pMin", "gamma"]  # what a controller may choose, in the order of its parameters
baseline = {{ {baseline} }}
"""


def _word(text: str) -> str:
    return str(Predicate("P", (text,)))[2:-1]
