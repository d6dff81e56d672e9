"""Start the node's runner host, and see that it is the one for today's code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bgapp import system
from bgapp.failpoints import reach
from bgapp.handover import APP, GENERATION, NODE, PYTHONPATH
from bgapp.node import Node
from bgapp.settings import Settings

SILENT = 10.0  # seconds: the host says that it serves each second
SILENT_TICKS = 3
REPLACE_AFTER = 5  # ticks for which an old host may take to leave before it is killed


class Launcher:
    """Keeps one runner host alive while its app process leads the node."""

    def __init__(self, settings: Settings, node: Node, generation: str) -> None:
        self._settings = settings
        self._node = node
        self._generation = generation
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0
        self._silent = 0

    def keep_host(self) -> None:
        """Start a host where none lives; replace one that holds other code. Its runners finish their jobs."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None  # polled each tick, so that no zombie stays
        if not self._node.has_host():
            self._asked = 0
            if self._process is None:
                self._process = self._start()
            return
        host = self._node.host()
        if host is None:
            return
        if host[1] != self._generation:
            self._asked += 1
            system.terminate(host[0], 15 if self._asked <= REPLACE_AFTER else 9)
        elif self._hangs():
            system.terminate(host[0], 9)  # stopped, or stuck: its runners go on, and the next tick starts another

    def _hangs(self) -> bool:
        """Return whether the host has been silent at several ticks in a row: one silence may be a sleeping machine."""
        silent = self._node.host_silent_for() > SILENT
        self._silent = self._silent + 1 if silent else 0
        return self._silent >= SILENT_TICKS

    def _start(self) -> subprocess.Popen[bytes]:
        reach("launch")
        environment = dict(os.environ)
        environment[PYTHONPATH] = environment.get("PYTHONPATH", "")
        # The host must find what this process finds, however that was started.
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment[APP] = self._settings.app
        environment[GENERATION] = self._generation
        environment[NODE] = str(self._node.folder)
        for name in ("WERKZEUG_RUN_MAIN", "WERKZEUG_SERVER_FD", "FLASK_RUN_FROM_CLI"):
            environment.pop(name, None)
        return system.spawn_detached(
            [sys.executable, "-m", "bgapp.runner", "--host"],
            environment=environment,
            folder=Path.cwd(),
            errors=self._settings.log_dir / "runner.log",
        )
