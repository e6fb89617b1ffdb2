"""A clock that can be set back under a running process: for all of it where there is a C compiler, else for Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HOUR = 3600

IN_C = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, clock, now);
    int is_back = !syscall(SYS_faccessat, AT_FDCWD, getenv("SET_BACK"), F_OK);
    if (!failed && clock == CLOCK_REALTIME && is_back) now->tv_sec -= %d;
    return (int)failed;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *result, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    result->tv_sec = now.tv_sec;
    result->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""

IN_PYTHON = """
import os, time

real_time, real_time_ns = time.time, time.time_ns

def back():
    return %d if os.path.exists(os.environ["SET_BACK"]) else 0

time.time = lambda: real_time() - back()
time.time_ns = lambda: real_time_ns() - back() * 10**9
"""


def _compiles(source: Path, library: Path) -> bool:
    """Compile, where there is a C compiler and the headers of the C library."""
    compiler = shutil.which("cc")
    command = [str(compiler), "-shared", "-fPIC", "-o", str(library), str(source)]
    return compiler is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


class Clock:
    """The clock of a process that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._switch = folder / "set_back"
        self.environment = {"SET_BACK": str(self._switch)}
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(IN_C % HOUR)
        if _compiles(source, library):
            self.environment["LD_PRELOAD"] = str(library)
        else:
            (folder / "sitecustomize.py").write_text(IN_PYTHON % HOUR)
            self.environment["PYTHONPATH"] = str(folder)

    def set_back(self) -> None:
        """From now on it is an hour earlier."""
        self._switch.touch()
