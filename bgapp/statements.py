"""The statements that every job passes, built once: building one costs more than running it, and on SQLite the
write lock is held meanwhile. Only `lifecycle` uses them.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import Table, Update, bindparam, case, exists, func, insert, select, update

from bgapp.models import Attempt, Job, Node, Status

JOBS: Table = Job.__table__  # type: ignore[assignment] # declared as FromClause
ATTEMPTS: Table = Attempt.__table__  # type: ignore[assignment] # as above
PROMOTE_AT_ONCE = 200

LOGGED = (JOBS.c.id, JOBS.c.attempt, JOBS.c.job_class, JOBS.c.method, JOBS.c.params, JOBS.c.secret_params)
CLAIMED = (*LOGGED, JOBS.c.token, JOBS.c.retries, JOBS.c.timeout, JOBS.c.queue, JOBS.c.created_at)

# People edit rows: a number that is taken, or at its limit, must not make the claim of every runner fail.
_NEWEST = select(func.coalesce(func.max(ATTEMPTS.c.number), 0)).where(ATTEMPTS.c.job_id == JOBS.c.id).scalar_subquery()
_LAST = case((JOBS.c.attempt < _NEWEST, _NEWEST), else_=JOBS.c.attempt)
_NEXT = {
    "attempt": _LAST + 1,
    "attempt_limit": case((JOBS.c.attempt_limit > _LAST, JOBS.c.attempt_limit), else_=_LAST + 1),
}

PROMOTE = (
    update(JOBS)
    .where(
        JOBS.c.id.in_(
            select(JOBS.c.id)
            .where(JOBS.c.status == Status.SCHEDULED, JOBS.c.run_at <= bindparam("now"))
            .order_by(JOBS.c.run_at, JOBS.c.id)
            .limit(PROMOTE_AT_ONCE)
            .with_for_update(skip_locked=True)
        ),
        JOBS.c.status == Status.SCHEDULED,
    )
    .values(status=Status.PENDING)
    .returning(*LOGGED)
)
_BEST = (
    select(JOBS.c.id)
    .where(JOBS.c.status == Status.PENDING)
    .order_by(JOBS.c.priority.desc(), JOBS.c.run_at, JOBS.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_BEGINNING = ("token", "node", "runner_pid", "runner_ticks", "lease_until", "started_at")
CLEAN = {"status": Status.RUNNING, **dict.fromkeys(("pid", "reason", "error", "result", "progress"))}
_CURRENT = exists().where(Node.id == bindparam("new_node"), Node.generation == bindparam("generation"))
CLAIM = (
    update(JOBS)
    .where(JOBS.c.id == _BEST, JOBS.c.status == Status.PENDING, _CURRENT)
    .values({name: bindparam(f"new_{name}") for name in _BEGINNING} | CLEAN | _NEXT)
    .returning(*CLAIMED)
)
ADD_ATTEMPT = insert(ATTEMPTS).values(
    {name: bindparam(name) for name in ("job_id", "number", "status", "node", "runner_pid", "started_at")}
)
_FENCE = (
    (JOBS.c.id == bindparam("job"))
    & (JOBS.c.attempt == bindparam("held_attempt"))
    & (JOBS.c.token == bindparam("held_token"))
    & (JOBS.c.status == Status.RUNNING)
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
