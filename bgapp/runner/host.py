"""The runner host: one detached process a node that loads the application once and forks runners, one a slot.

It holds no database connection. Its death harms no runner; the next launch starts another.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from flask import Flask

from bgapp import clock, rescue, system, wake
from bgapp.errors import ConfigurationError
from bgapp.handover import GENERATION, NODE, PYTHONPATH
from bgapp.node import Node
from bgapp.runner import loading
from bgapp.runner.children import Children, ForkedChildren, SpawnedChildren
from bgapp.runner.runner import Runner
from bgapp.runtime import Runtime, of

LOOK = 1.0  # seconds between two looks at whether anyone still needs this host


def serve_host() -> int:
    """Be the node's runner host until nobody needs it; return the exit code."""
    node = Node(Path(os.environ[NODE]))
    lock = node.host_lock()
    if not lock.try_exclusive():
        return 0  # another host lives: that is all that was wanted
    node.take_membership()
    system.set_name("bgapp-host")
    node.write_host(system.identify(os.getpid()), os.environ.get(GENERATION, ""))
    mailbox = system.Mailbox(node.channel(wake.HOST))
    app = loading.load_application()
    runtime = of(app)
    if runtime.settings.instance != node.folder.parent.parent:
        raise ConfigurationError(
            f"the application {runtime.settings.app!r} uses the instance folder {runtime.settings.instance}, but was "
            f"launched for {node.folder.parent.parent}: set BGAPP_APP to the application that enqueues the jobs"
        )
    for problem in loading.import_job_classes(runtime):
        print(f"bgapp: {problem}", file=sys.stderr, flush=True)
    loading.close_connections()
    _Host(app, runtime, node, mailbox).serve()
    return 0


class _Host:
    def __init__(self, app: Flask, runtime: Runtime, node: Node, mailbox: system.Mailbox) -> None:
        self._app, self._runtime, self._node, self._mailbox = app, runtime, node, mailbox
        self._forks = loading.can_fork(runtime)
        self._forked: dict[int, system.ProcessIdentity] = {}
        self._spawned: list[subprocess.Popen[bytes]] = []
        self._leaving = False
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._wake, self._wake_end = socket.socketpair()
        self._wake.setblocking(False)
        self._wake_end.setblocking(False)
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(mailbox.fileno(), selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        if self._forks:
            signal.signal(signal.SIGCHLD, lambda *_: None)
            # Collected once and left alone, so that forked processes share these pages with this one.
            gc.collect()
            gc.freeze()

    def _on_sigterm(self, *_: object) -> None:
        self._leaving = True

    def serve(self) -> None:
        """Make runners as they are asked for; leave when no runner is left and no app process leads here."""
        self._mailbox.drain()  # asked for before this host could make any: the first runner sees what there is
        self._add(1)
        needed_at = clock.monotonic()
        while not self._leaving:
            self._node.touch_host()
            self._selector.select(LOOK)
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)
            self._reap()
            self._add(self._mailbox.drain())
            if self._forked or self._spawned or self._node.has_leader():
                needed_at = clock.monotonic()
            elif clock.monotonic() - needed_at > LOOK:
                return

    def _add(self, wanted: int) -> None:
        free = self._runtime.settings.max_running - len(self._forked) - len(self._spawned)
        for _ in range(max(0, min(wanted, free))):
            if self._forks:
                self._fork()
            else:
                self._spawn()

    def _fork(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:  # the machine is out of processes or memory: the next tick asks again
            print(f"bgapp: a runner could not be made: {error.strerror}", file=sys.stderr, flush=True)
            return
        if pid:
            self._forked[pid] = system.identify(pid) or system.ProcessIdentity(pid, 0)
            return
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake.close()
        self._wake_end.close()
        be_runner(self._app, self._node, forks=True)

    def _spawn(self) -> None:
        argv = [sys.executable, "-m", "bgapp.runner", "--runner"]
        environment = {**os.environ, PYTHONPATH: os.environ.get("PYTHONPATH", "")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with contextlib.suppress(OSError):
            self._spawned.append(
                system.spawn_detached(
                    argv,
                    environment=environment,
                    folder=Path.cwd(),
                    errors=self._runtime.settings.log_dir / "runner.log",
                )
            )

    def _reap(self) -> None:
        """Collect runners that ended; one that ended badly left a job behind, which the leader then rescues."""
        badly = False
        for pid in list(self._forked):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                runner = self._forked.pop(pid)
                if status != 0:
                    badly = True
                    rescue.note_death(self._node, runner, os.waitstatus_to_exitcode(status))
        for process in list(self._spawned):
            if process.poll() is not None:
                self._spawned.remove(process)
                badly = badly or process.returncode != 0
        if badly:
            system.post(self._node.channel(wake.LEADER))


def be_runner(app: Flask, node: Node, *, forks: bool) -> NoReturn:
    """Turn this process into a runner, and end it when the runner leaves. Never returns."""
    code = 1
    try:
        system.set_name("bgapp-runner")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        runtime = of(app)
        # First the forker, then locks and the connection: none of them may cross its fork.
        children: Children = ForkedChildren(app) if forks else SpawnedChildren()
        node.take_membership()
        slot = node.take_slot(runtime.settings.max_running)
        if slot is not None:
            Runner(runtime, node, slot, children, os.environ.get(GENERATION, "")).serve()
        else:
            children.close()
        code = 0
    except BaseException:  # the edge of a process: its traceback belongs in the host's log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
