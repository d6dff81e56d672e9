"""A folder for one measurement, and every process that belongs to it (Linux)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds: only a broken thing takes as long
MARK = "BENCH_PLACE"
# This machine's own settings. One of Python's forbids to keep what was compiled, and so makes each import slow.
FOREIGN = ("BGAPP_", "_BGAPP_", "FLASK_", "BENCH_", "PYTHON")

Value = TypeVar("Value")


class NotMeasured(Exception):
    """A system cannot be measured here; the message says why."""


def wait_for(condition: Callable[[], Value], what: str, seconds: float = PATIENCE) -> Value:
    """Return the first true value of `condition`. Raises NotMeasured after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise NotMeasured(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)
    return found


@dataclass(frozen=True)
class Line:
    """A line of the witness: S at a job's start, E at its end; `at` in seconds of the monotonic clock."""

    mark: str
    tag: int
    at: float
    pid: int


class Place:
    """Starts processes that carry its mark, so that all of them and their offspring can be found and killed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bgapp-bench-"))
        self.witness = self.folder / "witness"
        self.output = self.folder / "output"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.environment = {
            **clean,
            MARK: str(self.folder),
            "BENCH_WITNESS": str(self.witness),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self._servers: list[subprocess.Popen[bytes]] = []

    def start(self, words: list[str]) -> subprocess.Popen[bytes]:
        """Start Python with these words, as one process of the system that is measured."""
        process = self._open([sys.executable, *words], self.environment)
        self._started.append(process)
        return process

    def serve(self, words: list[str]) -> subprocess.Popen[bytes]:
        """Start a server, which `kill` spares."""
        process = self._open(words, {name: value for name, value in self.environment.items() if name != MARK})
        self._servers.append(process)
        return process

    def _open(self, words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            return subprocess.Popen(
                words, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def call(self, words: list[str]) -> str:
        """Run Python with these words to its end and return what it printed. Raises NotMeasured if it fails."""
        environment = {name: value for name, value in self.environment.items() if name != MARK}
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != 0:
            raise NotMeasured(f"{' '.join(words[:3])} failed: {last_line(done.stderr)}")
        return done.stdout

    def lines(self) -> list[Line]:
        """Return what the witness saw so far."""
        try:
            words = [line.split() for line in self.witness.read_text().splitlines()]
        except FileNotFoundError:
            return []
        return [Line(mark, int(tag), int(at) / 1e9, int(pid)) for mark, tag, at, pid in words]

    def count(self, mark: str) -> int:
        """Return how many lines have this mark; cheaper than `lines`."""
        try:
            return sum(line.startswith(mark.encode()) for line in self.witness.read_bytes().splitlines())
        except FileNotFoundError:
            return 0

    def processes(self) -> list[int]:
        """Return the living processes of the system: those that carry the mark, and whatever they started."""
        mark = f"{MARK}={self.folder}".encode()
        parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
        found = {pid for pid in parents if mark in _environment(pid)}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL every process of the system, all at once, until none is left. Servers live on."""

        def all_gone() -> bool:
            living = self.processes()
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not living

        wait_for(all_gone, "the end of the processes")
        for process in self._started:
            process.wait()
        self._started.clear()

    def end(self) -> None:
        """Kill everything, servers too, and remove the folder."""
        self.kill()
        for server in self._servers:
            server.kill()
            server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def _parent(pid: int) -> int | None:
    """Return a living process's parent, None where it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[1])


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
