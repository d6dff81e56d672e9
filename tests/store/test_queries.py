"""Reading: pages, counts, the JSON of a job; and that nothing reads a table from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from bgapp import lifecycle, queries
from bgapp.database import Database
from bgapp.models import FINAL, UNFINISHED, WAITING, Status
from bgapp.statements import ATTEMPTS, JOBS
from tests import factories as make
from tests.factories import FAILED, NOW, SECOND, owner

JOB_KEYS = (
    "id class method params status reason priority queue retries attempt created_at run_at started_at finished_at "
    "error result progress node pid runner_pid attempts"
).split()
ATTEMPT_KEYS = (
    "number status reason started_at finished_at pid exit_code signal cpu_seconds peak_memory_bytes error traceback"
).split()


def add_many(database: Database, count: int, status: Status = Status.PENDING, **columns: Any) -> list[int]:
    with database.write() as connection:
        return [make.insert_job(connection, status, **columns) for _ in range(count)]


def as_json(database: Database, job_id: int, words: tuple[str, ...] = ()) -> dict[str, Any]:
    with database.read() as connection:
        row = queries.job(connection, job_id)
        assert row is not None
        return queries.as_json(row, queries.attempts(connection, job_id), words)


# One job -------------------------------------------------------------------------------------------------------


def test_the_json_of_a_new_job(ready: Database) -> None:
    job_id = make.add(ready, retries=2, priority=5, queue="slow")
    assert list(as_json(ready, job_id)) == JOB_KEYS
    assert as_json(ready, job_id) == {
        "id": job_id,
        "class": "tests.jobcode.Work",
        "method": "add",
        "params": {"first": 1, "second": 2},
        "status": "pending",
        "reason": None,
        "priority": 5,
        "queue": "slow",
        "retries": 2,
        "attempt": 0,
        "created_at": "2026-11-22T12:00:00.000000Z",
        "run_at": "2026-11-22T12:00:00.000000Z",
        "started_at": None,
        "finished_at": None,
        "error": None,
        "result": None,
        "progress": None,
        "node": None,
        "pid": None,
        "runner_pid": None,
        "attempts": [],
    }


def test_the_json_of_a_job_with_attempts(ready: Database) -> None:
    job_id = make.add(ready)
    make.settle(ready, make.claim(ready), FAILED)
    retried = make.promote_and_claim(ready, NOW + 60 * SECOND)
    with ready.write() as connection:
        lifecycle.renew(connection, retried, NOW + 61 * SECOND, 99, '{"fraction": 0.5, "message": "half"}')
    found = as_json(ready, job_id)
    assert (found["status"], found["attempt"], found["pid"], found["runner_pid"]) == ("running", 2, 99, 500)
    assert found["progress"] == {"fraction": 0.5, "message": "half"}
    assert [list(one) for one in found["attempts"]] == [ATTEMPT_KEYS, ATTEMPT_KEYS]
    assert found["attempts"][0] == {
        "number": 1,
        "status": "failed",
        "reason": "error",
        "started_at": "2026-11-22T12:00:00.000000Z",
        "finished_at": "2026-11-22T12:00:01.000000Z",
        "pid": 77,
        "exit_code": None,
        "signal": None,
        "cpu_seconds": None,
        "peak_memory_bytes": None,
        "error": "ValueError: no",
        "traceback": "Traceback ...",
    }
    assert (found["attempts"][1]["number"], found["attempts"][1]["status"]) == (2, "running")
    make.settle(ready, retried, make.COMPLETED)
    found = as_json(ready, job_id)
    assert (found["status"], found["reason"], found["error"], found["result"]) == ("completed", None, None, {"n": 1})
    json.dumps(found)


def test_secrets_are_masked_by_name_by_signature_and_by_the_applications_words(ready: Database) -> None:
    params = {"user": "ann", "password": "p", "pin_code": 1234, "code": "c", "nested": {"api_key": "k", "iban": "i"}}
    job_id = make.add(ready, params=json.dumps(params), secret_params='["code"]')
    assert as_json(ready, job_id, ("iban",))["params"] == {
        "user": "ann",
        "password": "***",
        "pin_code": "***",
        "code": "***",
        "nested": {"api_key": "***", "iban": "***"},
    }


def test_no_query_of_a_page_shows_the_right_to_write(ready: Database) -> None:
    make.add(ready)
    claimed = make.claim(ready)
    with ready.read() as connection:
        row = queries.job(connection, claimed.job)
        assert row is not None
        for shown in (row, *queries.jobs(connection)):
            assert claimed.token not in shown._mapping.values()


def test_an_unknown_job_is_none(ready: Database) -> None:
    with ready.read() as connection:
        assert queries.job(connection, 4711) is None
        assert list(queries.attempts(connection, 4711)) == []


# Lists and counts ----------------------------------------------------------------------------------------------


def test_pages_hold_every_job_once_the_newest_first(ready: Database) -> None:
    ids = add_many(ready, 25)
    seen: list[int] = []
    before = None
    with ready.read() as connection:
        while page := queries.jobs(connection, before=before, limit=10):
            seen += [row.id for row in page]
            before = page[-1].id
    assert seen == ids[::-1]


def test_a_page_is_of_one_status_where_one_is_named(ready: Database) -> None:
    failed = add_many(ready, 3, Status.FAILED)
    add_many(ready, 3)
    with ready.read() as connection:
        assert [row.id for row in queries.jobs(connection, status="failed")] == failed[::-1]
        assert [row.id for row in queries.jobs(connection, status="failed", before=failed[2], limit=1)] == [failed[1]]
        assert list(queries.jobs(connection, status="running")) == []
        assert list(queries.jobs(connection, status="nonsense")) == []


def test_a_page_has_its_usual_size(ready: Database) -> None:
    add_many(ready, queries.PAGE + 1)
    with ready.read() as connection:
        assert len(queries.jobs(connection)) == queries.PAGE


def test_jobs_added_between_two_pages_shift_nothing(ready: Database) -> None:
    ids = add_many(ready, 4)
    with ready.read() as connection:
        first = queries.jobs(connection, limit=2)
    add_many(ready, 2)
    with ready.read() as connection:
        second = queries.jobs(connection, before=first[-1].id, limit=2)
    assert [row.id for row in (*first, *second)] == ids[::-1]


def test_counts_are_exact_up_to_their_cap_and_no_further(ready: Database) -> None:
    add_many(ready, 3)
    add_many(ready, 7, Status.FAILED)
    with ready.read() as connection:
        assert queries.counts(connection) == {
            "scheduled": 0,
            "pending": 3,
            "running": 0,
            "completed": 0,
            "failed": 7,
            "cancelled": 0,
        }
        assert queries.counts(connection, cap=5)["failed"] == 5


def test_what_is_due_and_what_waits_is_counted_up_to_a_cap(ready: Database) -> None:
    add_many(ready, 3)
    add_many(ready, 2, Status.SCHEDULED)
    add_many(ready, 1, Status.RUNNING)
    with ready.read() as connection:
        assert (queries.due(connection, 10), queries.due(connection, 2), queries.due(connection, 0)) == (3, 2, 0)
        assert (queries.waiting(connection, 10), queries.waiting(connection, 4)) == (5, 4)


def test_the_next_due_time_is_the_earliest_scheduled_one(ready: Database) -> None:
    with ready.read() as connection:
        assert queries.next_due(connection) is None
    make.add(ready, run_at=NOW + 9 * SECOND)
    make.add(ready, run_at=NOW + 5 * SECOND)
    make.add(ready)
    with ready.read() as connection:
        assert queries.next_due(connection) == NOW + 5 * SECOND


def test_only_a_near_retry_of_this_node_keeps_a_runner(ready: Database) -> None:
    hour = timedelta(hours=1)
    make.add(ready, run_at=NOW + SECOND)  # delayed, never tried
    add_many(ready, 1, Status.SCHEDULED, node="elsewhere", attempt=1, run_at=NOW)
    add_many(ready, 1, Status.SCHEDULED, node=make.NODE, attempt=1, run_at=NOW + hour + SECOND)
    with ready.read() as connection:
        assert not queries.has_retry_soon(connection, make.NODE, NOW, hour)
        assert queries.has_retry_soon(connection, make.NODE, NOW + SECOND, hour)


def test_running_jobs_of_one_node_and_of_all(ready: Database) -> None:
    here = add_many(ready, 2, Status.RUNNING)
    there = add_many(ready, 1, Status.RUNNING, node="elsewhere")
    add_many(ready, 2)
    with ready.read() as connection:
        assert [row.id for row in queries.running(connection, make.NODE)] == here
        assert [row.id for row in queries.running(connection)] == here + there


def test_a_runner_sees_whether_a_cancel_was_asked_and_whether_the_job_is_still_its_own(ready: Database) -> None:
    make.add(ready)
    claimed = make.claim(ready)

    def asked(token: str) -> bool | None:
        with ready.read() as connection:
            return queries.cancel_requested(connection, claimed.job, token)

    assert (asked(claimed.token), asked("b" * 32)) == (False, None)
    with ready.write() as connection:
        lifecycle.cancel(connection, claimed.job, None, NOW)
    assert asked(claimed.token) is True
    make.settle(ready, claimed, FAILED)
    assert asked(claimed.token) is None


def test_a_nodes_generation_and_the_list_of_nodes(ready: Database) -> None:
    with ready.read() as connection:
        assert queries.generation(connection, make.NODE) == make.GENERATION
        assert queries.generation(connection, "elsewhere") is None
        assert [row.id for row in queries.nodes(connection)] == [make.NODE]


def test_every_status_is_final_or_unfinished() -> None:
    assert [status for status in Status if queries.is_final(status)] == list(FINAL)
    assert [status for status in Status if queries.is_unfinished(status)] == list(UNFINISHED)
    assert set(WAITING) < set(UNFINISHED)


# Rows that people edited ---------------------------------------------------------------------------------------

DEEP = "[" * 100_000
EDITED: dict[str, dict[str, Any]] = {
    "params that are no JSON": {"params": "{broken"},
    "params that are no object": {"params": "[1, 2]"},
    "params without end": {"params": DEEP},
    "empty params": {"params": ""},
    "secret names that are no JSON": {"secret_params": "broken"},
    "secret names that are a number": {"secret_params": "5"},
    "secret names that are lists": {"secret_params": '[["first"], {}]'},
    "secret names that are an object": {"secret_params": '{"first": 1}'},
    "a result that is no JSON": {"result": "{broken"},
    "a result without end": {"result": DEEP},
    "progress that is no JSON": {"progress": "half"},
    "an unknown class": {"job_class": "no.such.Class"},
    "an attempt of a billion": {"attempt": 10**9, "attempt_limit": 10**9},
}


@pytest.mark.parametrize("what", EDITED)
def test_the_list_shows_a_row_edited_by_hand(ready: Database, what: str) -> None:
    """One bad row, whatever a person wrote into it, does not hide the others or itself."""
    edited, other = add_many(ready, 2)
    with ready.write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == edited).values(EDITED[what]))
    with ready.read() as connection:
        shown = [queries.as_json(row, []) for row in queries.jobs(connection)]
    assert [one["id"] for one in shown] == [other, edited]
    json.dumps(shown)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "moment", ["yesterday", "", "1763798400", b"\xff", 1763798400, "2026-11-22 12:00:00"], ids=repr
)
@pytest.mark.parametrize("column", ["created_at", "run_at", "started_at"])
def test_the_list_shows_a_row_whose_time_was_edited_by_hand(ready: Database, moment: object, column: str) -> None:
    """SQLite takes any value in any column."""
    edited, other = add_many(ready, 2)
    with ready.write() as connection:
        connection.exec_driver_sql(f"UPDATE bgapp_jobs SET {column} = ? WHERE id = ?", (moment, edited))
    with ready.read() as connection:
        shown = [queries.as_json(row, []) for row in queries.jobs(connection)]
    assert [one["id"] for one in shown] == [other, edited]
    assert make.claim(ready).job in (edited, other)
    assert make.claim(ready).job in (edited, other)


# Plans ---------------------------------------------------------------------------------------------------------

Ask = Callable[[Connection], object]
BY_ROW_ID = "SCAN bgapp_jobs"  # SQLite's whole plan for the newest jobs: its table is in the order of the ids
READS: dict[str, tuple[Ask, tuple[str, ...]]] = {
    "due": (lambda one: queries.due(one, 100), ("ix_bgapp_jobs_pending", "ix_bgapp_jobs_status_id")),
    "next_due": (queries.next_due, ("ix_bgapp_jobs_scheduled",)),
    "retry": (
        lambda one: queries.has_retry_soon(one, make.NODE, NOW, timedelta(hours=1)),
        ("ix_bgapp_jobs_scheduled", "ix_bgapp_jobs_status_id"),
    ),
    "running": (lambda one: queries.running(one, make.NODE), ("ix_bgapp_jobs_running", "ix_bgapp_jobs_status_id")),
    "all running": (queries.running, ("ix_bgapp_jobs_running", "ix_bgapp_jobs_status_id")),
    "page": (queries.jobs, (BY_ROW_ID, "pk_bgapp_jobs")),
    "next page": (lambda one: queries.jobs(one, before=500), ("PRIMARY KEY", "pk_bgapp_jobs")),
    "page of a status": (lambda one: queries.jobs(one, status="failed"), ("ix_bgapp_jobs_status_id",)),
    "next page of a status": (
        lambda one: queries.jobs(one, status="completed", before=500),
        ("ix_bgapp_jobs_status_id", "pk_bgapp_jobs"),
    ),
    "attempts": (lambda one: queries.attempts(one, 5), ("PRIMARY KEY", "pk_bgapp_attempts", "bgapp_attempts_1")),
    "unique key": (
        lambda one: lifecycle.add(one, make.new_job(unique_key="k7")),
        ("uq_bgapp_jobs_unique_key",),
    ),
}


@pytest.fixture
def full(ready: Database) -> Database:
    """Twenty thousand jobs that have ended, a thousand that wait for later, and a few of every kind."""
    with ready.write() as connection:
        many = [
            make.new_job(run_at=NOW + timedelta(days=1 + n % 7)).row()
            | ({"status": Status.COMPLETED, "finished_at": NOW} if n % 20 else {})
            for n in range(20_000)
        ]
        connection.execute(insert(JOBS), [{"finished_at": None, **row} for row in many])
        for status in Status:
            for n in range(20):
                make.insert_job(connection, status, priority=n, unique_key=f"k{n}" if status == "pending" else None)
        ended = select(JOBS.c.id, text("1, 'failed', 'n', 1, created_at, created_at")).where(JOBS.c.id < 5_000)
        names = ["job_id", "number", "status", "node", "runner_pid", "started_at", "finished_at"]
        connection.execute(insert(ATTEMPTS).from_select(names, ended))
        connection.execute(text("ANALYZE"))
    return ready


@contextmanager
def watched(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that are sent to bgapp's tables, with their values."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: object) -> None:
        if "bgapp_" in statement and not statement.startswith("INSERT"):
            seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def plans(database: Database, ask: Ask) -> list[str]:
    """Return how the database carries out each statement of `ask`, with the very values."""
    with watched(database) as seen, database.write() as connection:
        ask(connection)
    assert seen
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    found = []
    with database.write() as connection:
        for statement, values in seen:
            lines = connection.exec_driver_sql(explain + statement, values).all()
            found.append("\n".join(str(line[-1]) for line in lines))
    return found


def assert_walks_no_table(plan: str) -> None:
    assert "Seq Scan on bgapp_jobs" not in plan, plan
    for line in plan.splitlines():
        assert "SCAN bgapp_" not in line or "USING" in line or plan == BY_ROW_ID, plan


def test_reads_go_by_an_index(full: Database) -> None:
    for ask, indexes in READS.values():
        for plan in plans(full, ask):
            assert any(name in plan for name in indexes), plan
            assert_walks_no_table(plan)


def test_counts_end_at_their_cap(full: Database) -> None:
    """PostgreSQL reads the table itself where most of its rows count, and stops at the limit as well."""
    for ask in (lambda one: queries.waiting(one, 100), lambda one: queries.counts(one, 100)):
        for plan in plans(full, ask):
            if full.is_sqlite:
                assert_walks_no_table(plan)
            else:
                assert "Limit" in plan, plan


def test_a_runner_finds_and_writes_its_job_without_walking_the_table(full: Database) -> None:
    claiming = plans(full, lambda one: lifecycle.claim(one, owner(), NOW))
    assert "ix_bgapp_jobs_pending" in claiming[0], claiming[0]
    assert "Sort" not in claiming[0]
    assert "TEMP B-TREE" not in claiming[0], "the best is the first of the index"
    promoting = plans(full, lambda one: lifecycle.promote(one, NOW))
    for plan in promoting:
        assert "ix_bgapp_jobs_scheduled" in plan, plan
        assert "run_at<?" in plan or "run_at <= " in plan, "only what is due is read"
    claimed = make.claim(full)
    renewing = plans(full, lambda one: lifecycle.renew(one, claimed, NOW, 1, None))
    settling = plans(full, lambda one: lifecycle.settle(one, claimed, FAILED, NOW))
    for plan in (*claiming, *promoting, *renewing, *settling):
        assert_walks_no_table(plan)
