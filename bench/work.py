"""The one job that every system runs, and the witness that tells what really ran, whatever a system says of itself.

Standard library only: a fresh interpreter for each job imports this module too, and what BENCH_LOADS names.
"""

from __future__ import annotations

import importlib
import os
import sys
import time


class Work:
    """The same job as the class that bgapp wants."""

    def note(self, path: str, tag: int, seconds: float = 0.0) -> None:
        note(path, tag, seconds)


def note(path: str, tag: int, seconds: float = 0.0) -> None:
    """Append a line to the witness file, rest, and append another: mark, tag, monotonic nanoseconds, pid."""
    _append(path, "S", tag)
    if seconds:
        time.sleep(seconds)
    _append(path, "E", tag)


def _append(path: str, mark: str, tag: int) -> None:
    line = f"{mark} {tag} {time.monotonic_ns()} {os.getpid()}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line.encode())  # one write in append mode: lines of several processes never mix
    os.close(descriptor)


if __name__ == "__main__":
    for name in os.environ.get("BENCH_LOADS", "").split():
        importlib.import_module(name)
    note(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
