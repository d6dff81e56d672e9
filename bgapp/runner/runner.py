"""A runner: one slot, one database connection, one job at a time, until there is nothing left to do.

Each turn writes the last job's outcome and claims the next in one transaction; the pick itself is the claim, so
there is never a job that is claimed by nobody.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import BinaryIO

from bgapp import attemptlog, clock, lifecycle, queries, rescue, scratch, system
from bgapp.attemptwriter import AttemptLogWriter
from bgapp.database import Database
from bgapp.errors import DatabaseUnavailable, Fenced
from bgapp.failpoints import reach
from bgapp.limits import Limits
from bgapp.node import Node, Slot
from bgapp.outcome import Outcome
from bgapp.records import Claim, Owner
from bgapp.runner.child import Order
from bgapp.runner.children import Children
from bgapp.runner.ledger import Finished, Ledger
from bgapp.runner.oomkills import OomKills
from bgapp.runner.output import Output
from bgapp.runner.supervise import Watch, secret_values, supervise
from bgapp.runtime import Runtime
from bgapp.stop import stop_asked
from bgapp.system import ProcessIdentity

LOOP_WAIT = {"sqlite": 0.1, "postgresql": 2.0}  # seconds a database call may wait inside the poll loop
LEASE_KEPT = 7 / 8  # of a lease: when it has not been renewed by then, the child is ended
LONGEST_PAUSE = 5.0  # seconds between two tries to write an outcome
LOOK = 1.0  # seconds between two looks, while idle, at whether the app process and the database file are there
RETRY_HORIZON = timedelta(hours=1)  # a retry due later than this waits for the next app process


class Runner:
    """One runner's life. `children` must have been made before anything else was opened."""

    def __init__(self, runtime: Runtime, node: Node, slot: Slot, children: Children, generation: str) -> None:
        me = system.identify(os.getpid())
        assert me is not None
        self.runtime, self.node, self.slot, self.children = runtime, node, slot, children
        lease = runtime.settings.lease
        self.owner = Owner(node.id, me, generation, timedelta(seconds=lease))
        backend = "sqlite" if runtime.database.is_sqlite else "postgresql"
        self.database = runtime.open_database(wait=LOOP_WAIT[backend], connections=1)
        self._ledger = Ledger(runtime, self.database, node, self.owner)
        self._leased_since = 0.0  # monotonic
        self._started = clock.monotonic()
        self._leaving = False
        self._mailbox = system.Mailbox(node.channel(f"runner-{slot.number}"))
        self._idle: system.Mailbox | None = None
        self._rescue_at = 0.0
        self._oom_kills = OomKills()
        self._file = _inode(self.database)
        node.write_runner(slot.number, me)

    def serve(self) -> None:
        """Run jobs until it is time to leave."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        finished: Finished | None = None
        idle_since = clock.monotonic()
        try:
            while True:
                claimed = self._settle_and_claim(finished)
                finished = None
                if claimed is not None:
                    self._close_idle()
                    finished = self.run(claimed)
                    idle_since = clock.monotonic()
                elif self._must_leave(idle_since):
                    return
                else:
                    self._wait(idle_since)
        finally:
            self._close_idle()
            self._mailbox.close()
            self.children.close()
            self.database.dispose()
            scratch.remove(self.node, self.owner.process)

    def _on_sigterm(self, *_: object) -> None:
        self._leaving = True
        system.post(self._mailbox.path)  # ends a wait that would sleep on

    # Database -------------------------------------------------------------------------------------------------

    def _settle_and_claim(self, finished: Finished | None) -> Claim | None:
        """Write what ended and claim what is next; tries until the database takes it, or until it is time to leave."""
        pause = 0.01
        while True:
            try:
                turn = self._ledger.turn(finished, claims=not self._leaving and not self._stop_asked())
            except Fenced:
                finished = None
            except DatabaseUnavailable:
                # An outcome that is in its file lands by a rescue, if not by this runner.
                if self._database_gone() or (self._leaving and self._ledger.is_kept(finished)):
                    self._leaving = True
                    return None
                time.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                self._leaving = self._leaving or turn.outdated
                self._leased_since = turn.leased_since
                return turn.claim

    def _database_gone(self) -> bool:
        """Return whether the SQLite file was deleted or replaced: its truth is not ours any more."""
        return self._file is not None and _inode(self.database) != self._file

    # One attempt ----------------------------------------------------------------------------------------------

    def run(self, claimed: Claim) -> Finished | None:
        """Run one claimed attempt; None where it turned out to be somebody else's by now."""
        reach("claimed")
        settings = self.runtime.settings
        allowlist = self.runtime.allowlist
        limits = allowlist.limits(claimed.job_class, claimed.method)
        reuse = allowlist.reuse(claimed.job_class, claimed.method)
        order = order_for(self.node, self.owner.process, claimed, limits, reuse)
        hidden = secret_values(claimed, settings.secret_keys)
        try:
            with open_output(self.runtime, claimed, hidden) as output:
                entry = partial(rescue.read_entry, self.node, claimed.job, claimed.attempt)
                pulse = Pulse(self.database, claimed, self.owner.lease, self._leased_since)
                watch = Watch(
                    self.children, pulse, self._mailbox, output, settings.kill_grace, hidden, self._stop_now, entry,
                    self._oom_kills,
                )  # fmt: skip
                outcome = supervise(claimed, order, watch)
        except Fenced:
            return None
        if outcome.ended is None and not outcome.not_started:
            self._leaving = True  # without a forker there is no next job
            outcome = prove_dead(self.node, claimed)
        return Finished(claimed, outcome)

    def _stop_asked(self) -> bool:
        return stop_asked(self.node, self._started) is not None

    def _stop_now(self) -> bool:
        return stop_asked(self.node, self._started) == "now"

    # Idle -----------------------------------------------------------------------------------------------------

    def _must_leave(self, idle_since: float) -> bool:
        if self._leaving or self._stop_asked() or self._database_gone():
            return True
        if clock.monotonic() - idle_since < self.runtime.settings.runner_idle:
            return False
        return self._release_slot_unless_needed()

    def _release_slot_unless_needed(self) -> bool:
        """Leave the slot, unless this is the last runner and one is wanted: an app lives, or a retry is near."""
        lock = self.node.leaving_lock()
        if not lock.try_exclusive():
            return False  # another is leaving at this moment: look again soon
        try:
            others = [n for n in self.node.held_slots(self.runtime.settings.max_running) if n != self.slot.number]
            if not others and (self.node.has_leader() or self._retry_is_near()):
                return False
            self.slot.release()
            return True
        finally:
            lock.release()

    def _retry_is_near(self) -> bool:
        try:
            with self.database.read() as connection:
                return queries.has_retry_soon(connection, self.node.id, self.database.clock(connection), RETRY_HORIZON)
        except DatabaseUnavailable:
            return True

    def _wait(self, idle_since: float) -> None:
        """Sleep until woken, or until the next job falls due, or until it is time to see whether to leave."""
        if self._idle is None:
            # Open for wake-ups first, then look once more: a job added in between is seen one way or the other.
            self._idle = system.Mailbox(self.node.channel(f"idle-{self.slot.number}"))
            return
        until = clock.monotonic() + self._sleep(idle_since)
        with selectors.DefaultSelector() as selector:
            for channel in (self._idle, self._mailbox, self.children):
                selector.register(channel.fileno(), selectors.EVENT_READ)
            while (left := until - clock.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(min(left, LOOK))}
                if self.children.fileno() in ready:
                    self._leaving = any(news.kind == "lost" for news in self.children.news()) or self._leaving
                if ready or self._database_gone() or not self.node.has_leader():
                    break
        self._idle.drain()
        self._mailbox.drain()
        self._rescue_if_alone()

    def _sleep(self, idle_since: float) -> float:
        until_idle = max(LOOK, idle_since + self.runtime.settings.runner_idle - clock.monotonic())
        try:
            with self.database.read() as connection:
                due = queries.next_due(connection)
                now = self.database.clock(connection)
        except DatabaseUnavailable:
            return LOOK
        return until_idle if due is None else min(until_idle, max(0.0, (due - now).total_seconds()))

    def _rescue_if_alone(self) -> None:
        """With no app process alive, settle this node's dead attempts here."""
        if self._rescue_at > clock.monotonic() or self.node.has_leader():
            return
        self._rescue_at = clock.monotonic() + LOOK
        try:
            self.runtime.tell(rescue.rescue(self.database, self.node))
        except DatabaseUnavailable:
            return

    def _close_idle(self) -> None:
        if self._idle is not None:
            self._idle.close()
            self._idle = None


class Pulse:
    """A claimed attempt's link to the database."""

    def __init__(self, database: Database, claimed: Claim, lease: timedelta, leased_since: float) -> None:
        self._database = database
        self._claim = claimed
        self._lease = lease
        self._leased_since = leased_since  # monotonic, before the write: the database's own reckoning ends later

    @property
    def renew_every(self) -> float:
        return self._lease.total_seconds() / 6

    @property
    def ours_until(self) -> float | None:
        # On SQLite all are on one machine. Who cannot write there cannot be robbed either: a thief must write too.
        if self._database.is_sqlite:
            return None
        return self._leased_since + self._lease.total_seconds() * LEASE_KEPT

    def cancel_requested(self) -> bool:
        with self._database.read() as connection:
            asked = queries.cancel_requested(connection, self._claim.job, self._claim.token)
        if asked is None:
            raise Fenced(f"job {self._claim.job} is no longer this runner's")
        return asked

    def renew(self, pid: int | None, progress: str | None) -> None:
        since = clock.monotonic()
        with self._database.write() as connection:
            lifecycle.renew(connection, self._claim, self._database.clock(connection), pid, progress, self._lease)
        self._leased_since = since


@contextmanager
def open_output(
    runtime: Runtime, claimed: Claim, secrets: frozenset[str], viewer: BinaryIO | None = None
) -> Iterator[Output]:
    """Open the log of a claimed attempt; `viewer` sees the output too."""
    settings = runtime.settings
    path = attemptlog.path(settings.log_dir, claimed.job, claimed.attempt)
    limits = runtime.allowlist.limits(claimed.job_class, claimed.method)
    with AttemptLogWriter(path, *limits.kept_output(settings.output_head_bytes, settings.output_tail_bytes)) as log:
        output = Output(log, secrets, viewer)
        try:
            yield output
        finally:
            output.end()


def prove_dead(node: Node, claimed: Claim) -> Outcome:
    """Make sure that nothing of an attempt lives whose forker is lost, and return what became of it."""
    while not rescue.end_tree(node, claimed.job, claimed.attempt):
        time.sleep(0.02)
    return rescue.lost_or_not_started(rescue.read_entry(node, claimed.job, claimed.attempt), "its forker was lost")


def order_for(node: Node, runner: ProcessIdentity, claimed: Claim, limits: Limits, reuse: int = 1) -> Order:
    """Make the attempt's temporary folder ready, and return what the child of a claimed attempt is told."""
    return Order(
        job=claimed.job,
        attempt=claimed.attempt,
        retries=claimed.retries,
        job_class=claimed.job_class,
        method=claimed.method,
        params=claimed.params,
        marker=rescue.marker(node, claimed.job, claimed.attempt) + secrets.token_hex(4),
        entry=str(node.entry_path(claimed.job, claimed.attempt)),
        temp=scratch.make(node, runner),
        limits=limits,
        reuse=reuse,
    )


def _inode(database: Database) -> int | None:
    if not database.is_sqlite or database.url.database is None:
        return None
    try:
        return os.stat(database.url.database).st_ino
    except OSError:
        return -1
