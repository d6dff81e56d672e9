"""A witness of what really ran: job code that writes a line at its start and at its end, and who reads those lines.

Nothing in a line is taken from bgapp but the numbers of job and attempt. Whether another run of the same job lived at
the start is asked of the kernel, by a lock that the kernel frees with the process that holds it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bgapp.context import current_job
from bgapp.system import identify

# Every line is as long: a page of the file holds a whole number of them, so that not even a SIGKILL cuts one in two.
LENGTH = 64
START, END, RAISED = "S", "E", "X"


@dataclass(frozen=True)
class Line:
    """One line: `mark` is START, END (the method returned) or RAISED; `at` monotonic nanoseconds."""

    mark: str
    job: int
    attempt: int
    at: int
    pid: int
    ticks: int
    alone: bool = True  # at a start: no other process was inside this job at that moment

    def __str__(self) -> str:
        words = (
            self.mark,
            self.job,
            self.attempt,
            self.at,
            self.pid,
            self.ticks,
            "alone" if self.alone else "together",
        )
        return " ".join(map(str, words))


def read(path: Path) -> tuple[list[Line], int]:
    """Return the lines of a witness file in the order of their writing, and how many were not whole."""
    lines, broken = [], 0
    for text in path.read_text(errors="replace").splitlines() if path.exists() else ():
        words = text.split()
        try:
            mark, job, attempt, at, pid, ticks, company = words
            lines.append(Line(mark, int(job), int(attempt), int(at), int(pid), int(ticks), company == "alone"))
        except ValueError:
            broken += 1
    return lines, broken


class _Presence:
    """A lock on one byte of a file, the job's own. A fork does not inherit it, and no death of its holder keeps it."""

    def __init__(self, path: str, job: int) -> None:
        import fcntl  # where there is none there is no chaos command either

        self._file = os.open(f"{path}.present", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, job)
            self.alone = True
        except OSError:
            self.alone = False

    def leave(self) -> None:
        os.close(self._file)


def _write(path: str, mark: str, alone: bool) -> None:
    me = identify(os.getpid())
    assert me is not None
    line = Line(mark, current_job.id, current_job.attempt, time.monotonic_ns(), me.pid, me.ticks, alone)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.write(descriptor, f"{line}".ljust(LENGTH - 1).encode() + b"\n")
    os.close(descriptor)


@contextlib.contextmanager
def witnessed(path: str) -> Iterator[None]:
    """Write a line at the start and one at the end of what stands inside; `path` is that of the witness file."""
    presence = _Presence(path, current_job.id)
    _write(path, START, presence.alone)
    try:
        yield
    except BaseException:
        _write(path, RAISED, presence.alone)
        raise
    else:
        _write(path, END, presence.alone)
    finally:
        presence.leave()


class Witness:
    """One method for each kind of job; `tag` tells the jobs of one run apart, `seconds` is how long they take."""

    def note(self, path: str, tag: int, seconds: float) -> None:
        """Take a while."""
        with witnessed(path):
            time.sleep(seconds)

    def fail_once(self, path: str, tag: int, seconds: float) -> None:
        """Raise in the first attempt."""
        with witnessed(path):
            time.sleep(seconds)
            if current_job.attempt == 1:
                raise RuntimeError("the first attempt fails")

    def fail(self, path: str, tag: int, seconds: float) -> None:
        """Raise in every attempt."""
        with witnessed(path):
            time.sleep(seconds)
            raise RuntimeError("every attempt fails")

    def talk(self, path: str, tag: int, seconds: float, lines: int = 200) -> None:
        """Print."""
        with witnessed(path):
            for number in range(lines):
                print(f"line {number} of job {tag}")
                time.sleep(seconds / lines)

    def leave_program(self, path: str, tag: int, seconds: float) -> None:
        """Start a program, and leave it behind."""
        with witnessed(path):
            subprocess.Popen(["sleep", "600"], start_new_session=tag % 2 == 0)
            time.sleep(seconds)

    def stubborn(self, path: str, tag: int, seconds: float) -> None:
        """Take a while, and heed no SIGTERM."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with witnessed(path):
            time.sleep(seconds)


METHODS = ("note", "fail_once", "fail", "talk", "leave_program", "stubborn")
JOB_CLASS = f"{__name__}.{Witness.__name__}"
