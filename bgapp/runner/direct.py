"""`python -m bgapp.runner CLASS METHOD [PARAM ...]`: one job, run here and now, its output on the terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from bgapp import clock, handle, lifecycle, newjob, rescue, scratch, system
from bgapp.errors import Fenced, JobRejected
from bgapp.models import Status
from bgapp.node import Slot
from bgapp.records import Claim, NewJob, Owner
from bgapp.runner import loading
from bgapp.runner.children import Children, ForkedChildren, SpawnedChildren
from bgapp.runner.oomkills import OomKills
from bgapp.runner.runner import LOOP_WAIT, Pulse, open_output, order_for, prove_dead
from bgapp.runner.supervise import Watch, secret_values, supervise
from bgapp.runtime import Runtime, of

INTERRUPTED, CLOSED_PIPE = 130, 141
DIRECT_GENERATION = "direct"


def run_here(job_class: str, method: str, words: Sequence[str]) -> int:
    """Insert a job as running here, run its one attempt, show its output; return the exit code.

    Raises JobRejected, ConfigurationError, DatabaseUnavailable.
    """
    app = loading.load_application()
    runtime = of(app)
    runtime.ready()
    try:
        new = newjob.build(
            runtime.settings, runtime.allowlist, job_class, method, list(words), retries=0, now=clock.now()
        )
    except JobRejected as refusal:
        runtime.tell_refusal(job_class, method, list(words), refusal)
        raise
    forks = loading.can_fork(runtime)
    loading.close_connections()
    children: Children = ForkedChildren(app) if forks else SpawnedChildren()
    try:
        slot = runtime.node.take_slot(runtime.settings.max_running)
        if slot is None:
            most = runtime.settings.max_running
            print(f"bgapp: all {most} slots of this node are taken: try again later", file=sys.stderr)
            return 1
        try:
            return _Direct(runtime, slot, children).run(new)
        finally:
            slot.release()
    finally:
        children.close()


class _Direct:
    def __init__(self, runtime: Runtime, slot: Slot, children: Children) -> None:
        self._runtime, self._children = runtime, children
        self._node = runtime.node
        self._interrupted = False
        self._mailbox = system.Mailbox(self._node.channel(f"runner-{slot.number}"))
        backend = "sqlite" if runtime.database.is_sqlite else "postgresql"
        self._quick = runtime.open_database(wait=LOOP_WAIT[backend], connections=1)
        me = system.identify(os.getpid())
        assert me is not None
        self._me = me
        self._node.write_runner(slot.number, me)

    def run(self, new: NewJob) -> int:
        database = self._runtime.database
        since = clock.monotonic()
        owner = Owner(self._node.id, self._me, DIRECT_GENERATION, timedelta(seconds=self._runtime.settings.lease))
        with database.write() as connection:
            claimed, changes = lifecycle.begin_here(connection, new, owner)
        self._runtime.tell(changes)
        signal.signal(signal.SIGINT, lambda *_: self._interrupt(claimed))
        signal.signal(signal.SIGTERM, lambda *_: self._interrupt(claimed))
        hidden = secret_values(claimed, self._runtime.settings.secret_keys)
        try:
            with open_output(self._runtime, claimed, hidden, sys.stdout.buffer) as output:
                entry = partial(rescue.read_entry, self._node, claimed.job, claimed.attempt)
                pulse, grace = Pulse(self._quick, claimed, owner.lease, since), self._runtime.settings.kill_grace
                watch = Watch(
                    self._children, pulse, self._mailbox, output, grace, hidden, lambda: False, entry, OomKills()
                )
                limits = self._runtime.allowlist.limits(claimed.job_class, claimed.method)
                outcome = supervise(claimed, order_for(self._node, self._me, claimed, limits), watch)
        except Fenced as error:
            print(f"bgapp: {error}", file=sys.stderr)
            return 1
        finally:
            self._mailbox.close()
        if outcome.ended is None and not outcome.not_started:
            outcome = prove_dead(self._node, claimed)
        with database.write() as connection:
            changes = lifecycle.settle(connection, claimed, outcome, database.clock(connection))
        self._runtime.tell(changes)
        rescue.forget_entry(self._node, claimed.job, claimed.attempt)
        scratch.remove(self._node, self._me)
        if outcome.error:
            print(f"bgapp: job {claimed.job} {outcome.status}: {outcome.error}", file=sys.stderr)
        if self._interrupted:
            return INTERRUPTED
        return CLOSED_PIPE if output.viewer_left else int(outcome.status is not Status.COMPLETED)

    def _interrupt(self, claimed: Claim) -> None:
        """Ctrl-C cancels as a person in the dashboard would; the same ladder follows."""
        self._interrupted = True
        handle.cancel(self._runtime, claimed.job, "Ctrl-C")
