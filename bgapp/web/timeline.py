"""A job's life as a list of events in words, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bgapp.models import Reason, Status
from bgapp.web.filters import duration, shown

MAKERS = {None: "the application", "command": "a command"}  # what `created_by` says; else the name of a person


@dataclass(frozen=True)
class Event:
    """One line of the timeline. `kind` is a status and chooses the glyph; `anchor` names an attempt on the page."""

    at: datetime
    kind: str
    words: str
    detail: str = ""
    anchor: str = ""
    is_ahead: bool = False


def events(job: Any, tries: Sequence[Any]) -> list[Event]:
    """Return what happened to a job and, while it waits for its time, what comes next."""
    return [*_beginning(job, tries), *_attempts(job, tries), *_ending(job, tries)]


def maker(job: Any) -> str:
    """Return who or what asked for a job."""
    return MAKERS.get(job.created_by) or shown(job.created_by, 80)


def _beginning(job: Any, tries: Sequence[Any]) -> Iterator[Event]:
    yield Event(job.created_at, "asked", f"Asked for by {maker(job)}")
    if job.status == Status.SCHEDULED and not tries:
        yield Event(job.run_at, Status.SCHEDULED.value, "Due", is_ahead=True)


def _attempts(job: Any, tries: Sequence[Any]) -> Iterator[Event]:
    before: datetime | None = None if not tries or tries[0].number > 1 else _due(job, tries)
    for one in tries:
        waited = "" if before is None else f"Waited {duration((one.started_at - before).total_seconds())}"
        if one.finished_at is None:
            words = f"Attempt {one.number} began"
        else:
            took = duration((one.finished_at - one.started_at).total_seconds())
            words = f"Attempt {one.number} {one.status} after {took}"
        kind = one.status if one.reason != Reason.NOT_STARTED else "late"
        yield Event(one.started_at, kind, words, waited, f"attempt-{one.number}")
        before = one.finished_at


def _due(job: Any, tries: Sequence[Any]) -> datetime:
    """Return since when a job waited for its first attempt: a later retry has a `run_at` of its own."""
    due: datetime = job.run_at if job.created_at <= job.run_at <= tries[0].started_at else job.created_at
    return due


def _ending(job: Any, tries: Sequence[Any]) -> Iterator[Event]:
    by = shown(job.cancelled_by, 80) if job.cancelled_by else "someone"
    if job.status == Status.RUNNING and job.cancel_requested_at is not None:
        detail = "The process is asked to end, and killed where it does not"
        yield Event(job.cancel_requested_at, Status.CANCELLED.value, f"Cancel asked for by {by}", detail)
    elif job.status == Status.SCHEDULED and tries:
        yield Event(job.run_at, "retrying", f"Attempt {tries[-1].number + 1} is due", is_ahead=True)
    elif job.status == Status.CANCELLED:
        yield Event(job.finished_at, Status.CANCELLED.value, f"Cancelled by {by}")
    elif job.status == Status.FAILED and not (tries and tries[-1].finished_at == job.finished_at):
        yield Event(job.finished_at, Status.FAILED.value, "Failed", shown(job.error or "", 200))
    elif job.status == Status.PENDING and tries:
        yield Event(job.run_at, Status.PENDING.value, f"Due: attempt {tries[-1].number + 1} waits for a runner")
