"""A job's process and everything it starts, on Linux and macOS: how to signal it, see its end, and collect its cost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bgapp.system import Ended, posix


def ended_from(status: int, usage: object) -> Ended:
    """Make an `Ended` of what wait4 gives; ru_maxrss is kilobytes on Linux and bytes on macOS (getrusage(2))."""
    code = os.waitstatus_to_exitcode(status)
    name = None
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"SIG{-code}"
    return Ended(
        exit_code=code if code >= 0 else None,
        signal=name,
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 6),  # type: ignore[attr-defined] # struct_rusage has no public name
        peak_memory_bytes=usage.ru_maxrss * (1024 if posix.LINUX else 1),  # type: ignore[attr-defined] # as above
    )


def has_ended(pid: int) -> bool:
    """Return whether a child has ended, without reaping it: until it is reaped its group's number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def signal_group(pid: int, number: int) -> None:
    """Signal the whole group of an unreaped child; a stopped group is woken so that it can act on the signal."""
    send = os.killpg
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            send(pid, number)
        except ProcessLookupError:  # so young that it does not lead a group yet, and has started nothing
            send = os.kill
            send(pid, number)
        if number != signal.SIGKILL:
            send(pid, signal.SIGCONT)


def children(pid: int) -> set[int]:
    """Return the pids of a single-threaded process's living or unreaped children (Linux)."""
    try:
        return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:  # a kernel built without that file: read every process
        return {other for other in posix.processes() if (fields := posix.stat_fields(other)) and fields[1] == str(pid)}


class SpawnedTree:
    """A child started as a new program, and everything it starts; for where forking is not safe."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], stdin: int, output: int, frames: int):
        self._process = subprocess.Popen(
            [*argv, str(frames)],
            env=dict(environment),
            stdin=stdin,
            stdout=output,
            stderr=output,
            pass_fds=(frames,),
            start_new_session=True,
        )
        self.pid = self._process.pid

    def stop(self) -> None:
        """Ask the whole group to end."""
        signal_group(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group."""
        signal_group(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for the child's end without reaping it."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def reap(self, marker: str, patience: float = 5.0) -> Ended:
        """End what the child left behind, then collect it; call after `wait()`.

        Waits at most `patience` seconds for leftovers in uninterruptible sleep.
        """
        signal_group(self.pid, signal.SIGKILL)
        # Before reaping: while the ended child is a zombie its number, which is its session's, is nobody else's.
        deadline = time.monotonic() + patience
        while posix.sweep(self.pid, marker) and time.monotonic() < deadline:
            time.sleep(0.01)
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return ended_from(status, usage)
