"""SIGTERM in processes of their own: signal handlers and `os._exit` are not for the test's process."""

from __future__ import annotations

import subprocess
import sys

import pytest

RAISE = "import os, signal; from dataflow import shutdown; shutdown.install(alone={alone}); "
SIGTERM = "os.kill(os.getpid(), signal.SIGTERM); "
IN_HAND = "\nwith shutdown.message_in_hand():\n    " + SIGTERM + "print('finished', flush=True)\nprint('went on')"


@pytest.mark.parametrize(
    ("alone", "then", "said"),
    [
        (True, "print(shutdown.requested())", "False\n"),
        (True, SIGTERM + "print(shutdown.requested())", "True\n"),
        (True, IN_HAND, "finished\nwent on\n"),
        (False, SIGTERM + "print('went on')", ""),
        (False, IN_HAND, "finished\n"),
    ],
    ids=["none", "alone idle", "alone with a message", "cluster idle", "cluster with a message"],
)
def test_sigterm_is_obeyed_after_the_message_in_hand(alone: bool, then: str, said: str) -> None:
    code = RAISE.format(alone=alone) + then
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, said, "")
