"""The fence in the statements themselves: every write to a job names what its writer believes of it.

The edges' own tests show that strangers are refused. These read the SQL that each edge sends, on both databases, so
that no write can be added, on one of them or on both, that would reach an attempt which is somebody else's by now.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event

from bgapp import lifecycle
from bgapp.backoff import Backoff
from bgapp.database import Database
from bgapp.models import Status
from bgapp.outcome import Outcome
from bgapp.records import Claim
from bgapp.statements import JOBS
from tests import factories as make
from tests.factories import NOW
from tests.store.jobmodel import OUTCOMES

FENCE = {"bgapp_jobs.id", "bgapp_jobs.attempt", "bgapp_jobs.token", "bgapp_jobs.status"}
PARAMETER = r"(?:\?|%\(\w+\)s(?:::\w+)?|'[a-z]+')"  # a status stands in the text
JOB_WRITE = re.compile(r"(UPDATE|DELETE FROM) bgapp_jobs\b")
ATTEMPT_WRITE = re.compile(r"(UPDATE|DELETE FROM) bgapp_attempts\b")


@contextmanager
def watched(database: Database) -> Iterator[list[str]]:
    """Collect what is sent to the database, each statement on one line, with the BEGIN that SQLite is sent."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(" ".join(statement.split()))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def named(statement: str) -> set[str]:
    """Return the columns that a statement's own WHERE compares with a given value; a query within it does not count."""
    where = statement.partition(" WHERE ")[2].partition(" RETURNING ")[0]
    flat = re.sub(PARAMETER, "?", where)
    while (inner := re.sub(r"\([^()]*\)", "", flat)) != flat:
        flat = inner
    assert " OR " not in flat, statement
    return set(re.findall(r"(\w+\.\w+) = \?", flat))


def writes(sent: list[str], kind: re.Pattern[str]) -> list[str]:
    return [statement for statement in sent if kind.match(statement)]


@pytest.fixture
def claimed(ready: Database) -> Claim:
    make.add(ready, backoff=Backoff(0.0, fixed=True))
    return make.claim(ready)


# A runner's writes -------------------------------------------------------------------------------------------


def test_a_renewal_names_the_attempt_and_its_token(ready: Database, claimed: Claim) -> None:
    with watched(ready) as sent, ready.write() as connection:
        lifecycle.renew(connection, claimed, NOW, 77, None)
    assert [named(one) for one in writes(sent, JOB_WRITE)] == [FENCE]
    assert not writes(sent, ATTEMPT_WRITE)


def test_every_outcomes_writes_name_the_attempt_and_its_token(ready: Database) -> None:
    """The attempt's row is written by job and number alone, and that is enough. A number is given to one claim and
    never again, and in the same transaction the job's row was read by the whole fence before, and locked: on
    PostgreSQL by FOR UPDATE, on SQLite by a transaction that began as a writing one. Until the commit nobody else can
    settle that attempt, nor claim the job; with the fence broken, `Fenced` comes before the first write.
    """
    for kind, cancelled, lost in itertools.product(OUTCOMES, (False, True), (0, 2)):
        sent = sent_by_settling(ready, OUTCOMES[kind], cancelled, lost)
        assert [named(one) for one in writes(sent, JOB_WRITE)] == [FENCE], kind
        (attempt,) = writes(sent, ATTEMPT_WRITE)
        assert named(attempt) == {"bgapp_attempts.job_id", "bgapp_attempts.number"}, kind
        if ready.is_sqlite:
            assert sent.pop(0) == "BEGIN IMMEDIATE"
        fence = sent[0]
        assert fence.startswith("SELECT ")
        assert named(fence.removesuffix(" FOR UPDATE")) == FENCE, kind
        assert fence.endswith(" FOR UPDATE") is not ready.is_sqlite


def sent_by_settling(database: Database, outcome: Outcome, cancelled: bool, lost: int) -> list[str]:
    """Return what is sent to settle an attempt, after so many that were lost, and after a cancel or none."""
    with database.write() as connection:
        connection.execute(delete(JOBS))
    make.add(database, backoff=Backoff(0.0, fixed=True))
    for _ in range(lost):
        make.settle(database, make.promote_and_claim(database, NOW), make.LOST, NOW)
    claimed = make.promote_and_claim(database, NOW)
    if cancelled:
        with database.write() as connection:
            lifecycle.cancel(connection, claimed.job, "ann", NOW)
    with watched(database) as sent:
        make.settle(database, claimed, outcome)
    return sent


def test_a_request_to_cancel_what_runs_names_the_attempt_and_its_token(ready: Database, claimed: Claim) -> None:
    """Else it could be stored with the next attempt, or with a job that has ended."""
    with watched(ready) as sent, ready.write() as connection:
        lifecycle.cancel(connection, claimed.job, "ann", NOW)
    assert [named(one) for one in writes(sent, JOB_WRITE)] == [FENCE]


# Everybody else's --------------------------------------------------------------------------------------------

Edge = Callable[[Connection, int], Any]
OTHERS: dict[str, tuple[Status, set[str], Edge]] = {
    # `promote` and `claim` find their rows by a query within; on PostgreSQL it is only as new as the statement's start
    "promote": (Status.SCHEDULED, {"bgapp_jobs.status"}, lambda connection, _: lifecycle.promote(connection, NOW)),
    "claim": (
        Status.PENDING,
        {"bgapp_jobs.status"},
        lambda connection, _: lifecycle.claim(connection, make.owner(), NOW),
    ),
    "cancel": (
        Status.PENDING,
        {"bgapp_jobs.id", "bgapp_jobs.status"},
        lambda connection, job: lifecycle.cancel(connection, job, "ann", NOW),
    ),
    "retry": (
        Status.FAILED,
        {"bgapp_jobs.id", "bgapp_jobs.status"},
        lambda connection, job: lifecycle.retry(connection, job, NOW),
    ),
    "remove": (Status.FAILED, {"bgapp_jobs.id", "bgapp_jobs.status"}, lifecycle.remove),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_write_to_a_job_that_does_not_run_names_its_status(ready: Database, name: str) -> None:
    """A status that is not `running`: so none of them can touch a running job, whatever came in between."""
    status, columns, edge = OTHERS[name]
    with ready.write() as connection:
        job_id = make.insert_job(connection, status)
    with watched(ready) as sent, ready.write() as connection:
        edge(connection, job_id)
    assert [named(one) for one in writes(sent, JOB_WRITE)] == [columns]
    assert not writes(sent, ATTEMPT_WRITE), "the foreign key takes the attempts with their job"


@pytest.mark.parametrize("edge", ["add", "add_many", "begin_here"])
def test_a_new_job_writes_to_no_other(ready: Database, edge: str) -> None:
    new = make.new_job(unique_key="report" if edge == "add" else None)
    with watched(ready) as sent, ready.write() as connection:
        if edge == "add":
            lifecycle.add(connection, new)
            lifecycle.add(connection, new)
        elif edge == "add_many":
            lifecycle.add_many(connection, [new, new])
        else:
            lifecycle.begin_here(connection, new, make.owner())
    assert not writes(sent, JOB_WRITE)
    assert not writes(sent, ATTEMPT_WRITE)
    assert not [one for one in sent if "DO UPDATE" in one]


def test_no_edge_is_left_out_here() -> None:
    seen = {*OTHERS, "renew", "settle", "add", "add_many", "begin_here"}
    edges = {
        name
        for name, value in vars(lifecycle).items()
        if inspect.isfunction(value) and value.__module__ == lifecycle.__name__ and not name.startswith("_")
    }
    assert edges - {"holder"} == seen
