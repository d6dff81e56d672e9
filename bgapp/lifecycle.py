"""Every transition of a job, one function an edge; nothing else in bgapp writes a job's status.

Each function takes the connection of a transaction that the caller commits, and returns `Change`s: what the log
files are told once that commit has succeeded, never before. A runner's write names attempt and token; a row that
no longer has them belongs to somebody else, and `Fenced` tells the runner to stop.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from bgapp.errors import Fenced, UnknownJob, WrongState
from bgapp.models import FINAL, UNFINISHED, WAITING, Reason, Status
from bgapp.outcome import Outcome
from bgapp.records import LEASE, Change, Claim, Fence, NewJob, Owner
from bgapp.retry import wait
from bgapp.settings import Backoff
from bgapp.statements import (
    ADD_ATTEMPT,
    ANY_DUE,
    ATTEMPTS,
    CLAIM,
    CLAIMED,
    CLEAN,
    HELD,
    JOBS,
    NEWEST_ATTEMPT,
    PROMOTE,
    attempt_update,
    fenced_update,
    is_one_of,
)

POISON = 3  # attempts lost in a row
MOST_NOT_STARTED = 10  # attempts whose process was there and ended before the method: the job's import may do it
NOT_STARTED_WAIT = 30.0  # seconds at most before a job whose process could not be made is tried again


def _change(title: str, row: Any, *, error: str | None = None, is_error: bool = False) -> Change:
    attempt = row.attempt or None
    return Change(title, row.id, row.job_class, row.method, row.params, row.secret_params, attempt, error, is_error)


# Into the table ----------------------------------------------------------------------------------------------


def add(connection: Connection, new: NewJob) -> tuple[int, list[Change]]:
    """New -> pending or scheduled. Returns the id, and no change where `unique_key` found an unfinished job."""
    row = new.row()
    if new.unique_key is None:
        job_id = connection.execute(insert(JOBS).values(row).returning(JOBS.c.id)).scalar_one()
        return job_id, [_born(job_id, new, row["status"])]
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    while True:
        adding = dialect.insert(JOBS).values(row)
        adding = adding.on_conflict_do_nothing(index_elements=["unique_key"], index_where=_HOLDS_KEY)
        added = connection.execute(adding.returning(JOBS.c.id)).scalar()
        if added is not None:
            return added, [_born(added, new, row["status"])]
        found = holder(connection, new.unique_key)
        if found is not None:  # else it ended between the two statements: try to add again
            return found, []


# The unique index's own WHERE. It must be repeated as it was declared, so the words stand in the text, not bound.
_HOLDS_KEY = JOBS.c.unique_key.is_not(None) & is_one_of(UNFINISHED)


def holder(connection: Connection, unique_key: str) -> int | None:
    """Return the unfinished job that has this unique key."""
    return connection.execute(select(JOBS.c.id).where(JOBS.c.unique_key == unique_key, _HOLDS_KEY)).scalar()


def add_many(connection: Connection, news: Sequence[NewJob]) -> tuple[list[int], list[Change]]:
    """New -> pending or scheduled, for many at once; none of them with a unique key. Ids in the given order."""
    rows = [new.row() for new in news]
    adding = insert(JOBS).returning(JOBS.c.id, sort_by_parameter_order=True)
    ids = list(connection.execute(adding, rows).scalars())
    born = [_born(job_id, new, row["status"]) for job_id, new, row in zip(ids, news, rows, strict=True)]
    return ids, born


def _born(job_id: int, new: NewJob, status: Status) -> Change:
    title = "Job pending" if status is Status.PENDING else "Job scheduled"
    return Change(title, job_id, new.job_class, new.method, new.params, new.secret_params)


# Toward running ----------------------------------------------------------------------------------------------


def promote(connection: Connection, now: datetime) -> list[Change]:
    """scheduled -> pending, for those whose time has come (a bounded number of them)."""
    if connection.execute(ANY_DUE, {"now": now}).first() is None:  # nearly always, and far cheaper than the update
        return []
    return [_change("Job pending", row) for row in connection.execute(PROMOTE, {"now": now})]


def _write_fenced(connection: Connection, job: int, attempt: int, token: str, values: dict[str, Any]) -> int:
    """Write to a running job as its holder; return how many rows still were the holder's."""
    fence = {"job": job, "held_attempt": attempt, "held_token": token}
    return connection.execute(fenced_update(tuple(values)), fence | _new(values)).rowcount


def _new(values: dict[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in values.items()}


def claim(connection: Connection, owner: Owner, now: datetime) -> tuple[Claim | None, list[Change]]:
    """pending -> running: the best due job, if this runner's code is still the node's. The pick is the claim."""
    given = _new(_begin(owner, now)) | {"generation": owner.generation}
    row = connection.execute(CLAIM, given).one_or_none()
    return (None, []) if row is None else _begun(connection, row, owner, now)


def begin_here(connection: Connection, new: NewJob, owner: Owner) -> tuple[Claim, list[Change]]:
    """New -> running, for `python -m bgapp.runner CLASS METHOD` alone, which runs the job itself."""
    values = {**new.row(), **_begin(owner, new.created_at), **CLEAN, "attempt": 1}
    row = connection.execute(insert(JOBS).values(values).returning(*CLAIMED)).one()
    return _begun(connection, row, owner, new.created_at)


def _begin(owner: Owner, now: datetime) -> dict[str, Any]:
    return {
        "token": secrets.token_hex(16),
        "node": owner.node,
        "runner_pid": owner.process.pid,
        "runner_ticks": owner.process.ticks,
        "lease_until": now + owner.lease,
        "started_at": now,
    }


def _begun(connection: Connection, row: Row[Any], owner: Owner, now: datetime) -> tuple[Claim, list[Change]]:
    if not _add_attempt(connection, row, owner, now):
        row = _beyond_the_newest(connection, row)
        _add_attempt(connection, row, owner, now)
    taken = Claim(
        row.id, row.attempt, row.token, row.job_class, row.method, row.params, row.secret_params,
        row.retries, row.timeout, row.queue, row.created_at,
    )  # fmt: skip
    return taken, [_change("Job running", row)]


def _add_attempt(connection: Connection, row: Row[Any], owner: Owner, now: datetime) -> bool:
    values = {
        "job_id": row.id,
        "number": row.attempt,
        "status": Status.RUNNING,
        "node": owner.node,
        "runner_pid": owner.process.pid,
        "started_at": now,
    }
    return connection.execute(ADD_ATTEMPT[connection.dialect.name], values).first() is not None


def _beyond_the_newest(connection: Connection, row: Row[Any]) -> Row[Any]:
    """Give a claimed job a number that no attempt has: somebody edited its row, and that must not stop every claim."""
    number = connection.execute(NEWEST_ATTEMPT, {"job": row.id}).scalar_one() + 1
    values = {"attempt": number, "attempt_limit": max(number, row.attempt_limit)}
    _write_fenced(connection, row.id, row.attempt, row.token, values)
    fence = {"job": row.id, "held_attempt": number, "held_token": row.token}
    return connection.execute(HELD, fence).one()


def renew(
    connection: Connection,
    claimed: Fence,
    now: datetime,
    pid: int | None,
    progress: str | None,
    lease: timedelta = LEASE,
) -> None:
    """Stay running: extend the lease, tell pid and progress. Raises Fenced."""
    values = {"lease_until": now + lease, "pid": pid, "progress": progress}
    if _write_fenced(connection, claimed.job, claimed.attempt, claimed.token, values) != 1:
        raise Fenced(f"job {claimed.job} is no longer this runner's")


# Out of running ----------------------------------------------------------------------------------------------


def settle(connection: Connection, claimed: Fence, outcome: Outcome, now: datetime) -> list[Change]:
    """running -> completed, failed, cancelled, scheduled (retry) or pending, as the outcome demands. Raises Fenced.

    A cancel that was stored before anything but a result came wins over every other ending.
    """
    fence = {"job": claimed.job, "held_attempt": claimed.attempt, "held_token": claimed.token}
    row = connection.execute(HELD, fence).one_or_none()
    if row is None:
        raise Fenced(f"job {claimed.job} is no longer this runner's")
    if outcome.status is Status.FAILED and row.cancel_requested_at is not None:
        outcome = Outcome(Status.CANCELLED, Reason.CANCELLED, outcome.error, pid=outcome.pid, ended=outcome.ended)
    _close_attempt(connection, claimed, outcome, now)
    if outcome.status is Status.COMPLETED:
        return _complete(connection, row, outcome, now)
    if outcome.status is Status.CANCELLED:
        return _end(connection, row, outcome, now, "Job cancelled", is_error=False)
    if outcome.not_started:
        return _put_back(connection, row, outcome, now)
    return _failed(connection, row, outcome, now)


def _close_attempt(connection: Connection, claimed: Fence, outcome: Outcome, now: datetime) -> None:
    ended = outcome.ended
    values = {
        "status": outcome.status,
        "reason": outcome.reason,
        "error": outcome.error,
        "traceback": outcome.traceback,
        "finished_at": now,
        "pid": outcome.pid,
        "exit_code": ended and ended.exit_code,
        "signal": ended and ended.signal,
        "cpu_seconds": ended and ended.cpu_seconds,
        "peak_memory_bytes": ended and ended.peak_memory_bytes,
    }
    mine = {"job": claimed.job, "held_attempt": claimed.attempt}
    connection.execute(attempt_update(tuple(values)), mine | _new(values))


def _release(connection: Connection, row: Row[Any], **values: Any) -> None:
    """Write an edge out of running: whatever it is, fence, lease and request to cancel end with it."""
    values |= {"token": None, "lease_until": None, "cancel_requested_at": None}
    _write_fenced(connection, row.id, row.attempt, row.token, values)


def _complete(connection: Connection, row: Row[Any], outcome: Outcome, now: datetime) -> list[Change]:
    _release(
        connection,
        row,
        status=Status.COMPLETED,
        result=outcome.result,
        finished_at=now,
        pid=outcome.pid,
        lost_in_row=0,
        cancelled_by=None,  # a cancel that was asked came too late
    )
    return [_change("Job completed successfully", row)]


def _end(
    connection: Connection, row: Row[Any], outcome: Outcome, now: datetime, title: str, *, is_error: bool, lost: int = 0
) -> list[Change]:
    _release(
        connection,
        row,
        status=outcome.status,
        reason=outcome.reason,
        error=outcome.error,
        finished_at=now,
        pid=outcome.pid,
        lost_in_row=lost,
    )
    return [_change(title, row, error=outcome.error, is_error=is_error)]


_POISONED = (
    select(func.coalesce(func.max(ATTEMPTS.c.number), 0))
    .where(ATTEMPTS.c.job_id == bindparam("job"), ATTEMPTS.c.reason == Reason.POISON)
    .scalar_subquery()
)


def _put_back(connection: Connection, row: Row[Any], outcome: Outcome, now: datetime) -> list[Change]:
    """The method was never entered: no retry is used. At once after a lost runner; after a growing wait where
    processes cannot be made, since the machine needs a breath."""
    tried = (ATTEMPTS.c.job_id == row.id) & (ATTEMPTS.c.reason == Reason.NOT_STARTED)
    counted = select(func.count(), func.count(ATTEMPTS.c.pid)).where(tried, ATTEMPTS.c.number > _POISONED)
    times, with_process = connection.execute(counted, {"job": row.id}).one()
    if outcome.may_retry and with_process >= MOST_NOT_STARTED:
        # The attempt is marked, so that the count begins anew when a person runs the job again.
        mine = {"job": row.id, "held_attempt": row.attempt}
        connection.execute(attempt_update(("reason",)), mine | _new({"reason": Reason.POISON}))
        error = f"{outcome.error} ({with_process} attempts never reached it: not tried again)"
        poison = Outcome(Status.FAILED, Reason.POISON, error, pid=outcome.pid)
        return _end(connection, row, poison, now, "Job failed", is_error=True)
    longer = 2.0 ** min(times - 1, 5)  # more would be cut anyhow, and a thousand no longer fit a float
    pause = 0.0 if outcome.may_retry and times <= 1 else min(NOT_STARTED_WAIT, longer)
    _release(
        connection,
        row,
        status=Status.SCHEDULED if pause else Status.PENDING,
        run_at=now + timedelta(seconds=pause),
        attempt_limit=row.attempt_limit + 1,
        reason=outcome.reason,
        error=outcome.error,
    )
    return [_change("Job pending" if not pause else "Job scheduled", row, error=outcome.error, is_error=True)]


def _failed(connection: Connection, row: Row[Any], outcome: Outcome, now: datetime) -> list[Change]:
    lost = row.lost_in_row + 1 if outcome.reason is Reason.LOST else 0
    told = [_change("Job lost", row, error=outcome.error, is_error=True)] if lost else []
    if lost >= POISON:
        error = f"{outcome.error} ({lost} attempts in a row were lost: not tried again)"
        poison = Outcome(Status.FAILED, Reason.POISON, error, pid=outcome.pid)
        return told + _end(connection, row, poison, now, "Job failed", is_error=True, lost=lost)
    left = row.attempt_limit - row.attempt
    if left <= 0 or not outcome.may_retry:
        return told + _end(connection, row, outcome, now, "Job failed", is_error=True, lost=lost)
    failures = max(1, row.retries - left + 1)
    pause = wait(Backoff(row.backoff, row.backoff_fixed), failures, random.random)
    _release(
        connection,
        row,
        status=Status.SCHEDULED,
        run_at=now + timedelta(seconds=pause),
        reason=outcome.reason,
        error=outcome.error,
        lost_in_row=lost,
    )
    return [*told, _change("Job retry scheduled", row, error=outcome.error, is_error=not lost)]


# What people ask for -----------------------------------------------------------------------------------------


def cancel(connection: Connection, job: int, by: str | None, now: datetime) -> list[Change]:
    """scheduled, pending -> cancelled; a running job gets the request, and its runner ends it.

    Asking again changes nothing. Raises UnknownJob, and WrongState where the job has ended.
    """
    row = _locked(connection, job)
    if row.status == Status.RUNNING:
        if row.cancel_requested_at is None:
            asked = {"cancel_requested_at": now, "cancelled_by": by}
            _write_fenced(connection, row.id, row.attempt, row.token, asked)
        return []
    if row.status not in WAITING:
        raise WrongState(job, row.status, "cancelled")
    values = {"status": Status.CANCELLED, "reason": Reason.CANCELLED, "finished_at": now, "cancelled_by": by}
    connection.execute(update(JOBS).where(JOBS.c.id == job, JOBS.c.status == row.status).values(values))
    return [_change("Job cancelled", row)]


def retry(connection: Connection, job: int, now: datetime) -> list[Change]:
    """completed, failed, cancelled -> pending: a person runs it again, with a fresh set of retries.

    Raises UnknownJob, WrongState (also where another unfinished job has the same unique key).
    """
    row = _locked(connection, job)
    if row.status not in FINAL:
        raise WrongState(job, row.status, "run again")
    if row.unique_key is not None:
        other = holder(connection, row.unique_key)
        if other is not None:
            raise _same_key(row, f"job {other}")
    values = {
        "status": Status.PENDING,
        "run_at": now,
        "finished_at": None,
        "reason": None,
        "error": None,
        "result": None,
        "progress": None,
        "lost_in_row": 0,
        "cancelled_by": None,
        "attempt_limit": row.attempt + 1 + row.retries,
    }
    try:
        with connection.begin_nested():
            connection.execute(update(JOBS).where(JOBS.c.id == job, JOBS.c.status == row.status).values(values))
    except IntegrityError as error:  # another took the key since we looked
        raise _same_key(row, "another job") from error
    return [_change("Job pending", row)]


def _same_key(row: Row[Any], other: str) -> WrongState:
    return WrongState(row.id, f"{row.status} and {other} has the same unique key", "run again")


def remove(connection: Connection, job: int) -> list[Change]:
    """Any status but running -> gone, with its attempts. Raises UnknownJob, WrongState."""
    row = _locked(connection, job)
    if row.status == Status.RUNNING:
        raise WrongState(job, row.status, "deleted; cancel it first")
    connection.execute(delete(JOBS).where(JOBS.c.id == job, JOBS.c.status == row.status))
    return [_change("Job deleted", row)]


def _locked(connection: Connection, job: int) -> Row[Any]:
    row = connection.execute(select(JOBS).where(JOBS.c.id == job).with_for_update()).one_or_none()
    if row is None:
        raise UnknownJob(job)
    return row
