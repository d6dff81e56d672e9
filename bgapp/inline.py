"""Run due jobs in this very process, for an application's own tests: `BGAPP_INLINE` and `bgapp.testing`.

The path is the real one - claim, allow-list, parameters, settle - but there is no process, no log file of output,
no time limit and no cancel.
"""

from __future__ import annotations

import os
import traceback

from flask import current_app

from bgapp import controls, jsontext, lifecycle, masking, queries, signals, system
from bgapp.context import current_job
from bgapp.errors import BadParameters, BgappError, ClassUnknown, JobRejected
from bgapp.invoke import Call, prepare
from bgapp.models import Reason, Status
from bgapp.outcome import CUT, Outcome
from bgapp.records import Claim, Owner
from bgapp.runtime import Runtime

INLINE_GENERATION = "inline"
COMPLETED, FAILED = Status.COMPLETED, Status.FAILED


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
        call = _prepared(runtime, claimed)
        if isinstance(call, Outcome):
            return call
        told = signals.Attempt(claimed.job, claimed.attempt, claimed.retries, claimed.job_class, claimed.method)
        with signals.around(current_app._get_current_object(), told):  # type: ignore[attr-defined] # LocalProxy
            value = call()
        return Outcome(COMPLETED, result=_json(value), pid=os.getpid())
    except (Exception, SystemExit) as error:  # the edge of the job's code, which must not end the application
        hidden = masking.secret_values(
            queries.stored(claimed.params), queries.secret_names(claimed.secret_params), runtime.settings.secret_keys
        )
        text = masking.mask_text(f"{type(error).__name__}: {error}", hidden)
        trace = masking.mask_text(traceback.format_exc(), hidden)
        return Outcome(FAILED, Reason.ERROR, text[:CUT], trace[:CUT], pid=os.getpid())
    finally:
        current_job.end()


def _prepared(runtime: Runtime, claimed: Claim) -> Call | Outcome:
    """Return the call, or a refusal. What may be right at the next try is raised, as a child reports it."""
    try:
        return prepare(runtime.allowlist, claimed.job_class, claimed.method, claimed.params)
    except (ClassUnknown, BadParameters):
        raise
    except JobRejected as error:
        return Outcome(FAILED, Reason.NOT_ALLOWED, f"{type(error).__name__}: {error}", may_retry=False)


def _json(value: object) -> str | None:
    try:
        return jsontext.encode(value, "result", limit=256 * 1024, tuples=True)
    except BgappError:
        return None
