"""PostgreSQL restarts, is cut off, gives transactions up, has no connection left: no job is lost, doubled or judged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, create_engine, func, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bgapp import repeat, run_background_job, run_background_jobs
from bgapp.database import Database
from bgapp.errors import CommitUnknown, DatabaseAway, DatabaseBusy
from bgapp.runtime import of
from bgapp.statements import JOBS
from tests.faults.pgproxy import Proxy
from tests.faults.pgserver import Server
from tests.jobcode import Work
from tests.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.postgres

INSERT = b"INSERT INTO bgapp_jobs"
# A trigger that refuses the first so many inserts; a sequence counts on whatever is rolled back.
TROUBLE = """
CREATE SEQUENCE trouble;
CREATE FUNCTION make_trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF nextval('trouble') <= {times} THEN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER trouble BEFORE INSERT ON bgapp_jobs FOR EACH ROW EXECUTE FUNCTION make_trouble();
"""


@pytest.fixture
def app(make_app: Callable[..., Flask], proxy: Proxy, postgres_database: str) -> Iterator[Flask]:
    """An application that reaches its database by way of the proxy; this test stands in its context."""
    app = make_app(database_url=proxy.url(postgres_database))
    with app.app_context():
        of(app).ready()
        yield app


@pytest.fixture
def direct(postgres_database: str) -> Iterator[Engine]:
    """A stranger's way into the same database, past the proxy."""
    engine = create_engine(postgres_database)
    yield engine
    engine.dispose()


def stored(direct: Engine) -> list[int]:
    with direct.connect() as connection:
        return list(connection.execute(select(JOBS.c.id).order_by(JOBS.c.id)).scalars())


def make_trouble(direct: Engine, state: str, times: int) -> None:
    with direct.begin() as connection:
        connection.execute(text(TROUBLE.format(state=state, times=times)))


def tries(direct: Engine) -> int:
    with direct.connect() as connection:
        return int(connection.execute(text("SELECT last_value FROM trouble")).scalar_one())


# A connection that is cut during COMMIT ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["lost", "stored", "late"])
@pytest.mark.usefixtures("app")
def test_f46_a_job_is_stored_once_when_the_connection_breaks_during_commit(
    proxy: Proxy, direct: Engine, how: str
) -> None:
    proxy.cut_commit(how, INSERT, after=0.5)
    job = run_background_job(Work, "add", [1, 2])
    assert proxy.cuts == 1
    assert job.created
    assert stored(direct) == [job.id]


@pytest.mark.parametrize("how", ["lost", "stored", "late"])
@pytest.mark.usefixtures("app")
def test_f46_many_jobs_at_once_are_all_stored_once(proxy: Proxy, direct: Engine, how: str) -> None:
    proxy.cut_commit(how, INSERT, after=0.5)
    jobs = run_background_jobs([{"job_class": Work, "method": "add", "params": [1, n]} for n in range(3)])
    assert proxy.cuts == 1
    assert stored(direct) == [job.id for job in jobs]


@pytest.mark.parametrize("how", ["lost", "stored"])
@pytest.mark.usefixtures("app")
def test_f46_a_unique_key_is_held_by_the_job_that_was_stored(proxy: Proxy, direct: Engine, how: str) -> None:
    proxy.cut_commit(how, INSERT)
    job = run_background_job(Work, "add", [1, 2], unique_key="k")
    assert (proxy.cuts, job.created) == (1, True)
    assert stored(direct) == [job.id]


@pytest.mark.parametrize("how", ["lost", "stored"])
def test_f46_the_command_stores_a_job_once(app: Flask, proxy: Proxy, direct: Engine, how: str) -> None:
    proxy.cut_commit(how, INSERT)
    done = app.test_cli_runner().invoke(args=["run-job", "Work", "add", "1", "2"])
    assert (done.exit_code, proxy.cuts) == (0, 1), done.output
    assert len(stored(direct)) == 1


@pytest.mark.parametrize("how", ["lost", "stored"])
@pytest.mark.usefixtures("app")
def test_f46_what_nobody_can_tell_is_told_with_the_jobs_number(
    proxy: Proxy, direct: Engine, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat, "LOOK", 0.2)

    proxy.cut_commit(how, INSERT, for_good=True)
    with pytest.raises(CommitUnknown, match=r"not known whether job \d+ was stored.*before asking again"):
        run_background_job(Work, "add", [1, 2])
    wait_for(lambda: len(stored(direct)) == (how == "stored"), "what the server made of it")


@pytest.mark.parametrize("how", ["lost", "stored"])
def test_f46_in_a_session_of_the_callers_the_commit_is_the_callers(
    app: Flask, proxy: Proxy, direct: Engine, how: str
) -> None:
    engine = create_engine(of(app).database.url)
    proxy.cut_commit(how, INSERT)
    with Session(engine) as session:
        job = run_background_job(Work, "add", [1, 2], session=session)
        with pytest.raises(OperationalError):
            session.commit()
    assert stored(direct) == ([job.id] if how == "stored" else [])
    engine.dispose()


@pytest.mark.parametrize("how", ["lost", "stored"])
@pytest.mark.usefixtures("app")
def test_f46_a_cancellation_is_done_once_and_not_refused(proxy: Proxy, direct: Engine, how: str) -> None:
    job = run_background_job(Work, "add", [1, 2])
    proxy.cut_commit(how, b"UPDATE bgapp_jobs")
    job.cancel()
    assert proxy.cuts == 1
    assert job.refresh().status == "cancelled"


# Transactions that the server gives up -------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57014", "57P03"])
@pytest.mark.usefixtures("app")
def test_f47_a_transaction_that_was_given_up_is_tried_again(direct: Engine, state: str) -> None:
    make_trouble(direct, state, times=2)
    job = run_background_job(Work, "add", [1, 2])
    assert stored(direct) == [job.id]
    assert tries(direct) == 3


@pytest.mark.usefixtures("app")
def test_f47_after_five_more_tries_the_trouble_is_told_and_nothing_is_stored(direct: Engine) -> None:
    make_trouble(direct, "40001", times=100)
    with pytest.raises(DatabaseBusy, match="nothing was written: try again"):
        run_background_job(Work, "add", [1, 2])
    assert stored(direct) == []
    assert tries(direct) == 6


@pytest.mark.usefixtures("app")
def test_f47_what_does_not_pass_is_told_at_once(direct: Engine) -> None:
    make_trouble(direct, "53100", times=100)  # the disk is full
    with pytest.raises(Exception, match="trouble"):
        run_background_job(Work, "add", [1, 2])
    assert tries(direct) == 1


def test_f47_in_a_session_of_the_callers_nothing_is_tried_again(app: Flask, direct: Engine) -> None:
    make_trouble(direct, "40001", times=1)
    engine = create_engine(of(app).database.url)
    with Session(engine) as session, pytest.raises(DatabaseBusy):
        run_background_job(Work, "add", [1, 2], session=session)
    assert tries(direct) == 1
    engine.dispose()


@pytest.mark.usefixtures("app")
def test_f47_two_bulk_calls_that_deadlock_are_both_stored(direct: Engine) -> None:
    """A stranger holds the second key and then wants the first."""
    hold = "INSERT INTO bgapp_jobs (job_class, method, params, status, priority, queue, unique_key, retries, "
    hold += (
        "attempt_limit, backoff, backoff_fixed, created_at, run_at) VALUES ('x', 'y', '{}', 'pending', 0, 'default', "
    )
    hold += ":key, 0, 1, 1, true, now(), now())"
    jobs: list[Any] = []
    keyed = [{"job_class": Work, "method": "add", "params": [1, 2], "unique_key": key} for key in ("k1", "k2")]
    with direct.connect() as stranger:
        stranger.execute(text("SET deadlock_timeout = '30s'"))  # so that it is not the stranger who is given up
        stranger.execute(text(hold), {"key": "k2"})
        app_context = _copied_context(lambda: jobs.extend(run_background_jobs(keyed)))
        app_context.start()
        wait_for(lambda: _waits_for_a_lock(direct), "the helper to wait for the stranger")
        stranger.execute(text(hold), {"key": "k1"})  # ends once the helper's transaction was given up
        stranger.rollback()
    app_context.join()
    assert [job.created for job in jobs] == [True, True]
    assert stored(direct) == [job.id for job in jobs]


def _copied_context(work: Callable[[], object]) -> threading.Thread:
    """Return a thread that stands in this test's application context."""
    from flask import current_app

    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # LocalProxy

    def in_context() -> None:
        with app.app_context():
            work()

    return threading.Thread(target=in_context)


def _waits_for_a_lock(direct: Engine) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with direct.connect() as connection:
        return bool(connection.execute(text(asked)).scalar())


# A server that is cut off, full, or down -----------------------------------------------------------------------


def test_f34_a_server_that_swallows_everything_is_given_up(proxy: Proxy, postgres_database: str) -> None:
    """The server's own limits cannot end a statement whose connection is cut off."""
    database = Database(proxy.url(postgres_database), wait=0.1)
    with pytest.raises(DatabaseAway, match=r"did not answer within 1\.1 s"), database.read() as connection:
        proxy.drop()
        connection.execute(text("SELECT 1"))
    with pytest.raises(DatabaseAway), database.read() as connection:
        pass
    proxy.heal()
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.dispose()


@pytest.mark.usefixtures("app")
def test_f45_a_job_is_stored_when_the_server_comes_back_within_seconds(proxy: Proxy, direct: Engine) -> None:
    proxy.refuse()
    back = threading.Timer(0.5, proxy.heal)
    back.start()
    job = run_background_job(Work, "add", [1, 2])
    back.join()
    assert stored(direct) == [job.id]


@pytest.mark.long
def test_f45_a_longer_absence_is_told_by_helper_command_and_page(app: Flask, proxy: Proxy, direct: Engine) -> None:
    proxy.refuse()
    with pytest.raises(DatabaseAway, match="the database cannot be used"):
        run_background_job(Work, "add", [1, 2])
    done = app.test_cli_runner().invoke(args=["run-job", "Work", "add", "1", "2"])
    assert done.exit_code == 4
    answer = app.test_client().get("/health/ready")
    assert answer.status_code == 503
    proxy.heal()
    assert run_background_job(Work, "add", [1, 2])
    assert len(stored(direct)) == 1


@pytest.mark.long
def test_f47_jobs_are_stored_once_a_connection_is_free(server: Server, make_app: Callable[..., Flask]) -> None:
    engine = create_engine(server.url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ALTER SYSTEM SET max_connections = 5"))
        connection.execute(text("ALTER SYSTEM SET superuser_reserved_connections = 0"))
    engine.dispose()
    server.stop("fast")
    server.start()
    app = make_app(database_url=server.url)
    of(app).ready()
    of(app).database.dispose()
    with every_connection(server) as release, app.app_context():
        with pytest.raises(DatabaseAway, match="too many clients"):
            run_background_job(Work, "add", [1, 2])
        later = threading.Timer(0.5, release)
        later.start()
        assert run_background_job(Work, "add", [1, 2])
        later.join()


@contextmanager
def every_connection(server: Server) -> Iterator[Callable[[], None]]:
    """Take connections until the server has no more; yield what gives them back."""
    engine = create_engine(server.url, pool_size=20)
    held: list[Connection] = []
    with pytest.raises(OperationalError, match="too many clients"):
        while True:
            held.append(engine.connect())

    def release() -> None:
        engine.dispose()
        for one in held:
            one.invalidate()

    yield release
    release()


# Running jobs --------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.long
def test_f45_jobs_run_on_while_the_server_restarts(server: Server, make_site: Callable[..., Site]) -> None:
    site = make_site(database_url=server.url)
    site.start_app()
    through, over = site.note(6.0), site.note(1.5)  # one ends while there is no database
    for job in (through, over):
        site.wait_entered(job)
    server.stop()
    with site.app.test_client() as client:
        assert client.get("/health/ready").status_code == 503
        wait_for(lambda: site.ends(over.id), "the end of a job while there is no database")
        server.start()
        wait_for(lambda: client.get("/health/ready").status_code == 200, "the web's recovery")
    later = site.note()
    for job in (through, over, later):
        assert site.wait(job)["status"] == "completed"
        assert len(site.starts(job.id)) == 1, "it was not run again"
        assert site.job(job)["attempt"] == 1


@pytest.mark.process
@pytest.mark.parametrize("how", ["lost", "stored", "late"])
@pytest.mark.parametrize("written", ["INSERT INTO bgapp_attempts", "UPDATE bgapp_attempts"], ids=["claim", "outcome"])
@pytest.mark.long
def test_f46_a_runner_claims_and_records_once_when_its_connection_breaks_during_commit(
    make_site: Callable[..., Site], proxy: Proxy, postgres_database: str, written: str, how: str
) -> None:
    site = make_site(database_url=proxy.url(postgres_database), max_running=1)
    proxy.cut_commit(how, written.encode(), after=1.0)
    site.start_app()
    job = site.note()
    found = site.wait(job)
    assert proxy.cuts == 1
    assert (found["status"], found["attempt"], len(site.starts(job.id))) == ("completed", 1, 1)


@pytest.mark.process
@pytest.mark.long
def test_f47_a_locked_row_delays_an_outcome_and_invents_none(
    make_site: Callable[..., Site], postgres_database: str, direct: Engine
) -> None:
    site = make_site(database_url=postgres_database)
    site.start_app()
    job = site.note(0.5)
    site.wait_entered(job)
    with direct.connect() as stranger:
        stranger.execute(select(JOBS.c.id).where(JOBS.c.id == job.id).with_for_update())
        wait_for(lambda: site.ends(job.id), "the method's end")
        given_up = select(func.count()).select_from(text("pg_stat_activity")).where(text("wait_event_type = 'Lock'"))
        wait_for(lambda: _count(direct, given_up), "the runner to wait for the row")
        wait_for(lambda: not _count(direct, given_up), "the runner to be given up by the server")
        assert site.job(job)["status"] == "running"
        stranger.rollback()
    found = site.wait(job)
    assert (found["status"], found["attempt"]) == ("completed", 1)


def _count(direct: Engine, statement: Any) -> int:
    with direct.connect() as connection:
        return int(connection.execute(statement).scalar_one())
