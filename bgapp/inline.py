"""Run due jobs in this very process, for an application's own tests: `BGAPP_INLINE` and `bgapp.testing`.

The path is the real one - claim, allow-list, parameters, settle - but there is no process, no log file of output,
no time limit and no cancel.
"""

from __future__ import annotations

import os
import traceback

from bgapp import controls, jsontext, lifecycle, system
from bgapp.context import current_job
from bgapp.errors import BgappError, JobRejected
from bgapp.invoke import prepare
from bgapp.models import Reason, Status
from bgapp.outcome import Outcome
from bgapp.records import Claim, Owner
from bgapp.runtime import Runtime

INLINE_GENERATION = "inline"


def run_inline(runtime: Runtime, most: int = 1000) -> int:
    """Run jobs that are due, best first, until none is or `most` have run; return how many ran."""
    if current_job:
        return 0  # a job that enqueues: the outer call runs it next
    runtime.ready()
    process = system.identify(os.getpid())
    assert process is not None
    owner = Owner(runtime.node.id, process, INLINE_GENERATION)
    done = 0
    with runtime.database.write() as connection:
        controls.say_alive(connection, runtime.node, INLINE_GENERATION, runtime.database.clock(connection))
    while done < most:
        with runtime.database.write() as connection:
            now = runtime.database.clock(connection)
            changes = lifecycle.promote(connection, now)
            claimed, begun = lifecycle.claim(connection, owner, now)
        runtime.tell(changes + begun)
        if claimed is None:
            return done
        outcome = _run(runtime, claimed)
        with runtime.database.write() as connection:
            changes = lifecycle.settle(connection, claimed, outcome, runtime.database.clock(connection))
        runtime.tell(changes)
        done += 1
    return done


def _run(runtime: Runtime, claimed: Claim) -> Outcome:
    current_job.begin(claimed.job, claimed.attempt, claimed.retries, lambda _fraction, _message: None)
    try:
        value = prepare(runtime.allowlist, claimed.job_class, claimed.method, claimed.params)()
        return Outcome(Status.COMPLETED, result=_json(value), pid=os.getpid())
    except JobRejected as error:
        return Outcome(Status.FAILED, Reason.NOT_ALLOWED, str(error), may_retry=False)
    except Exception as error:  # the edge of the job's code
        trace = traceback.format_exc()
        return Outcome(Status.FAILED, Reason.ERROR, f"{type(error).__name__}: {error}", trace, pid=os.getpid())
    finally:
        current_job.end()


def _json(value: object) -> str | None:
    try:
        return jsontext.encode(value, "result", limit=256 * 1024, tuples=True)
    except BgappError:
        return None
