"""Every read but those inside a transition; nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, literal, select

from bgapp import clock, masking
from bgapp.models import FINAL, UNFINISHED, WAITING, Node, Status
from bgapp.records import Fence
from bgapp.statements import (
    ATTEMPTS,
    JOBS,
    PENDING,
    RUNNING,
    SCHEDULED,
    best_pending,
    is_one_of,
    is_status,
    next_scheduled,
)

COUNT_CAP = 10_000  # more than this is "10000+": an exact count would read the whole table
PAGE = 50

_LISTED = [column for column in JOBS.c if column.name not in ("token", "runner_ticks")]


def job(connection: Connection, job_id: int) -> Row[Any] | None:
    """Return one job's row, None where there is none."""
    return connection.execute(select(*_LISTED).where(JOBS.c.id == job_id)).one_or_none()


def attempts(connection: Connection, job_id: int) -> Sequence[Row[Any]]:
    """Return a job's attempts, oldest first."""
    return connection.execute(select(ATTEMPTS).where(ATTEMPTS.c.job_id == job_id).order_by(ATTEMPTS.c.number)).all()


def jobs(
    connection: Connection, status: str | None = None, before: int | None = None, limit: int = PAGE
) -> Sequence[Row[Any]]:
    """Return jobs, newest first; `before` is the id at which the last page ended."""
    return connection.execute(_filtered(status, before).order_by(JOBS.c.id.desc()).limit(limit)).all()


def _filtered(status: str | None, before: int | None) -> Select[Any]:
    chosen = select(*_LISTED)
    if status is not None:
        chosen = chosen.where(JOBS.c.status == status)
    if before is not None:
        chosen = chosen.where(JOBS.c.id < before)
    return chosen


def counts(connection: Connection, cap: int = COUNT_CAP) -> dict[str, int]:
    """Return how many jobs are in each status, each counted up to `cap` and no further."""
    counted = []
    for status in Status:
        some = select(literal(1)).where(is_status(status)).limit(cap).subquery()
        counted.append(select(func.count()).select_from(some).scalar_subquery().label(status.value))
    return dict(connection.execute(select(*counted)).one()._mapping)


def due(connection: Connection, cap: int) -> int:
    """Return how many jobs wait for a runner now, counted up to `cap`."""
    some = select(literal(1)).where(PENDING).limit(cap).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def first_due(connection: Connection) -> datetime | None:
    """Return since when the job waits that will be claimed next."""
    return connection.execute(best_pending(JOBS.c.run_at).limit(1)).scalar()


def waiting(connection: Connection, cap: int) -> int:
    """Return how many jobs are pending or scheduled, counted up to `cap`."""
    some = select(literal(1)).where(is_one_of(WAITING)).limit(cap).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def next_due(connection: Connection) -> datetime | None:
    """Return when the next scheduled job falls due."""
    return connection.execute(next_scheduled(JOBS.c.run_at).limit(1)).scalar()


def has_retry_soon(connection: Connection, node: str, now: datetime, within: timedelta) -> bool:
    """Return whether a retry of a job that this node ran falls due within that time."""
    soon = select(literal(1)).where(SCHEDULED, JOBS.c.run_at <= now + within, JOBS.c.node == node, JOBS.c.attempt > 0)
    return connection.execute(soon.limit(1)).scalar() is not None


def running(connection: Connection, node: str | None = None) -> Sequence[Row[Any]]:
    """Return what a rescue must know of running jobs: of one node, or of all."""
    chosen = select(JOBS).where(RUNNING)
    if node is not None:
        chosen = chosen.where(JOBS.c.node == node)
    return connection.execute(chosen.order_by(JOBS.c.id)).all()


def cancel_requested(connection: Connection, job_id: int, token: str) -> bool | None:
    """Return whether a cancel was asked of a running attempt; None where the attempt is not this one any more."""
    row = connection.execute(
        select(JOBS.c.cancel_requested_at).where(JOBS.c.id == job_id, JOBS.c.token == token)
    ).one_or_none()
    return None if row is None else row.cancel_requested_at is not None


def is_held(connection: Connection, fence: Fence) -> bool:
    """Return whether a running attempt is still its holder's."""
    return cancel_requested(connection, fence.job, fence.token) is not None


def ended_at(connection: Connection, fence: Fence) -> datetime | None:
    """Return when an attempt was settled, None while it runs."""
    mine = (ATTEMPTS.c.job_id == fence.job) & (ATTEMPTS.c.number == fence.attempt)
    return connection.execute(select(ATTEMPTS.c.finished_at).where(mine)).scalar()


def generation(connection: Connection, node: str) -> str | None:
    """Return the generation of the code that a node's runners must hold."""
    return connection.execute(select(Node.generation).where(Node.id == node)).scalar()


def node_seen_at(connection: Connection, node: str) -> datetime | None:
    """Return when a node's leader last said that it lives."""
    return connection.execute(select(Node.seen_at).where(Node.id == node)).scalar()


def nodes(connection: Connection) -> Sequence[Row[Any]]:
    """Return every node."""
    return connection.execute(select(Node.__table__).order_by(Node.started_at)).all()


# The JSON of a job ---------------------------------------------------------------------------------------------


def as_json(row: Row[Any], tries: Sequence[Row[Any]], secret_words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a job as the contract's JSON: plain values, times in ISO 8601 UTC, secret parameters masked."""
    return {
        "id": row.id,
        "class": row.job_class,
        "method": row.method,
        "params": shown_params(row, secret_words),
        "status": row.status,
        "reason": row.reason,
        "priority": row.priority,
        "queue": row.queue,
        "retries": row.retries,
        "attempt": row.attempt,
        "created_at": clock.iso(row.created_at),
        "run_at": clock.iso(row.run_at),
        "started_at": clock.iso(row.started_at),
        "finished_at": clock.iso(row.finished_at),
        "error": row.error,
        "result": stored(row.result),
        "progress": stored(row.progress),
        "node": row.node,
        "pid": row.pid,
        "runner_pid": row.runner_pid,
        "attempts": [_attempt_json(one) for one in tries],
    }


def shown_params(row: Any, secret_words: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Return a job's parameters with every secret one masked."""
    values = stored(row.params)
    if not isinstance(values, dict):  # the row was edited by hand
        return {}
    return masking.mask_params(values, secret_names(row.secret_params), secret_words)


def secret_names(text: str | None) -> tuple[str, ...]:
    """Return the names in a stored list of parameters to mask; none where a hand-edited row holds no such list."""
    names = stored(text)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def stored(text: str | None) -> Any:
    """Return the value of a stored JSON text; None where a hand-edited row holds none."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _attempt_json(row: Row[Any]) -> dict[str, Any]:
    return {
        "number": row.number,
        "status": row.status,
        "reason": row.reason,
        "started_at": clock.iso(row.started_at),
        "finished_at": clock.iso(row.finished_at),
        "pid": row.pid,
        "exit_code": row.exit_code,
        "signal": row.signal,
        "cpu_seconds": row.cpu_seconds,
        "peak_memory_bytes": row.peak_memory_bytes,
        "error": row.error,
        "traceback": row.traceback,
    }


def is_final(status: str) -> bool:
    """Return whether a job in this status has ended."""
    return status in FINAL


def is_unfinished(status: str) -> bool:
    """Return whether a job in this status waits or runs."""
    return status in UNFINISHED
