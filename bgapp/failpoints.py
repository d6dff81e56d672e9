"""Named points on a job's path where a test can kill a process, or hold it there while it kills others.

In production every point is one comparison with None. A test sets two environment variables,

    _BGAPP_TESTING=1
    _BGAPP_FAILPOINTS=/some/folder

and arms a point with a file there: `arm(folder, "claimed", "kill")`. The first process that reaches the point takes
the file away and acts, later ones pass, so that a retry can succeed. `kill` ends the process by SIGKILL, `stop` stops
it, and `hold` keeps it there until `release` is called.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from bgapp.handover import FAILPOINTS, TESTING

POINTS = {
    "insert": "caller: the job is inserted and not committed",
    "inserted": "caller: the job is committed; log line and wake-up are to come",
    "launch": "app: a runner host is about to be started",
    "claim": "runner: the job is claimed and not committed",
    "claimed": "runner: the claim is committed; the forker knows nothing of it yet",
    "fork": "forker: it has the order and has not forked",
    "forked": "forker: the child exists; the runner has not been told",
    "identity": "child: it has not written down who it is",
    "enter": "child: who it is stands in the entry file; the method is not entered",
    "entered": "child: the entry byte is written; the method's first line comes next",
    "returned": "child: the method has returned; its result is not sent",
    "reported": "child: the result is sent; the process has not left",
    "ended": "forker: the child has ended; it is not reaped, and the runner has not been told",
    "outcome": "runner: the outcome is known; no transaction has begun",
    "settle": "runner: the outcome is written and not committed",
    "settled": "runner: the outcome is committed; log lines are to come",
    "logged": "runner: log lines are written; the entry file is still there",
    "spool": "runner: the database is away; the outcome's file is written and has not got its name",
    "spooled": "runner: the outcome's file has its name; the next try at the database is to come",
    "rescue": "rescuer: a lost attempt is proven dead; no transaction has begun",
    "rescued": "rescuer: the lost attempt is settled and committed; log lines are to come",
    "migrate": "upgrade: the tables are changed and not committed",
    "migrated": "upgrade: the change is committed; the lock is still held",
}

ACTIONS = ("kill", "stop", "hold")
LOOK = 0.005  # seconds between two looks of a held process

_folder = os.environ.get(FAILPOINTS) if os.environ.get(TESTING) == "1" else None


def reach(point: str) -> None:
    """Say that this process is at that point; nothing happens unless a test has armed it."""
    if _folder is not None:
        _act(Path(_folder), point)


def _act(folder: Path, point: str) -> None:
    armed = folder / point
    try:
        action = armed.read_text()
        armed.rename(_taken(folder, point, os.getpid()))
    except OSError:  # not armed, or another was here first
        return
    if action == "hold":
        while not _released(folder, point).exists():
            time.sleep(LOOK)
    else:
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


def _taken(folder: Path, point: str, pid: int) -> Path:
    return folder / f"{point}.taken-{pid}"


def _released(folder: Path, point: str) -> Path:
    return folder / f"{point}.released"


def arm(folder: Path, point: str, action: str) -> None:
    """For a test: have the next process that reaches this point do this. Raises ValueError."""
    if point not in POINTS or action not in ACTIONS:
        raise ValueError(f"there is no point {point!r} or no action {action!r}")
    for old in (*folder.glob(f"{point}.taken-*"), _released(folder, point)):
        old.unlink(missing_ok=True)
    fresh = folder / f"{point}.fresh"
    fresh.write_text(action)
    fresh.rename(folder / point)


def taken_by(folder: Path, point: str) -> int | None:
    """For a test: return the pid of the process that has reached an armed point."""
    return next((int(path.name.rpartition("-")[2]) for path in folder.glob(f"{point}.taken-*")), None)


def release(folder: Path, point: str) -> None:
    """For a test: let the process go on that is held at this point."""
    _released(folder, point).touch()


def main() -> int:
    """List the points, in test mode only; return the exit code."""
    if os.environ.get(TESTING) != "1":
        print(f"bgapp: failpoints are for tests: set {TESTING}=1 to list them", file=sys.stderr)
        return 2
    for name, where in POINTS.items():
        print(f"{name:10} {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
