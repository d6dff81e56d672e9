"""The two helpers against a real database: what is stored, told and woken; and that a refusal stores nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from bgapp import clock, run_background_job, run_background_jobs, schema, system
from bgapp.errors import BadOption, BadParameters, ClassNotAllowed, MethodUnknown, QueueFull, UnknownJob, WrongState
from bgapp.models import Status
from bgapp.records import Change
from bgapp.runtime import Runtime, of
from tests import factories as make
from tests.jobcode import Work
from tests.store.racing import at_once


@pytest.fixture
def context(app: Flask, runtime: Runtime) -> Iterator[None]:
    """An application context, as a view has one."""
    with app.app_context():
        yield


@pytest.fixture
def leader(runtime: Runtime) -> Iterator[system.Mailbox]:
    """The wake-up channel of this node's leader."""
    mailbox = system.Mailbox(runtime.node.channel("leader"))
    yield mailbox
    mailbox.close()


def lines(runtime: Runtime, name: str = "background_jobs.log") -> list[str]:
    path = runtime.settings.log_dir / name
    return path.read_text().splitlines() if path.exists() else []


def errors(runtime: Runtime) -> list[str]:
    return lines(runtime, "background_jobs_errors.log")


def wanted(method: str = "add", params: Any = (1, 2), **options: Any) -> dict[str, Any]:
    return {"job_class": Work, "method": method, "params": list(params), **options}


# One -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("context")
def test_a_job_is_stored_told_and_woken_for(runtime: Runtime, leader: system.Mailbox) -> None:
    before = clock.now()
    handle = run_background_job(Work, "add", [1, "2"], 5, 0, "high", queue="slow", timeout=60, backoff="7 fixed")
    assert handle
    assert handle.created
    row = make.row(runtime.database, handle.id)
    assert (row.job_class, row.method, row.params) == ("tests.jobcode.Work", "add", '{"first":1,"second":2}')
    assert (row.retries, row.attempt_limit, row.priority, row.queue, row.timeout) == (5, 6, 10, "slow", 60.0)
    assert (row.backoff, row.backoff_fixed, row.status, row.unique_key) == (7.0, True, "pending", None)
    assert before - timedelta(seconds=5) <= row.created_at <= clock.now() + timedelta(seconds=5)
    (line,) = lines(runtime)
    assert line.startswith(
        'Job pending | Class: tests.jobcode.Work | Method: add | Parameters: {"first": 1, "second": '
    )
    assert line.endswith(f" | Job: {handle.id}")
    assert errors(runtime) == []
    assert leader.drain() >= 1


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)], ids=["int", "float", "timedelta"])
def test_a_delay_counts_from_the_databases_clock(runtime: Runtime, delay: float | timedelta) -> None:
    row = make.row(runtime.database, run_background_job(Work, "echo", delay=delay).id)
    assert row.status == "scheduled"
    assert (row.run_at - row.created_at).total_seconds() == 90


@pytest.mark.usefixtures("context")
def test_a_delay_that_is_a_moment_is_kept_to_the_microsecond(runtime: Runtime) -> None:
    moment = clock.now() + timedelta(hours=1, microseconds=1)
    many = run_background_jobs([wanted(delay=moment)])
    for handle in (run_background_job(Work, "echo", delay=moment), *many):
        assert make.row(runtime.database, handle.id).run_at == moment
    past = run_background_job(Work, "echo", delay=datetime(2020, 1, 1, tzinfo=UTC))
    assert make.row(runtime.database, past.id).status == "pending"


def test_the_tables_are_made_on_first_use(app: Flask) -> None:
    with app.app_context():
        assert not of(app).is_ready
        assert run_background_job(Work, "echo").status == "pending"
    assert schema.version(of(app).database) == schema.HEAD


REFUSED: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "class": ({"job_class": "os.path"}, ClassNotAllowed),
    "method": ({"method": "nope"}, MethodUnknown),
    "parameters": ({"params": [1]}, BadParameters),
    "option": ({"retries": 101}, BadOption),
}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("fault", REFUSED)
def test_a_refusal_stores_nothing_and_writes_one_line_to_the_errors(
    runtime: Runtime, leader: system.Mailbox, fault: str
) -> None:
    change, kind = REFUSED[fault]
    with pytest.raises(kind):
        run_background_job(**{**wanted(), **change})
    assert make.rows(runtime.database) == []
    assert (lines(runtime), leader.drain()) == ([], 0)
    (line,) = errors(runtime)
    assert line.startswith("Job rejected | Class: ")


@pytest.mark.usefixtures("context")
def test_a_unique_key_returns_the_job_that_waits(app: Flask, runtime: Runtime) -> None:
    first = run_background_job(Work, "add", [1, 2], unique_key="k")
    second = run_background_job(Work, "echo", unique_key="k")
    assert (first.id, first.created) == (second.id, True)
    assert second
    assert not second.created
    assert len(lines(runtime)) == 1


def test_eight_threads_with_one_unique_key_get_the_same_job(app: Flask, runtime: Runtime) -> None:
    def ask(_: int) -> tuple[int, bool]:
        with app.app_context():
            handle = run_background_job(Work, "add", [1, 2], unique_key="k")
            return handle.id, handle.created

    found = at_once(8, ask)
    assert len({job_id for job_id, _ in found}) == 1
    assert sorted(created for _, created in found) == [False] * 7 + [True]
    assert len(make.rows(runtime.database)) == 1
    assert len(lines(runtime)) == 1


# The handle ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("context")
def test_a_handle_shows_what_it_last_looked_at(runtime: Runtime) -> None:
    handle = run_background_job(Work, "add", [1, 2])
    assert (handle.status, handle.result, handle.error) == ("pending", None, None)
    make.say_alive(runtime.database, runtime.node)
    claimed = make.claim(runtime.database, make.owner(runtime.node.id))
    make.settle(runtime.database, claimed, make.COMPLETED)
    assert handle.status == "pending"
    assert handle.refresh() is handle
    assert (handle.status, handle.result) == ("completed", {"n": 1})
    assert handle.wait(0)


@pytest.mark.usefixtures("context")
def test_waiting_for_a_job_that_does_not_end_gives_up(runtime: Runtime) -> None:
    handle = run_background_job(Work, "add", [1, 2])
    assert not handle.wait(0)
    assert not handle.wait(0.02)
    assert not handle.wait(-1)


@pytest.mark.usefixtures("context")
def test_cancelling_by_the_handle(runtime: Runtime) -> None:
    handle = run_background_job(Work, "add", [1, 2])
    handle.cancel("ann")
    row = make.row(runtime.database, handle.id)
    assert (row.status, row.cancelled_by) == ("cancelled", "ann")
    assert [line.split(" | ")[0] for line in lines(runtime)] == ["Job pending", "Job cancelled"]
    with pytest.raises(WrongState, match="is cancelled: it cannot be cancelled"):
        handle.cancel()


@pytest.mark.usefixtures("context")
def test_a_handle_of_a_deleted_job_says_so(runtime: Runtime) -> None:
    handle = run_background_job(Work, "add", [1, 2])
    with runtime.database.write() as connection:
        connection.execute(text("DELETE FROM bgapp_jobs"))
    for act in (lambda: handle.status, handle.refresh, handle.wait, handle.cancel):
        with pytest.raises(UnknownJob, match=f"there is no job {handle.id}"):
            act()


# Many ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("context")
def test_many_are_stored_in_order_and_told_in_order(runtime: Runtime, leader: system.Mailbox) -> None:
    jobs = [wanted("echo", [n], priority=n % 3) for n in range(1_200)]
    handles = run_background_jobs(jobs)
    assert [handle.id for handle in handles] == sorted(handle.id for handle in handles)
    assert [row["params"] for row in make.rows(runtime.database)] == [f'{{"value":{n}}}' for n in range(1_200)]
    assert all(handle.created for handle in handles)
    told = [line.rsplit("Job: ", 1)[1] for line in lines(runtime)]
    assert told == [str(handle.id) for handle in handles]
    assert leader.drain() >= 1


@pytest.mark.usefixtures("context")
def test_none_are_nothing(runtime: Runtime, leader: system.Mailbox) -> None:
    assert run_background_jobs([]) == []
    assert (lines(runtime), leader.drain()) == ([], 0)


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("fault", REFUSED)
def test_of_many_with_one_fault_none_is_stored_and_its_place_is_named(
    runtime: Runtime, leader: system.Mailbox, fault: str
) -> None:
    change, kind = REFUSED[fault]
    with pytest.raises(kind, match=r"^jobs\[2\]: "):
        run_background_jobs([wanted(), wanted(), {**wanted(), **change}, wanted()])
    assert make.rows(runtime.database) == []
    assert (lines(runtime), leader.drain()) == ([], 0)
    (line,) = errors(runtime)
    assert "jobs[2]: " in line
    assert f"Method: {change.get('method', 'add')}" in line
    assert "Parameters: [1" in line


UNNAMED: dict[object, int] = {3: 4, "x": 5}


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("Work", r"^jobs\[1\]: this is a str, not a mapping"),
        (None, r"^jobs\[1\]: this is a NoneType, not a mapping"),
        (wanted(pririty=3), r"^jobs\[1\]: there is no argument 'pririty': known are backoff, delay, "),
        (UNNAMED, r"^jobs\[1\]: there is no argument 3: "),
        (wanted(session=None), r"^jobs\[1\]: there is no argument 'session'"),
    ],
    ids=["text", "nothing", "misspelt", "a number", "session"],
)
def test_of_many_each_must_be_a_mapping_of_known_arguments(runtime: Runtime, fault: Any, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        run_background_jobs([wanted(), fault])
    assert make.rows(runtime.database) == []
    assert len(errors(runtime)) == 1


@pytest.mark.usefixtures("context")
def test_what_is_missing_of_one_among_many_is_refused(runtime: Runtime) -> None:
    with pytest.raises(ClassNotAllowed, match=r"^jobs\[0\]: "):
        run_background_jobs([dict[str, Any]()])
    with pytest.raises(MethodUnknown, match=r"^jobs\[0\]: "):
        run_background_jobs([{"job_class": Work}])
    assert make.rows(runtime.database) == []


@pytest.mark.usefixtures("context")
def test_of_many_with_one_unique_key_one_is_made(runtime: Runtime) -> None:
    waiting = run_background_job(Work, "add", [1, 2], unique_key="old")
    handles = run_background_jobs(
        [wanted(unique_key="new"), wanted(), wanted(unique_key="new"), wanted(unique_key="old")]
    )
    assert [handle.created for handle in handles] == [True, True, False, False]
    assert handles[0].id == handles[2].id
    assert handles[3].id == waiting.id
    assert len(make.rows(runtime.database)) == 3
    assert len(lines(runtime)) == 3


# A full queue --------------------------------------------------------------------------------------------------


@pytest.fixture
def small(make_app: Callable[..., Flask], database_url: str) -> Iterator[Runtime]:
    """An application in which three jobs may wait, with two that do and one that runs."""
    app = make_app(database_url=database_url, max_queued=3)
    runtime = of(app)
    runtime.ready()
    with runtime.database.write() as connection:
        make.insert_job(connection, Status.PENDING)
        make.insert_job(connection, Status.SCHEDULED)
        make.insert_job(connection, Status.RUNNING)
    with app.app_context():
        yield runtime


def test_a_full_queue_takes_no_more_until_something_has_gone(small: Runtime) -> None:
    last = run_background_job(Work, "add", [1, 2])
    with pytest.raises(QueueFull, match="3 jobs wait already, the most that BGAPP_MAX_QUEUED allows"):
        run_background_job(Work, "add", [1, 2])
    assert len(make.rows(small.database)) == 4
    (line,) = errors(small)
    assert "queue_full" in line
    last.cancel()
    assert run_background_job(Work, "add", [1, 2])


def test_many_are_refused_whole_where_not_all_have_room(small: Runtime) -> None:
    with pytest.raises(QueueFull):
        run_background_jobs([wanted(), wanted()])
    assert len(make.rows(small.database)) == 3
    (line,) = errors(small)
    assert "queue_full" in line
    assert len(run_background_jobs([wanted()])) == 1


def test_a_job_that_waits_already_is_returned_from_a_full_queue_too(small: Runtime) -> None:
    first = run_background_job(Work, "add", [1, 2], unique_key="k")
    again = run_background_job(Work, "add", [1, 2], unique_key="k")
    assert (again.id, again.created) == (first.id, False)
    assert [one.id for one in run_background_jobs([wanted(unique_key="k")])] == [first.id]


# Inline --------------------------------------------------------------------------------------------------------


@pytest.fixture
def inline(make_app: Callable[..., Flask], database_url: str) -> Iterator[Flask]:
    """An application that runs its jobs at once, in this process."""
    app = make_app(database_url=database_url, inline=True)
    with app.app_context():
        yield app


def test_a_job_runs_inline_before_the_helper_returns(inline: Flask) -> None:
    handle = run_background_job(Work, "add", [1, 2])
    assert (handle.status, handle.result) == ("completed", 3)
    assert [line.split(" | ")[0] for line in lines(of(inline))] == [
        "Job pending",
        "Job running",
        "Job completed successfully",
    ]


def test_many_run_inline_in_the_order_of_their_priority(inline: Flask) -> None:
    handles = run_background_jobs([wanted("echo", [1]), wanted("echo", [2], priority="high")])
    assert [handle.status for handle in handles] == ["completed", "completed"]
    running = [line.rsplit("Job: ")[1].split(" ")[0] for line in lines(of(inline)) if line.startswith("Job running")]
    assert running == [str(handles[1].id), str(handles[0].id)]


def test_a_session_runs_its_jobs_inline_after_its_commit_and_can_be_used_by_them(inline: Flask) -> None:
    session = inline.extensions["sqlalchemy"].session
    one = run_background_job(Work, "add", [1, 2], session=session)
    many = run_background_jobs([wanted("uses_database", [])], session=session)
    session.commit()
    assert (one.status, one.result) == ("completed", 3)
    assert (many[0].status, many[0].result) == ("completed", 1)


def test_a_failing_job_fails_inline_and_not_in_the_caller(inline: Flask) -> None:
    handle = run_background_job(Work, "fail", ["no luck"], retries=0)
    assert (handle.status, handle.error) == ("failed", "ValueError: no luck")


# Rows that people edited ---------------------------------------------------------------------------------------

DEEP = "[" * 100_000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("names", ["5", "broken", '[["first"]]', '{"first": 1}', DEEP], ids=lambda one: one[:9])
@pytest.mark.parametrize("params", ["{broken", "[1]", DEEP, '{"first": 1}'], ids=lambda one: one[:9])
def test_a_row_edited_by_hand_is_told_all_the_same(small: Runtime, params: str, names: str) -> None:
    """A runner tells after it has committed: an error here would cost it the job that it has just claimed."""
    small.tell([Change("Job running", 7, "tests.jobcode.Work", "add", params, names, 1)])
    assert len(lines(small)) == 1
