"""Jobs: the list, one job, and what may be done with it: cancel, run again, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import abort, request
from sqlalchemy import Row
from werkzeug.wrappers import Response as Answer

from bgapp import masking, operate, queries
from bgapp.errors import UnknownJob, WrongState
from bgapp.models import FINAL, UNFINISHED, Status
from bgapp.runtime import Runtime, current
from bgapp.web import access, drawings, listing, logs, pages, run, timeline
from bgapp.web.filters import say

LARGEST_ID = 2**63 - 1  # what the databases can hold
SHOWN_ATTEMPTS = 20  # the newest are shown whole, the others in a table


def index() -> Any:
    """Show jobs, newest first; with a status, those in it."""
    runtime = current()
    status = _status()
    before, after, upto = _cursor("before"), _cursor("after"), _cursor("upto")
    with runtime.database.read() as connection:
        if upto is not None:  # the reader's place is kept: newer jobs are told of, and not put in
            before, after = upto + 1, None
        found = listing.page(connection, status, before=before, after=after)
        fresh = listing.newer(connection, status, upto) if upto is not None else 0
        counts = queries.counts(connection)
    # Right at the top there is nothing newer: then it is the first page, with its own address.
    is_first = upto is not None or (before is None and (after is None or not found.has_newer))
    values = {
        "status": status,
        "found": found,
        "progress": {row.id: queries.stored(row.progress) or {} for row in found.rows if row.status == Status.RUNNING},
        "counts": counts,
        "total": sum(counts.values()),
        "cap": queries.COUNT_CAP,
        "is_first": is_first,
        "fresh": fresh,
        "most_fresh": listing.MOST_NEWER,
    }
    if pages.is_live():
        return pages.fragment("jobs/_live.html", **values)
    return pages.render("jobs/list.html", **values)


def detail(job_id: int) -> Any:
    """Show one job, or its live region alone."""
    return _detail(job_id)


def _detail(job_id: int, problem: str = "", status: int = 200) -> Any:
    runtime = current()
    row, tries = load(runtime, job_id)
    live = pages.is_live() and not problem
    words = runtime.settings.secret_keys
    params = queries.shown_params(row, words)
    values = {
        "job": row,
        "tries": tries[::-1],
        "shown": SHOWN_ATTEMPTS,
        "params": params,
        "mask": masking.MASK,
        "result": queries.stored(row.result),
        "progress": queries.stored(row.progress) or {},
        "is_final": row.status in FINAL,
        "events": timeline.events(row, tries[-SHOWN_ATTEMPTS:]),
        "maker": timeline.maker(row),
        "bars": drawings.track(row, tries[-SHOWN_ATTEMPTS:]),
        "drawing": drawings,
        "unique_key": None if (row.unique_key or "").startswith(run.SENT_ONCE) else row.unique_key,
        "can_cancel": row.status in UNFINISHED and row.cancel_requested_at is None,
        "problem": problem,
    }
    if live:
        return pages.fragment("jobs/_job.html", **values, pane=None)
    pane = logs.newest(runtime, row, tries)
    return pages.render("jobs/detail.html", status, **values, pane=pane)


def confirm_cancel(job_id: int) -> Any:
    """Ask whether the job shall be cancelled."""
    row, tries = load(current(), job_id)
    if row.status not in UNFINISHED:
        return _detail(job_id, f"Job {job_id} is {row.status} by now: there is nothing to cancel.", 409)
    return pages.render("jobs/cancel.html", job=row, tries=tries, grace=current().settings.kill_grace)


def cancel(job_id: int) -> Any:
    """Cancel the job."""

    def words(row: Row[Any]) -> str:
        if row.status == Status.RUNNING:
            return f"Job {job_id} is asked to stop."
        return f"Job {job_id} is {row.status}."

    who = access.viewer()
    return _act(job_id, lambda runtime: operate.cancel(runtime, job_id, who.name if who else None), words)


def retry(job_id: int) -> Any:
    """Run the ended job again."""
    return _act(
        job_id,
        lambda runtime: operate.retry(runtime, job_id),
        lambda row: f"Job {job_id} is on its way again, with {row.retries} retries.",
    )


def confirm_delete(job_id: int) -> Any:
    """Ask whether the job shall be deleted."""
    row, tries = load(current(), job_id)
    if row.status == Status.RUNNING:
        return _detail(job_id, f"Job {job_id} is running: cancel it before you delete it.", 409)
    return pages.render("jobs/delete.html", job=row, tries=tries)


def delete(job_id: int) -> Any:
    """Delete the job, its attempts and their logs."""
    try:
        operate.delete(current(), job_id)
    except WrongState as error:
        return _detail(job_id, _sentence(error), 409)
    say(f"Job {job_id} is deleted.")
    return pages.to("jobs_index")


def _act(job_id: int, action: Callable[[Runtime], None], words: Callable[[Row[Any]], str]) -> Answer | Any:
    """Do something with a job and show it; where its status forbids that by now, show how it stands."""
    runtime = current()
    try:
        action(runtime)
    except WrongState as error:
        return _detail(job_id, _sentence(error), 409)
    row, _ = load(runtime, job_id)
    say(words(row))
    return pages.to("jobs_detail", job_id=job_id)


def load(runtime: Runtime, job_id: int) -> tuple[Row[Any], list[Row[Any]]]:
    """Return a job and its attempts, oldest first. Raises UnknownJob."""
    if job_id > LARGEST_ID:
        raise UnknownJob(job_id)
    with runtime.database.read() as connection:
        row = queries.job(connection, job_id)
        if row is None:
            raise UnknownJob(job_id)
        return row, list(queries.attempts(connection, job_id))


def _status() -> Status | None:
    given = request.args.get("status", "")
    if not given:
        return None
    try:
        return Status(given)
    except ValueError:
        abort(422, f"The status is one of {', '.join(Status)}.")


def _cursor(name: str) -> int | None:
    """Return the number of the job at which a page ends. Aborts with 422 for what is no such number."""
    given = request.args.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) < LARGEST_ID):
        abort(422, f"{name} must be the number of a job.")
    return int(given)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
