"""The clock: APScheduler inside an app process, which ticks dispatch and maintenance while it leads its node.

APScheduler keeps no job and no truth: its memory store holds the one tick. Every process of an application may
have a clock; an OS lock makes one of them the leader, and correctness never depends on which.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from datetime import timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from flask import Flask

from bgapp import clock, generation, system, wake
from bgapp import runtime as runtimes
from bgapp.databasefile import LARGE_LOG
from bgapp.dispatch import GROWTH, Dispatcher
from bgapp.errors import BgappError
from bgapp.handover import IN_RUNNER
from bgapp.launcher import Launcher
from bgapp.maintenance import Maintenance
from bgapp.runtime import Runtime
from bgapp.sqlitelibrary import sqlite_library, weakness

CLOCK = "bgapp_clock"
SETTLE = 0.01  # seconds: a woken runner claims meanwhile, so that no other is started for the same job
TICK = "bgapp-tick"


class Clock:
    """One app process's clock."""

    def __init__(self, app: Flask, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime
        self.pid = os.getpid()
        self._scheduler = BackgroundScheduler(timezone="UTC", daemon=True)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._leadership: system.FileLock | None = None
        self._mailbox: system.Mailbox | None = None
        self._launcher: Launcher | None = None
        self._maintenance: Maintenance | None = None
        self._dispatcher: Dispatcher | None = None
        self._grows = False
        self._failures = 0
        self._quiet_until = 0.0
        self._log_is_large = False

    @property
    def leads(self) -> bool:
        return self._leadership is not None

    def start(self, after: float = 0.0) -> None:
        """Begin to tick in threads of its own, the first time after so many seconds.

        Raises ConfigurationError, DatabaseUnavailable.
        """
        self._runtime.ready()
        if self._runtime.database.is_sqlite:
            weak = weakness(self._runtime.dbapi or sqlite_library())
            if weak is not None:
                self._app.logger.warning("bgapp: %s", weak)
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=self._runtime.settings.tick,
            id=TICK,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            next_run_time=clock.now() + timedelta(seconds=after),
        )
        self._scheduler.start()

    def stop(self) -> None:
        """Stop ticking and give up leadership. Jobs run on; nothing of theirs depends on this."""
        self._stopping.set()
        self._scheduler.shutdown(wait=True)
        with self._lock:
            if self._mailbox is not None:
                system.post(self._mailbox.path)
                self._mailbox.close()
            if self._leadership is not None:
                self._leadership.release()
            self._leadership = self._mailbox = None

    def _tick(self) -> None:
        """Lead if nobody does; then one pass of each. A failing pass is told, and tried again after a while."""
        with self._lock:
            if self._stopping.is_set() or clock.monotonic() < self._quiet_until:
                return
            try:
                if self._leadership is None and not self._try_to_lead():
                    return
                self._passes()
                self._failures = 0
            except BgappError as error:
                self._back_off(error, with_traceback=False)
            except Exception as error:  # the edge of a thread: an error must not end the clock
                self._back_off(error, with_traceback=True)

    def _back_off(self, error: Exception, *, with_traceback: bool) -> None:
        self._failures += 1
        self._quiet_until = clock.monotonic() + min(5.0, 0.5 * self._failures)
        self._app.logger.error("bgapp: a tick failed: %s", error, exc_info=error if with_traceback else None)

    def _try_to_lead(self) -> bool:
        node = self._runtime.node
        lock = node.leader_lock()
        if not lock.try_exclusive():
            return False
        self._leadership = lock
        code = generation.generation(self._runtime.settings, self._runtime.allowlist)
        self._launcher = Launcher(self._runtime.settings, node, code)
        self._maintenance = Maintenance(self._runtime, node, code)
        self._dispatcher = Dispatcher(self._runtime, node)
        self._mailbox = system.Mailbox(node.channel(wake.LEADER))
        threading.Thread(target=self._listen, args=(self._mailbox,), daemon=True, name="bgapp-wake").start()
        return True

    def _passes(self) -> None:
        assert self._launcher is not None
        assert self._maintenance is not None
        assert self._dispatcher is not None
        self._maintenance.run()
        self._launcher.keep_host()
        self._grows = self._dispatcher.run().held_back > 0
        self._look_at_log()
        if self._grows and self._mailbox is not None:
            system.post(self._mailbox.path)

    def _look_at_log(self) -> None:
        """Warn once when the write-ahead log grows large: whoever reads without an end keeps it from beginning anew."""
        file = self._runtime.database.file
        length = 0 if file is None else file.log_size()
        if length > LARGE_LOG and not self._log_is_large:
            self._app.logger.warning(
                "bgapp: the database's write-ahead log holds %d MiB: some program keeps a transaction open",
                length // (1024 * 1024),
            )
        self._log_is_large = length > LARGE_LOG

    def _listen(self, mailbox: system.Mailbox) -> None:
        """Run a dispatch pass at once when somebody posts to the leader."""
        with selectors.DefaultSelector() as selector:
            selector.register(mailbox.fileno(), selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if self._stopping.wait(GROWTH if self._grows else SETTLE):
                    return
                mailbox.drain()
                self._tick()


def start_clock(app: Flask, after: float = 0.0) -> bool:
    """Start this process's clock unless it has one; return whether it was started now.

    For a server's own start hook (gunicorn's post_worker_init, a waitress launcher); elsewhere it starts by itself.
    Raises ConfigurationError, DatabaseUnavailable.
    """
    if os.environ.get(IN_RUNNER) or runtimes.of(app).settings.inline:
        return False
    found = clock_of(app)
    if found is not None:
        return False
    new = Clock(app, runtimes.of(app))
    app.extensions[CLOCK] = new
    new.start(after)
    return True


def clock_of(app: Flask) -> Clock | None:
    """Return this process's clock; a parent's, which a fork copied without its threads, counts as none."""
    found: Any = app.extensions.get(CLOCK)
    return found if isinstance(found, Clock) and found.pid == os.getpid() else None


def stop_clock(app: Flask) -> None:
    """Stop this process's clock, if it has one."""
    found = clock_of(app)
    if found is not None:
        found.stop()
        del app.extensions[CLOCK]


def wait_for_leader(app: Flask, seconds: float) -> bool:
    """Return whether this process's node has a leader, waiting up to `seconds` for one."""
    node = runtimes.of(app).node
    deadline = clock.monotonic() + seconds
    while not (led := node.has_leader()) and clock.monotonic() < deadline:
        with contextlib.suppress(OSError):
            time.sleep(0.02)
    return led
