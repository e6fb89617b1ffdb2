"""SIGTERM in processes of their own: signal handlers and `os._exit` are not for the test's process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dataflow import shutdown

RAISE = "import os, signal; from dataflow import shutdown; shutdown.install(alone={alone}); "
SIGTERM = "os.kill(os.getpid(), signal.SIGTERM); "
IN_HAND = "\nwith shutdown.message_in_hand():\n    " + SIGTERM + "print('finished', flush=True)\nprint('went on')"
NATIVE = f"""
import ctypes, threading
blocked = threading.Thread(target=lambda: ({SIGTERM[:-2]}, threading.Event().wait()), daemon=True)
blocked.start()
ctypes.CDLL(None).pthread_join(ctypes.c_ulong(blocked.ident), None)
"""


@pytest.mark.parametrize(
    ("alone", "then", "said"),
    [
        (True, "print(shutdown.requested())", "False\n"),
        (True, SIGTERM + "print(shutdown.requested())", "True\n"),
        (True, IN_HAND, "finished\nwent on\n"),
        (False, SIGTERM + "signal.pause()", ""),
        (False, IN_HAND, "finished\n"),
        (False, NATIVE, ""),
    ],
    ids=["none", "alone idle", "alone with a message", "cluster idle", "cluster with a message", "cluster forming"],
)
def test_sigterm_is_obeyed_after_the_message_in_hand(alone: bool, then: str, said: str) -> None:
    code = RAISE.format(alone=alone) + then
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, said, "")


@pytest.mark.parametrize(
    ("arguments", "environment", "alone"),
    [
        ([], {}, True),
        (
            ["dataflow.flow:flow", "-r", "store", "-s", "5", "-b", "0", "-w", "1"],
            {"BYTEWAX_RECOVERY_DIRECTORY": "store"},
            True,
        ),
        (["dataflow.flow:flow", "-i", "0", "-a", "one:2101;two:2101"], {}, False),
        (["--addresses=one:2101;two:2101"], {}, False),
        ([], {"BYTEWAX_ADDRESSES": "one:2101;two:2101"}, False),
        ([], {"BYTEWAX_POD_NAME": "factory-0", "BYTEWAX_HOSTFILE_PATH": "/etc/hosts"}, False),
    ],
)
def test_shutdown_tells_a_cluster(arguments: list[str], environment: dict[str, str], alone: bool) -> None:
    assert shutdown.is_alone(["/usr/lib/python3/bytewax/run.py", *arguments], environment) is alone
