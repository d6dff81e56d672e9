"""A living installation: an instance folder, and the real processes that work on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from bgapp import attemptlog, queries, scratch, system
from bgapp import node as nodes
from bgapp.enqueue import enqueue
from bgapp.handle import JobHandle
from bgapp.node import Node
from bgapp.runtime import Runtime, of
from tests.conftest import ROOT
from tests.waiting import wait_for

ALLOWED = {
    "tests.jobcode.Work": {
        "methods": {
            name: {}
            for name in (
                "add echo day_after fail fail_until note fail_slowly stubborn leave_children talk talk_all_ways "
                "talk_then_crash exit kill_self leave progress secret not_json spawn uses_database later static "
                "of_class thread_left"
            ).split()
        }
    },
    "tests.jobcode.Broken": ["run"],
}


def open_files(pid: int) -> set[str]:
    """Return what a process has open at this moment."""
    found = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return found


class Site:
    """One installation. `app` lives in the test's own process and never ticks; `start_app` starts one that does."""

    def __init__(self, app: Flask, environment: Mapping[str, str], instance: Path) -> None:
        self.app = app
        self.runtime: Runtime = of(app)
        self.instance = instance
        self.environment = dict(environment)
        self.witness = instance / "witness"
        self._processes: list[subprocess.Popen[bytes]] = []

    # Processes -------------------------------------------------------------------------------------------------

    def start_app(self, wait: bool = True) -> subprocess.Popen[bytes]:
        """Start an app process with a clock; return once it leads."""
        process = self.run_python("-m", "tests.clockprocess")
        if wait:
            wait_for(lambda: self.node and self.node.has_leader(), "an app process that leads")
        return process

    def run_python(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start Python with this installation's environment."""
        with (self.instance / "processes.log").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                **{"stdin": subprocess.DEVNULL, "stdout": errors, "stderr": errors, **options},
            )
        self._processes.append(process)
        return process

    def kill_app(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL an app process and see it gone."""
        process.kill()
        process.wait()

    @property
    def node(self) -> Node | None:
        """The node that the installation's processes made, None before they did."""
        return next(iter(nodes.each(self.instance)), None)

    def host(self) -> system.ProcessIdentity | None:
        found = self.node.host() if self.node else None
        return found[0] if found else None

    def runners(self) -> list[system.ProcessIdentity]:
        limit = self.runtime.settings.max_running
        return [process for _, process in self.node.runners(limit)] if self.node else []

    def processes(self) -> list[int]:
        """Return the living processes of this installation, whatever they are, but for the test's own."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid() and system.identify(int(name)):
                try:
                    environ = Path(f"/proc/{name}/environ").read_bytes()
                except OSError:
                    continue
                if f"BGAPP_INSTANCE={self.instance}".encode() in environ.split(b"\0"):
                    found.append(int(name))
        return found

    def by_kind(self) -> list[tuple[str, system.ProcessIdentity]]:
        """Return the living processes, each as app, host, runner, forker or child, in this order."""
        names = {"bgapp-host": "host", "bgapp-runner": "runner", "bgapp-forker": "forker"}
        found = []
        for pid in self.processes():
            process = system.identify(pid)
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            # Between its fork and its name a process has its parent's; a job's own programs have theirs.
            kind = names.get(name, "child" if name.startswith("bgapp-job") else "")
            if not kind:
                kind = "app" if b"tests.clockprocess" in words else "child"
            if process is not None:
                found.append((kind, process))
        return sorted(found, key=lambda one: ("app", "host", "runner", "forker", "child").index(one[0]))

    def end(self) -> None:
        """Kill every process of this installation."""

        def all_gone() -> bool:
            living = self.processes()
            for pid in living:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not living

        wait_for(all_gone, "the end of this installation's processes")
        for process in self._processes:
            process.wait()
        for node in nodes.each(self.instance):
            scratch.remove_all(node)
        self.runtime.database.dispose()
        self.runtime.events.close()
        with self.app.app_context():
            self.app.extensions["sqlalchemy"].engine.dispose()

    # Jobs ------------------------------------------------------------------------------------------------------

    def enqueue(self, method: str, *params: Any, job_class: str = "Work", **options: Any) -> JobHandle:
        """Enqueue from this process, as a view would."""
        with self.app.app_context():
            return enqueue(self.runtime, job_class, method, list(params), options)

    def note(self, seconds: float = 0.0, **options: Any) -> JobHandle:
        """Enqueue a job that leaves a witness."""
        return self.enqueue("note", str(self.witness), seconds, **options)

    def job(self, handle: JobHandle | int) -> dict[str, Any]:
        """Return a job's JSON as it stands in the database now."""
        job_id = handle if isinstance(handle, int) else handle.id
        with self.runtime.database.read() as connection:
            row = queries.job(connection, job_id)
            assert row is not None
            return queries.as_json(row, queries.attempts(connection, job_id))

    def wait(self, handle: JobHandle | int, *statuses: str) -> dict[str, Any]:
        """Wait until a job has one of these statuses (default: until it ended) and return it."""
        wanted = statuses or ("completed", "failed", "cancelled")
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.job(handle))
            return found["status"] in wanted

        try:
            wait_for(reached, f"job {handle!r} to be {' or '.join(wanted)}")
        except AssertionError as error:
            error.add_note(f"the job: {json.dumps(found, indent=1)}\n{self.diagnosis()}")
            raise
        return found

    def wait_entered(self, handle: JobHandle, times: int = 1) -> None:
        """Wait until the job's method has been entered so many times."""
        wait_for(lambda: len(self.starts(handle.id)) >= times, f"start {times} of job {handle.id}\n{self.diagnosis()}")

    def starts(self, job_id: int) -> list[list[str]]:
        return [line for line in self.witnessed() if line[0] == "S" and line[1] == str(job_id)]

    def ends(self, job_id: int) -> list[list[str]]:
        return [line for line in self.witnessed() if line[0] == "E" and line[1] == str(job_id)]

    def witnessed(self) -> list[list[str]]:
        """Return the witness file's lines as words: mark, job, attempt, nanoseconds, pid."""
        if not self.witness.exists():
            return []
        return [line.split() for line in self.witness.read_text().splitlines()]

    def output(self, handle: JobHandle, attempt: int = 1) -> str:
        """Return what an attempt has written so far."""
        path = attemptlog.path(self.runtime.settings.log_dir, handle.id, attempt)
        return attemptlog.read(path, 0, 1 << 24).data.decode(errors="replace")

    def log(self, name: str = "background_jobs.log") -> str:
        path = self.runtime.settings.log_dir / name
        return path.read_text() if path.exists() else ""

    def diagnosis(self) -> str:
        """Return what this installation's processes wrote where a person would look."""
        parts = []
        for path in (self.instance / "processes.log", self.runtime.settings.log_dir / "runner.log"):
            if path.exists():
                parts.append(f"--- {path.name} ---\n{path.read_text()[-3000:]}")
        return "\n".join(parts)
