"""The way into the database: its modes, its limits, what its troubles are called, and forks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from bgapp.database import Database, explain
from bgapp.errors import DatabaseBusy, DatabaseUnavailable
from bgapp.sqlitelibrary import sqlite_library
from bgapp.statements import JOBS
from tests import factories as make
from tests.conftest import ROOT

SECRET = "s3cret-word"
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
MakeDatabase = Callable[..., Database]


@pytest.fixture
def make_database(database_url: str) -> Iterator[MakeDatabase]:
    """A factory of ways into one database, or into the URL that is given."""
    made: list[Database] = []

    def new(url: str = database_url, **options: Any) -> Database:
        made.append(Database(url, **options))
        return made[-1]

    yield new
    for one in made:
        one.dispose()


def unavailable(database: Database) -> str:
    """Return what a person reads when neither reading nor writing works."""
    with pytest.raises(DatabaseUnavailable) as reading, database.read() as connection:
        connection.execute(text("SELECT 1"))
    with pytest.raises(DatabaseUnavailable) as writing, database.write():
        pass
    assert not isinstance(reading.value, DatabaseBusy)
    assert str(reading.value) == str(writing.value)
    assert "\n" not in str(writing.value)
    return str(writing.value)


# Transactions --------------------------------------------------------------------------------------------------


def test_a_write_is_committed_at_its_end_and_rolled_back_on_any_error(ready: Database) -> None:
    with ready.write() as connection:
        make.insert_job(connection)
    with pytest.raises(KeyboardInterrupt), ready.write() as connection:
        make.insert_job(connection)
        raise KeyboardInterrupt
    assert len(make.rows(ready)) == 1


def test_the_callers_own_errors_pass_through_unchanged(ready: Database) -> None:
    with pytest.raises(ZeroDivisionError), ready.write():
        raise ZeroDivisionError
    with pytest.raises(IntegrityError), ready.write() as connection:
        make.insert_job(connection, job_class=None)
    with pytest.raises((ProgrammingError, DatabaseUnavailable)), ready.read() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


def test_reading_sees_one_state_and_waits_for_no_writer(ready: Database) -> None:
    with ready.write() as writing:
        make.insert_job(writing)
        with ready.read() as reading:
            assert reading.execute(select(JOBS.c.id)).all() == []


def test_what_is_committed_is_seen_by_the_next_reader(ready: Database, make_database: MakeDatabase) -> None:
    other = make_database()
    make.add(ready)
    assert len(make.rows(other)) == 1
    make.add(other)
    assert len(make.rows(ready)) == 2


def test_the_databases_clock_goes_on_within_a_transaction(ready: Database) -> None:
    with ready.read() as connection:
        first = ready.clock(connection)
        second = ready.clock(connection)
    assert first.utcoffset() is not None
    assert first <= second


# SQLite's modes ------------------------------------------------------------------------------------------------


@only_sqlite
def test_a_write_transaction_takes_the_lock_before_it_writes(ready: Database, make_database: MakeDatabase) -> None:
    impatient = make_database(wait=0.05)
    with ready.write():  # nothing is written yet
        with pytest.raises(DatabaseBusy, match="another process is writing to the database.*try again"):
            make.add(impatient)
        with impatient.read() as connection:
            assert connection.execute(select(JOBS.c.id)).all() == []
    make.add(impatient)


@only_sqlite
def test_one_write_may_wait_less_than_the_others(ready: Database, make_database: MakeDatabase) -> None:
    patient = make_database(wait=3600.0)
    with ready.write(), pytest.raises(DatabaseBusy), patient.write(wait=0.01):
        pass
    with patient.write(wait=0.01) as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 3_600_000


@only_sqlite
def test_a_write_waits_for_another_to_end(ready: Database, make_database: MakeDatabase) -> None:
    patient = make_database(wait=30.0)
    done: list[int] = []
    writer = threading.Thread(target=lambda: done.append(make.add(patient)))
    with ready.write() as connection:
        make.insert_job(connection)
        writer.start()
        assert done == []
    writer.join()
    assert len(done) == 1
    assert len(make.rows(ready)) == 2


@only_sqlite
def test_two_readers_that_turn_to_writing_do_not_lock_each_other_out(ready: Database) -> None:
    """A deferred transaction that read an old state could never write; an immediate one always sees the newest."""
    job_id = make.add(ready)

    def count() -> None:
        for _ in range(25):
            with ready.write() as connection:
                seen = connection.execute(select(JOBS.c.attempt_limit).where(JOBS.c.id == job_id)).scalar_one()
                connection.execute(JOBS.update().where(JOBS.c.id == job_id).values(attempt_limit=seen + 1))

    before = make.row(ready, job_id).attempt_limit
    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.row(ready, job_id).attempt_limit == before + 100


@only_sqlite
@pytest.mark.parametrize(("sync", "number"), [("full", 2), ("normal", 1), ("off", 0)])
def test_the_modes_of_an_sqlite_connection(
    ready: Database, make_database: MakeDatabase, sync: str, number: int
) -> None:
    assert make.rows(ready) == []
    with make_database(sync=sync).read() as connection:

        def pragma(name: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

        assert (pragma("journal_mode"), pragma("synchronous"), pragma("foreign_keys")) == ("wal", number, 1)


@only_sqlite
def test_the_database_file_and_its_log_are_private(ready: Database) -> None:
    with ready.write() as connection:
        make.insert_job(connection)
        file = Path(ready.url.database or "")
        found = list(file.parent.glob(f"{file.name}*"))
        assert [path.name for path in found if path.stat().st_mode & 0o077] == []
    assert len(found) >= 2


def test_the_sqlite_library_is_a_current_one() -> None:
    assert sqlite_library().sqlite_version_info >= (3, 35), "RETURNING came with 3.35"


# PostgreSQL's limits -------------------------------------------------------------------------------------------


@only_postgres
def test_the_limits_of_a_postgresql_connection(make_database: MakeDatabase) -> None:
    with make_database(wait=2.0).read() as connection:

        def show(name: str) -> object:
            return connection.execute(text(f"SHOW {name}")).scalar()

        assert (show("statement_timeout"), show("lock_timeout")) == ("2s", "2s")
        assert show("idle_in_transaction_session_timeout") == "1min"
        assert show("transaction_isolation") == "read committed"


@only_postgres
def test_a_row_that_another_holds_is_told_as_busy(ready: Database, make_database: MakeDatabase) -> None:
    job_id = make.add(ready)
    impatient = make_database(wait=0.2)
    with ready.write() as holder:
        holder.execute(select(JOBS.c.id).where(JOBS.c.id == job_id).with_for_update())
        with pytest.raises(DatabaseBusy), impatient.write() as connection:
            connection.execute(select(JOBS.c.id).where(JOBS.c.id == job_id).with_for_update())


@only_postgres
def test_a_server_that_ended_our_connection_is_asked_again(ready: Database, make_database: MakeDatabase) -> None:
    with ready.read() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with make_database().write() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend})
    make.add(ready)


# Troubles ------------------------------------------------------------------------------------------------------


@only_sqlite
def test_a_missing_file_is_told_and_not_made(make_database: MakeDatabase, tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "jobs.sqlite"
    assert f"there is no database file {file}" in unavailable(make_database(f"sqlite:///{file}"))
    assert list(tmp_path.iterdir()) == []


@only_sqlite
def test_a_folder_in_the_files_place_is_told(make_database: MakeDatabase, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "cannot be opened" in unavailable(make_database(f"sqlite:///{tmp_path / 'folder'}"))


@only_sqlite
def test_a_file_that_is_only_readable_is_told_at_the_first_write(
    ready: Database, make_database: MakeDatabase, tmp_path: Path
) -> None:
    reader = make_database(f"sqlite:///file:{ready.url.database}?mode=ro&uri=true")
    assert make.rows(reader) == []
    with pytest.raises(DatabaseUnavailable, match="cannot be opened for writing .*readonly.*check its path"):
        make.add(reader)


@only_sqlite
def test_a_file_that_is_no_database_is_told(make_database: MakeDatabase, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear reader, " * 500)
    assert "damaged (file is not a database)" in unavailable(make_database(f"sqlite:///{tmp_path / 'letter'}"))


@pytest.mark.parametrize(
    "address",
    [f"guest:{SECRET}@127.0.0.1:1/jobs", f"guest:{SECRET}@/jobs?host=/nonexistent"],
    ids=["nobody listens", "no socket"],
)
def test_a_server_that_is_away_is_told_without_the_password(address: str) -> None:
    database = Database(f"postgresql+psycopg://{address}")
    said = unavailable(database)
    database.dispose()
    assert said.startswith("the database cannot be used: ")
    assert SECRET not in said + repr(database)


@only_postgres
def test_a_wrong_password_is_told_without_it(database_url: str, postgres_url: str, make_database: MakeDatabase) -> None:
    """The test's server trusts everyone, so a rule for one user is put before that."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        rules = Path(str(connection.execute(text("SHOW hba_file")).scalar()))
        before = rules.read_text()
        connection.execute(text(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'"))
        try:
            rules.write_text(f"local all guarded scram-sha-256\n{before}")
            connection.execute(text("SELECT pg_reload_conf()"))
            url = make_url(database_url).set(username="guarded", password=f"{SECRET}-wrong")
            said = unavailable(make_database(url))
        finally:
            rules.write_text(before)
            connection.execute(text("DROP ROLE guarded"))
            connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()
    assert 'password authentication failed for user "guarded"' in said
    assert SECRET not in said


@only_postgres
def test_a_missing_database_is_told(database_url: str, make_database: MakeDatabase) -> None:
    said = unavailable(make_database(make_url(database_url).set(database="nowhere")))
    assert 'database "nowhere" does not exist' in said


def test_an_error_without_a_word_is_told_by_its_kind() -> None:
    assert str(explain(OperationalError("SELECT 1", {}, Exception()))).startswith("the database cannot be used: ")


def test_a_password_stays_out_of_the_object_as_well() -> None:
    assert SECRET not in repr(Database(f"postgresql+psycopg://guest:{SECRET}@host/jobs"))


# Forks ---------------------------------------------------------------------------------------------------------

FORK = """
import json, os, sys
from sqlalchemy import select, text
from bgapp.database import Database
from bgapp.sqlitelibrary import sqlite_library
from bgapp.statements import JOBS
from tests import factories as make

database = Database(sys.argv[1])

def look():
    with database.write() as connection:
        make.insert_job(connection)
        driver = connection.connection.dbapi_connection
        name = None if database.is_sqlite else connection.execute(text("SELECT pg_backend_pid()")).scalar()
        return len(connection.execute(select(JOBS.c.id)).all()), id(driver), name

held = database.engine.connect()  # one connection is in use, one rests in the pool
before = look()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    idle = database.engine.pool.checkedin()
    os.write(writing, json.dumps([idle, look()]).encode())
    os._exit(0)
os.waitpid(child, 0)
idle, inside = json.loads(os.read(reading, 4096))
after = look()
held.execute(text("SELECT 1"))
print(json.dumps({"idle": idle, "counts": [before[0], inside[0], after[0]], "names": [before[2], inside[2], after[2]]}))
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_has_connections_of_its_own(ready: Database, database_url: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, database_url], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["idle"] == 0, "the parent's resting connections are not the child's"
    assert found["counts"] == [1, 2, 3]
    before, inside, after = found["names"]
    assert before == after, "the parent goes on with its own"
    if not ready.is_sqlite:
        assert inside not in (None, before)
