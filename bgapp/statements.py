"""The statements that every job passes, built once: building one costs more than running it, and on SQLite the
write lock is held meanwhile. Only `lifecycle` executes them; `queries` reads by their conditions.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    Update,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from bgapp.models import Attempt, Job, Node, Status

JOBS: Table = Job.__table__  # type: ignore[assignment] # declared as FromClause
ATTEMPTS: Table = Attempt.__table__  # type: ignore[assignment] # as above
PROMOTE_AT_ONCE = 200

LOGGED = (JOBS.c.id, JOBS.c.attempt, JOBS.c.job_class, JOBS.c.method, JOBS.c.params, JOBS.c.secret_params)
CLAIMED = (*LOGGED, JOBS.c.attempt_limit, JOBS.c.token, JOBS.c.retries, JOBS.c.timeout, JOBS.c.queue, JOBS.c.created_at)


def is_status(status: Status) -> ColumnElement[bool]:
    """Return the condition that a job has this status, its word in the text of the statement.

    The indexes on waiting and running jobs are partial. SQLite sees that one fits only if the word is in the text;
    for a bound one it plans the statement anew at each run, which takes longer than running it.
    """
    return JOBS.c.status == literal_column(f"'{status}'")


def is_one_of(statuses: Iterable[Status]) -> ColumnElement[bool]:
    """Return the condition that a job has one of these, as `is_status` does."""
    return JOBS.c.status.in_([literal_column(f"'{status}'") for status in statuses])


SCHEDULED, PENDING, RUNNING = map(is_status, (Status.SCHEDULED, Status.PENDING, Status.RUNNING))


def best_pending(*columns: Column[Any]) -> Select[Any]:
    """Select from pending jobs, the next to be claimed first.

    The index is named: SQLite would take the one on status alone, and read and sort all that wait for each claim.
    """
    chosen = select(*columns).where(PENDING).with_hint(JOBS, "INDEXED BY ix_bgapp_jobs_pending", "sqlite")
    return chosen.order_by(JOBS.c.priority.desc(), JOBS.c.run_at, JOBS.c.id)


def next_scheduled(*columns: Column[Any]) -> Select[Any]:
    """Select from scheduled jobs, the first to fall due first."""
    chosen = select(*columns).where(SCHEDULED).with_hint(JOBS, "INDEXED BY ix_bgapp_jobs_scheduled", "sqlite")
    return chosen.order_by(JOBS.c.run_at, JOBS.c.id)


# People edit rows: a number at its limit must not make the claim of every runner fail.
_NEXT = {
    "attempt": JOBS.c.attempt + 1,
    "attempt_limit": case((JOBS.c.attempt_limit > JOBS.c.attempt, JOBS.c.attempt_limit), else_=JOBS.c.attempt + 1),
}

ANY_DUE = next_scheduled(JOBS.c.id).where(JOBS.c.run_at <= bindparam("now")).limit(1)
PROMOTE = (
    update(JOBS)
    .where(
        JOBS.c.id.in_(
            next_scheduled(JOBS.c.id)
            .where(JOBS.c.run_at <= bindparam("now"))
            .limit(PROMOTE_AT_ONCE)
            .with_for_update(skip_locked=True)
        ),
        SCHEDULED,
    )
    .values(status=Status.PENDING)
    .returning(*LOGGED)
)
_BEST = best_pending(JOBS.c.id).limit(1).with_for_update(skip_locked=True).scalar_subquery()
_BEGINNING = ("token", "node", "runner_pid", "runner_ticks", "lease_until", "started_at")
CLEAN = {"status": Status.RUNNING, **dict.fromkeys(("pid", "reason", "error", "result", "progress"))}
_CURRENT = exists().where(Node.id == bindparam("new_node"), Node.generation == bindparam("generation"))
CLAIM = (
    update(JOBS)
    .where(JOBS.c.id == _BEST, PENDING, _CURRENT)
    .values({name: bindparam(f"new_{name}") for name in _BEGINNING} | CLEAN | _NEXT)
    .returning(*CLAIMED)
)
_ATTEMPT: dict[str, Any] = {
    name: bindparam(name) for name in ("job_id", "number", "status", "node", "runner_pid", "started_at")
}
# By dialect. Nothing is added where a number is taken: see `lifecycle`.
ADD_ATTEMPT = {
    name: dialect.insert(ATTEMPTS).values(_ATTEMPT).on_conflict_do_nothing().returning(ATTEMPTS.c.number)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
}
NEWEST_ATTEMPT = select(func.max(ATTEMPTS.c.number)).where(ATTEMPTS.c.job_id == bindparam("job"))
_FENCE = (
    (JOBS.c.id == bindparam("job"))
    & (JOBS.c.attempt == bindparam("held_attempt"))
    & (JOBS.c.token == bindparam("held_token"))
    & RUNNING
)
HELD = select(JOBS).where(_FENCE).with_for_update()


@cache
def fenced_update(columns: tuple[str, ...]) -> Update:
    """Return the update of these columns of a job that is running and ours."""
    return update(JOBS).where(_FENCE).values({name: bindparam(f"new_{name}") for name in columns})


@cache
def attempt_update(columns: tuple[str, ...]) -> Update:
    """Return the update of these columns of an attempt."""
    mine = (ATTEMPTS.c.job_id == bindparam("job")) & (ATTEMPTS.c.number == bindparam("held_attempt"))
    return update(ATTEMPTS).where(mine).values({name: bindparam(f"new_{name}") for name in columns})
