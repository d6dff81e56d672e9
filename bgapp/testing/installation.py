"""A real installation in a folder of its own: the stand-alone application, served by several processes.

Whoever makes one is its service manager: starts its app processes, starts those again that ended, collects orphans.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

import bgapp
from bgapp import node as nodes
from bgapp import stop, system
from bgapp.app import create_app
from bgapp.runtime import Runtime, of
from bgapp.testing.processes import Finder, Process, holds
from bgapp.testing.witness import JOB_CLASS, METHODS

WSGI = "from bgapp import create_app, start\n\napp = create_app()\nstart(app)\n"
SERVER = ("-m", "flask", "--app", "wsgi", "run", "--port", "0")
CLOCK = ("-m", "flask", "--app", "wsgi", "scheduler")
RESTART = 0.3  # seconds after the end of an app process that its manager starts it again


@dataclass
class App:
    """An app process that is to live: what starts it, and how it is now."""

    words: tuple[str, ...]
    process: subprocess.Popen[bytes]
    ended_at: float | None = None


class Installation:
    """Makes folder, tables and the driver's own way in; starts no process yet."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        """`settings` by name without prefix, as text. Raises ConfigurationError, DatabaseUnavailable."""
        self.folder = folder
        self.instance = folder / "instance"
        self.project = folder / "project"
        self.witness = folder / "witness"
        self.output = folder / "processes.log"
        self.instance.mkdir(mode=0o700)
        self.project.mkdir(mode=0o700)
        (self.project / "wsgi.py").write_text(WSGI)
        allowed = json.dumps({JOB_CLASS: list(METHODS)})
        own = {"INSTANCE": str(self.instance), "ALLOWED_JOBS": allowed, **settings}
        self._settings = {f"BGAPP_{name}": value for name, value in own.items()}
        foreign = ("BGAPP_", "_BGAPP_", "FLASK_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        path = os.pathsep.join(filter(None, (str(Path(bgapp.__file__).parent.parent), clean.get("PYTHONPATH"))))
        self.environment = {**clean, **self._settings, "PYTHONPATH": path}
        self.app = self._own_app()
        self.runtime: Runtime = of(self.app)
        self.runtime.ready()
        self.finder = Finder(self.instance)
        self.apps: list[App] = []
        self.ended_alone: list[str] = []  # app processes that ended though nobody signalled them
        self._signalled: set[int] = set()
        system.adopt_orphans()  # hosts and what is left of dead ones come to this process, which collects them

    def _own_app(self) -> Flask:
        """Return the same application for this process, which enqueues and looks, and has no clock."""
        os.chdir(self.project)  # no .env file but the installation's own may be read
        for name in set(os.environ) - set(self.environment):
            del os.environ[name]
        return create_app(dict(self._settings))

    # App processes ---------------------------------------------------------------------------------------------

    def start(self, *words: str) -> None:
        """Start one more app process, and keep it alive from then on."""
        self.apps.append(App(words, self._launch(words)))

    def _launch(self, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.project,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.finder.apps.add(process.pid)
        return process

    def manage(self) -> list[Process]:
        """Start app processes again that ended, and collect orphans that ended; call it often.

        Returns the installation's living processes.
        """
        for one in self.apps:
            code = one.process.poll()
            if code is None:
                continue
            if one.ended_at is None:
                one.ended_at = time.monotonic()
                self.finder.apps.discard(one.process.pid)
                if one.process.pid not in self._signalled:
                    self.ended_alone.append(f"{' '.join(one.words)} ended by itself with {code}")
            elif time.monotonic() - one.ended_at > RESTART:
                one.process, one.ended_at = self._launch(one.words), None
        found = self.finder.find()
        self._collect(found)
        return [one for one in found if not one.is_zombie]

    def _collect(self, processes: list[Process]) -> None:
        own = {one.process.pid for one in self.apps}
        for process in processes:
            if process.is_zombie and process.parent == os.getpid() and process.pid not in own:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)

    def leader(self, processes: list[Process]) -> list[Process]:
        """Return the app process that leads, as a list of at most one (for a moment it may look like two)."""
        locks = [node.folder / "leader.lock" for node in nodes.each(self.instance)]
        return [one for one in processes if one.role == "app" and any(holds(one.pid, lock) for lock in locks)]

    # Signals ---------------------------------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        """Return the living processes of this installation."""
        return [one for one in self.finder.find() if not one.is_zombie]

    def zombies(self) -> list[Process]:
        """Return ended processes that their parent, another process of the installation, has not collected."""
        return [one for one in self.finder.find() if one.is_zombie and one.parent != os.getpid()]

    def send(self, process: Process, number: int) -> bool:
        """Signal exactly this process; return False where it is gone."""
        if process.role == "app":
            self._signalled.add(process.pid)
        return system.terminate(process.identity, number)

    # The end ---------------------------------------------------------------------------------------------------

    def stop_apps(self, patience: float = 30.0) -> bool:
        """Ask the app processes to end, as a service manager does; return whether all did in time (seconds)."""
        for one in self.apps:
            one.process.terminate()
        deadline = time.monotonic() + patience
        for one in self.apps:
            try:
                one.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return False
        self.finder.apps.clear()
        return True

    def ask_runners_to_leave(self) -> None:
        """Ask the runners to leave after their job, as the command `runners stop` does."""
        for node in nodes.each(self.instance):
            stop.ask_to_stop(node, now=False)

    def left_behind(self, patience: float) -> list[Process]:
        """Wait up to `patience` seconds until no process of the installation lives; return those that do."""
        deadline = time.monotonic() + patience
        while True:
            found = self.finder.find()
            self._collect(found)
            living = [one for one in found if not one.is_zombie]
            if not living or time.monotonic() > deadline:
                return living
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill every process of this installation, for good."""
        while living := self.processes():
            for process in living:
                system.terminate(process.identity, signal.SIGKILL)
            for one in self.apps:
                one.process.poll()
            time.sleep(0.02)
        for one in self.apps:
            one.process.wait()
        self._collect(self.finder.find())

    def end(self) -> None:
        """Kill every process of this installation and close what this process has open of it."""
        self.kill()
        self.runtime.database.dispose()
        self.runtime.events.close()
