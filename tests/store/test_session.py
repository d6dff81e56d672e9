"""Enqueuing in the caller's own transaction: the job, its line and its wake-up come with the commit or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from bgapp import run_background_job, run_background_jobs, schema, system
from bgapp.database import Database
from bgapp.errors import BadOption, DatabaseBusy, JobRejected
from bgapp.runtime import Runtime
from tests import factories as make

Enqueue = Callable[..., Any]


@pytest.fixture
def leader(runtime: Runtime) -> Iterator[system.Mailbox]:
    """The wake-up channel of this node's leader."""
    mailbox = system.Mailbox(runtime.node.channel("leader"))
    yield mailbox
    mailbox.close()


@pytest.fixture
def context(app: Flask, runtime: Runtime) -> Iterator[None]:
    """An application context, as a view has one."""
    with app.app_context():
        yield


@pytest.fixture(params=["db.session", "plain"])
def session(request: pytest.FixtureRequest, app: Flask, context: None) -> Iterator[Any]:
    """The caller's session: Flask-SQLAlchemy's scoped one, and one of plain SQLAlchemy."""
    if request.param == "db.session":
        yield app.extensions["sqlalchemy"].session
        return
    with Session(app.extensions["sqlalchemy"].engine) as plain:
        yield plain


@pytest.fixture(params=["one", "many"])
def enqueue(request: pytest.FixtureRequest) -> Enqueue:
    """Enqueue a job by name with a session: by the single helper and by the bulk one."""

    def one(session: Any, method: str = "add", **options: Any) -> int:
        return run_background_job("Work", method, [1, 2] if method == "add" else [], session=session, **options).id

    def many(session: Any, method: str = "add", **options: Any) -> int:
        params = [1, 2] if method == "add" else []
        wanted = {"job_class": "Work", "method": method, "params": params, **options}
        return run_background_jobs([wanted], session=session)[0].id

    return one if request.param == "one" else many


def told(runtime: Runtime) -> list[str]:
    """Return the log's lines as "Job pending add 1"."""
    path = runtime.settings.log_dir / "background_jobs.log"
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        fields = line.split(" | ")
        named = dict(field.split(": ", 1) for field in fields[1:])
        found.append(f"{fields[0]} {named['Method']} {named['Job']}")
    return found


def stored(runtime: Runtime) -> list[str]:
    return [row["method"] for row in make.rows(runtime.database)]


def test_the_job_its_line_and_its_wake_up_come_with_the_commit(
    runtime: Runtime, session: Any, enqueue: Enqueue, leader: system.Mailbox
) -> None:
    job_id = enqueue(session)
    assert (stored(runtime), told(runtime), leader.drain()) == ([], [], 0)
    session.commit()
    assert (stored(runtime), told(runtime)) == (["add"], [f"Job pending add {job_id}"])
    assert leader.drain() >= 1


def test_a_rollback_takes_the_job_with_it(
    runtime: Runtime, session: Any, enqueue: Enqueue, leader: system.Mailbox
) -> None:
    enqueue(session)
    session.rollback()
    session.execute(text("SELECT 1"))
    session.commit()
    assert (stored(runtime), told(runtime), leader.drain()) == ([], [], 0)


def test_a_session_that_is_closed_without_a_commit_forgets_the_job(
    runtime: Runtime, session: Any, enqueue: Enqueue, leader: system.Mailbox
) -> None:
    enqueue(session)
    session.close()
    second = enqueue(session, "echo")
    session.commit()
    assert (stored(runtime), told(runtime)) == (["echo"], [f"Job pending echo {second}"])


def test_a_savepoint_that_is_rolled_back_tells_nothing(
    runtime: Runtime, session: Any, enqueue: Enqueue, leader: system.Mailbox
) -> None:
    savepoint = session.begin_nested()
    enqueue(session)
    savepoint.rollback()
    session.commit()
    assert (stored(runtime), told(runtime), leader.drain()) == ([], [], 0)


def test_a_job_after_a_savepoint_that_was_rolled_back_is_told_once_and_as_itself(
    runtime: Runtime, session: Any, enqueue: Enqueue
) -> None:
    """SQLite gives the second job the number of the first, which never was."""
    savepoint = session.begin_nested()
    enqueue(session, "fail")
    savepoint.rollback()
    kept = enqueue(session, "echo")
    session.commit()
    assert (stored(runtime), told(runtime)) == (["echo"], [f"Job pending echo {kept}"])


def test_an_outer_savepoint_that_is_rolled_back_takes_a_released_inner_one_with_it(
    runtime: Runtime, session: Any, enqueue: Enqueue
) -> None:
    outer = session.begin_nested()
    with session.begin_nested():
        enqueue(session, "fail")
    outer.rollback()
    kept = enqueue(session, "echo")
    session.commit()
    assert (stored(runtime), told(runtime)) == (["echo"], [f"Job pending echo {kept}"])


def begin(session: Any) -> None:
    """Write something: SQLite's driver begins a transaction with the first write, and not with a savepoint."""
    session.execute(text("CREATE TABLE orders (n INTEGER)"))
    session.execute(text("INSERT INTO orders VALUES (1)"))


def test_a_savepoint_that_is_released_waits_for_the_commit(runtime: Runtime, session: Any, enqueue: Enqueue) -> None:
    begin(session)
    with session.begin_nested():
        job_id = enqueue(session)
    assert (stored(runtime), told(runtime)) == ([], [])
    session.commit()
    assert (stored(runtime), told(runtime)) == (["add"], [f"Job pending add {job_id}"])


def test_a_savepoint_rolled_back_later_leaves_an_earlier_job_alone(
    runtime: Runtime, session: Any, enqueue: Enqueue
) -> None:
    kept = enqueue(session, "echo")
    savepoint = session.begin_nested()
    enqueue(session, "fail")
    savepoint.rollback()
    session.commit()
    assert (stored(runtime), told(runtime)) == (["echo"], [f"Job pending echo {kept}"])


def test_several_jobs_in_one_transaction_are_told_in_order(runtime: Runtime, session: Any, enqueue: Enqueue) -> None:
    ids = [enqueue(session, method) for method in ("add", "echo", "fail")]
    session.commit()
    assert told(runtime) == [
        f"Job pending {name} {job_id}" for name, job_id in zip(("add", "echo", "fail"), ids, strict=True)
    ]


def test_one_session_enqueues_in_one_transaction_after_the_other(
    runtime: Runtime, session: Any, enqueue: Enqueue
) -> None:
    first = enqueue(session)
    session.commit()
    second = enqueue(session, "echo")
    session.commit()
    session.execute(text("SELECT 1"))
    session.commit()
    assert told(runtime) == [f"Job pending add {first}", f"Job pending echo {second}"]


def test_the_callers_own_rows_and_the_job_stand_or_fall_together(
    runtime: Runtime, session: Any, enqueue: Enqueue
) -> None:
    session.execute(text("CREATE TABLE orders (n INTEGER)"))
    session.commit()
    for ending in (session.rollback, session.commit):
        session.execute(text("INSERT INTO orders VALUES (1)"))
        enqueue(session)
        ending()
    assert session.execute(text("SELECT count(*) FROM orders")).scalar() == 1
    session.rollback()
    assert stored(runtime) == ["add"]


def test_a_unique_key_finds_the_job_of_the_same_transaction_and_of_others(runtime: Runtime, session: Any) -> None:
    first = run_background_job("Work", "add", [1, 2], unique_key="k", session=session)
    same = run_background_job("Work", "add", [1, 2], unique_key="k", session=session)
    session.commit()
    later = run_background_job("Work", "add", [1, 2], unique_key="k", session=session)
    session.commit()
    assert first.id == same.id == later.id
    assert (first.created, same.created, later.created) == (True, False, False)
    assert told(runtime) == [f"Job pending add {first.id}"]


def test_an_outer_transaction_that_is_rolled_back_after_the_sessions_commit_tells_nothing(
    app: Flask, runtime: Runtime, context: None, enqueue: Enqueue, leader: system.Mailbox
) -> None:
    """The recipe of test suites: the session joins a transaction that ends after it, by a rollback."""
    with app.extensions["sqlalchemy"].engine.connect() as connection:
        outer = connection.begin()
        begin(connection)
        with Session(connection, join_transaction_mode="create_savepoint") as joined:
            enqueue(joined)
            joined.commit()
        outer.rollback()
    assert (stored(runtime), told(runtime), leader.drain()) == ([], [], 0)


def test_the_handle_shows_the_job_once_it_is_committed(session: Any) -> None:
    handle = run_background_job("Work", "add", [1, 2], session=session)
    session.commit()
    assert handle.status == "pending"


@pytest.mark.parametrize("tables", [False, True], ids=["without tables", "with tables of its own"])
def test_a_session_of_another_database_is_refused(
    runtime: Runtime, context: None, enqueue: Enqueue, tmp_path: Path, tables: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    if tables:
        other = Database(url)
        schema.upgrade(other)
        other.dispose()
    engine = create_engine(url)
    with Session(engine) as strange, pytest.raises(BadOption, match="session") as caught:
        enqueue(strange)
    engine.dispose()
    assert caught.value.argument == "session"
    assert stored(runtime) == []
    errors = (runtime.settings.log_dir / "background_jobs_errors.log").read_text()
    assert errors.count("Job rejected") == 1


@pytest.mark.parametrize("nonsense", ["text", 1, object], ids=str)
def test_what_is_no_session_is_refused(context: None, enqueue: Enqueue, nonsense: object) -> None:
    with pytest.raises(JobRejected, match="session is a SQLAlchemy Session, not a"):
        enqueue(nonsense)


def writing(app: Flask) -> Any:
    """Return db.session in the midst of a write transaction."""
    session = app.extensions["sqlalchemy"].session
    session.execute(text("CREATE TABLE IF NOT EXISTS orders (n INTEGER)"))
    session.commit()
    session.execute(text("INSERT INTO orders VALUES (1)"))
    return session


def test_a_callers_own_write_lock_is_told_at_once_and_not_waited_for(
    app: Flask, runtime: Runtime, context: None, enqueue: Enqueue
) -> None:
    session = writing(app)
    if not runtime.database.is_sqlite:
        enqueue(None)  # rows are locked there, not the database
        assert stored(runtime) == ["add"]
        session.rollback()
        return
    with pytest.raises(DatabaseBusy, match="pass session=db.session, or commit first"):
        enqueue(None)
    session.commit()
    enqueue(None)
    assert stored(runtime) == ["add"]


def test_a_callers_reading_session_is_no_hindrance(
    app: Flask, runtime: Runtime, context: None, enqueue: Enqueue
) -> None:
    session = app.extensions["sqlalchemy"].session
    assert session.execute(text("SELECT count(*) FROM bgapp_jobs")).scalar() == 0
    enqueue(None)
    session.rollback()
    assert stored(runtime) == ["add"]


def test_passing_the_writing_session_is_the_way_out(
    app: Flask, runtime: Runtime, context: None, enqueue: Enqueue
) -> None:
    session = writing(app)
    enqueue(session)
    session.commit()
    assert stored(runtime) == ["add"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_lock_that_another_process_holds_is_told_as_busy(
    app: Flask, runtime: Runtime, context: None, enqueue: Enqueue
) -> None:
    engine = create_engine(
        app.extensions["sqlalchemy"].engine.url,
        module=app.extensions["sqlalchemy"].engine.dialect.loaded_dbapi,
        connect_args={"timeout": 0.05},
    )
    with runtime.database.write(), Session(engine) as session, pytest.raises(DatabaseBusy, match="try again"):
        enqueue(session)
    engine.dispose()
    assert stored(runtime) == []
