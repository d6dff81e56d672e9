"""Rows and records for tests: each call gives a valid one, and a test names only what it is about."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from bgapp import controls, lifecycle, system
from bgapp.backoff import Backoff
from bgapp.database import Database
from bgapp.models import FINAL, Node, Reason, Status
from bgapp.outcome import Outcome
from bgapp.records import LEASE, Change, Claim, NewJob, Owner
from bgapp.statements import ATTEMPTS, JOBS
from bgapp.system import ProcessIdentity

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NODE = "node-1"
GENERATION = "g1"
TOKEN = "a" * 32

COMPLETED = Outcome(Status.COMPLETED, result='{"n": 1}', pid=77)
FAILED = Outcome(Status.FAILED, Reason.ERROR, "ValueError: no", "Traceback ...", pid=77)
LOST = Outcome(Status.FAILED, Reason.LOST, "its runner was lost", pid=77)
NOT_STARTED = Outcome(Status.FAILED, Reason.NOT_STARTED, "never entered")
REFUSED = Outcome(Status.FAILED, Reason.NOT_ALLOWED, "not allowed", may_retry=False)
STOPPED = Outcome(Status.CANCELLED, Reason.CANCELLED, "cancelled; it was ended", pid=77)


def new_job(**changes: Any) -> NewJob:
    """Return a job to add: due at NOW, three retries, a fixed backoff of ten seconds."""
    values: dict[str, Any] = {
        "job_class": "tests.jobcode.Work",
        "method": "add",
        "params": '{"first": 1, "second": 2}',
        "secret_params": "[]",
        "retries": 3,
        "backoff": Backoff(10.0, fixed=True),
        "timeout": None,
        "queue": "default",
        "priority": 0,
        "run_at": NOW,
        "created_at": NOW,
    }
    return NewJob(**values | changes)


def owner(node: str = NODE, generation: str = GENERATION, pid: int = 500) -> Owner:
    """Return a runner that claims."""
    return Owner(node, ProcessIdentity(pid, 9_000), generation)


def add_node(connection: Connection, node: str = NODE, generation: str = GENERATION) -> None:
    """Insert a node's row, without which nobody there can claim."""
    connection.execute(
        insert(Node).values(
            id=node,
            hostname="here",
            boot_id="boot",
            pid_namespace="1",
            generation=generation,
            started_at=NOW,
            seen_at=NOW,
        )
    )


def insert_job(connection: Connection, status: Status = Status.PENDING, **columns: Any) -> int:
    """Insert a row in any status, by hand; return its id."""
    values: dict[str, Any] = {
        **new_job().row(),
        "status": status,
        "finished_at": NOW if status in FINAL else None,
        "attempt": 0,
    }
    if status is Status.RUNNING:
        values |= {
            "attempt": 1,
            "token": TOKEN,
            "lease_until": NOW + LEASE,
            "node": NODE,
            "runner_pid": 500,
            "runner_ticks": 9_000,
            "started_at": NOW,
        }
    values |= columns
    job_id: int = connection.execute(insert(JOBS).values(values).returning(JOBS.c.id)).scalar_one()
    return job_id


def add(database: Database, **changes: Any) -> int:
    """Add one job by the edge that everyone uses; return its id."""
    with database.write() as connection:
        return lifecycle.add(connection, new_job(**changes))[0]


def claim(database: Database, by: Owner | None = None, now: datetime = NOW) -> Claim:
    """Claim the best due job, which there must be."""
    with database.write() as connection:
        claimed, _ = lifecycle.claim(connection, by or owner(), now)
    assert claimed is not None
    return claimed


def settle(database: Database, claimed: Claim, outcome: Outcome, now: datetime = NOW + SECOND) -> list[Change]:
    """Settle a claimed attempt and commit."""
    with database.write() as connection:
        return lifecycle.settle(connection, claimed, outcome, now)


def promote_and_claim(database: Database, now: datetime) -> Claim:
    """Promote what is due at `now` and claim the best of it."""
    with database.write() as connection:
        lifecycle.promote(connection, now)
    return claim(database, now=now)


def row(database: Database, job_id: int) -> Row[Any]:
    """Return a job's whole row."""
    with database.read() as connection:
        return connection.execute(select(JOBS).where(JOBS.c.id == job_id)).one()


def rows(database: Database) -> list[dict[str, Any]]:
    """Return everything that the jobs' table holds, in the order of the ids."""
    with database.read() as connection:
        return [dict(one._mapping) for one in connection.execute(select(JOBS).order_by(JOBS.c.id))]


def attempts(database: Database, job_id: int) -> list[Row[Any]]:
    """Return a job's attempts, oldest first."""
    chosen = select(ATTEMPTS).where(ATTEMPTS.c.job_id == job_id).order_by(ATTEMPTS.c.number)
    with database.read() as connection:
        return list(connection.execute(chosen))


def this_process() -> ProcessIdentity:
    """Return this very process, as a runner would name itself."""
    found = system.identify(os.getpid())
    assert found is not None
    return found


def say_alive(database: Database, node: Any, generation: str = GENERATION) -> None:
    """Write the row of a real node."""
    with database.write() as connection:
        controls.say_alive(connection, node, generation, database.clock(connection))
