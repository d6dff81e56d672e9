"""Reads of the pages that show many jobs: a page by keyset at any depth, and never a column that no list shows.

A job's parameters, result and traceback may have 64 KiB each; a list of 50 would read megabytes to show none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, literal, select

from bgapp.models import Status
from bgapp.statements import JOBS

PAGE = 50
MOST_NEWER = 1000  # new jobs are counted no further
ERROR_CHARACTERS = 300

_COLUMNS = (
    JOBS.c.id,
    JOBS.c.job_class,
    JOBS.c.method,
    JOBS.c.status,
    JOBS.c.reason,
    JOBS.c.priority,
    JOBS.c.queue,
    JOBS.c.retries,
    JOBS.c.attempt,
    JOBS.c.attempt_limit,
    JOBS.c.created_at,
    JOBS.c.run_at,
    JOBS.c.started_at,
    JOBS.c.finished_at,
    JOBS.c.cancel_requested_at,
    JOBS.c.progress,
    func.substr(JOBS.c.error, 1, ERROR_CHARACTERS).label("error"),
)


@dataclass(frozen=True)
class Page:
    """Jobs, newest first, and whether there are newer or older ones."""

    rows: Sequence[Row[Any]]
    has_newer: bool = False
    has_older: bool = False


def page(
    connection: Connection,
    status: Status | None = None,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int = PAGE,
) -> Page:
    """Return the page of jobs older than `before`, or the one of those just newer than `after`, or the newest."""
    chosen = _of(status)
    if after is not None:
        rows = connection.execute(chosen.where(JOBS.c.id > after).order_by(JOBS.c.id).limit(limit + 1)).all()
        return Page(rows[:limit][::-1], has_newer=len(rows) > limit, has_older=True)
    if before is not None:
        chosen = chosen.where(JOBS.c.id < before)
    rows = connection.execute(chosen.order_by(JOBS.c.id.desc()).limit(limit + 1)).all()
    return Page(rows[:limit], has_newer=before is not None, has_older=len(rows) > limit)


def newer(connection: Connection, status: Status | None, than: int) -> int:
    """Return how many jobs are newer than one, counted up to MOST_NEWER."""
    some = select(literal(1)).where(JOBS.c.id > than)
    if status is not None:
        some = some.where(JOBS.c.status == status)
    some_rows = some.limit(MOST_NEWER).subquery()
    return connection.execute(select(func.count()).select_from(some_rows)).scalar_one()


def latest(connection: Connection, limit: int) -> Sequence[Any]:
    """Return what a drawing of the latest jobs must know of each, oldest first."""
    columns = (JOBS.c.id, JOBS.c.status, JOBS.c.started_at, JOBS.c.finished_at)
    return connection.execute(select(*columns).order_by(JOBS.c.id.desc()).limit(limit)).all()[::-1]


def _of(status: Status | None) -> Select[Any]:
    chosen = select(*_COLUMNS)
    return chosen if status is None else chosen.where(JOBS.c.status == status)
