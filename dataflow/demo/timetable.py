"""What keeps the demo's neighbours in step, so that every run makes the same datasets and the same models.

The collector holds a day back until the factory has given a number of answers; the controller, which can count too,
sends nothing while a day that is due is not assembled. So the second half of the week arrives in the middle of the
search, always at the same step.
"""

from __future__ import annotations

WINDOW = 4
"""Days in a dataset."""
DAYS = 7


def answers_before(version: int, steps: int) -> int:
    """Return how many answers of the factory precede the day that completes a dataset version.

    Parameters
    ----------
    version : int, 0..6
        Version 3 is the first that spans a whole window: the search locks it.
    steps : int
        Length of the search.
    """
    first_training, search, final = 1, steps, 1
    due = (first_training + -(-search // 3), first_training + -(-search * 2 // 3), first_training + search + final)
    return 0 if version < WINDOW else due[version - WINDOW]


def newest_due(answers: int, steps: int) -> int:
    """Return the newest dataset version that is due after a number of answers."""
    return max(version for version in range(DAYS) if answers_before(version, steps) <= answers)
