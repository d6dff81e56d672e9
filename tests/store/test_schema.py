"""The tables: upgraded and declared are the same, many upgrade at once, and a crash in the midst leaves nothing."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text, update
from sqlalchemy.engine import make_url

from bgapp import accountmodels, schema
from bgapp.database import Database
from bgapp.errors import BgappError, DatabaseUnavailable, SchemaMismatch
from bgapp.models import Base
from bgapp.statements import JOBS
from tests import factories as make
from tests.conftest import ROOT

assert accountmodels.UserRow.metadata is Base.metadata  # so the migrations make what is declared there too


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    """A database without any table."""
    found = Database(database_url, wait=30.0)
    if found.file is not None:
        found.file.make()
    yield found
    found.dispose()


def tables(database: Database) -> set[str]:
    with database.read() as connection:
        return {name for name in inspect(connection).get_table_names() if name.startswith("bgapp_")}


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    return ScriptDirectory.from_config(config)


# Upgraded is what is declared ----------------------------------------------------------------------------------


def test_head_is_the_newest_migration_and_there_is_one() -> None:
    assert scripts().get_heads() == [schema.HEAD]
    assert scripts().get_bases() == ["0001"]


def test_migrations_are_named_by_their_number() -> None:
    found = {script.revision: Path(script.path).name for script in scripts().walk_revisions()}
    assert sorted(found) == [f"{number:04}" for number in range(1, len(found) + 1)]
    assert all(name.startswith(f"{revision}_") for revision, name in found.items())


def test_alembic_finds_no_difference_between_the_upgraded_tables_and_the_models(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_object": is_compared,
                "version_table": schema.VERSION_TABLE,
            },
        )
        assert compare_metadata(context, Base.metadata) == []


def is_compared(_: object, name: str | None, kind: str, reflected: bool, __: object) -> bool:
    # Alembic cannot read back an index on an expression (priority DESC) from SQLite; the next test compares it too.
    return not (kind == "index" and name == "ix_bgapp_jobs_pending")


def test_every_definition_in_the_catalogue_is_as_if_made_from_the_models(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Types, defaults, checks, keys, and indexes with their order and their WHERE, as the database itself says them."""
    with database.read() as connection:
        upgraded = catalogue(connection, "public")
    if database.is_sqlite:
        fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
        assert fresh.file is not None
        fresh.file.make()
        with fresh.write() as connection:
            Base.metadata.create_all(connection)
            declared = catalogue(connection, "")
        fresh.dispose()
    else:
        with database.write() as connection:
            connection.execute(text("CREATE SCHEMA fresh"))
            Base.metadata.create_all(connection.execution_options(schema_translate_map={None: "fresh"}))
            declared = catalogue(connection, "fresh")
    assert upgraded == declared
    assert any("priority DESC" in line for line in declared)
    assert any("ck_bgapp_jobs_attempt" in line for line in declared)


def catalogue(connection: Connection, schema_name: str) -> list[str]:
    """Return every line of definition, sorted, so that the order of making does not count."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("SELECT sql FROM sqlite_master WHERE tbl_name LIKE 'bgapp_%' AND sql NOT NULL"))
        lines = [line for sql in found.scalars() if schema.VERSION_TABLE not in sql for line in sql.splitlines()]
        return sorted(re.sub(r"\s+", " ", line).strip(" ,") for line in lines)
    names = {"schema": schema_name, "version": schema.VERSION_TABLE}
    queries = (
        "SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, is_nullable,"
        " column_default, is_identity) FROM information_schema.columns"
        " WHERE table_schema = :schema AND table_name LIKE 'bgapp_%' AND table_name <> :version",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = :schema AND tablename <> :version",
        "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)"
        " FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace"
        " WHERE nspname = :schema AND conrelid::regclass::text NOT LIKE '%' || :version",
    )
    lines = [line for query in queries for line in connection.execute(text(query), names).scalars()]
    return sorted(line.replace(f"{schema_name}.", "") for line in lines)


# Upgrading -----------------------------------------------------------------------------------------------------


def test_an_upgrade_makes_all_tables_and_a_second_one_changes_nothing(empty: Database) -> None:
    assert schema.version(empty) is None
    schema.upgrade(empty)
    assert tables(empty) == {*Base.metadata.tables, schema.VERSION_TABLE}
    assert schema.version(empty) == schema.HEAD
    job = make.add(empty)
    schema.upgrade(empty)
    assert [row["id"] for row in make.rows(empty)] == [job]
    schema.require(empty)


def test_an_upgrade_leaves_the_hosts_own_tables_and_alembic_alone(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(text("CREATE TABLE orders (n INTEGER)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('host')"))
    schema.upgrade(empty)
    with empty.read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "host"
        assert "orders" in inspect(connection).get_table_names()


def test_jobs_survive_the_upgrade_from_every_older_release(empty: Database) -> None:
    from alembic import command

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    for revision in reversed([script.revision for script in scripts().walk_revisions()]):
        with empty.engine.connect() as plain:
            config.attributes["connection"] = plain.execution_options(bgapp_writes=True)
            command.upgrade(config, revision)
        if revision == "0001":
            job = make.add(empty, unique_key="kept")
    schema.require(empty)
    assert make.row(empty, job).unique_key == "kept"


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_cannot_hold_the_file_is_told_as_an_unavailable_database(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("no folder")
    database = Database(f"sqlite:///{tmp_path / folder / 'jobs.sqlite'}")
    with pytest.raises(DatabaseUnavailable, match="the database file cannot be opened.*check its path"):
        schema.upgrade(database)
    database.dispose()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_percent_sign_in_the_path_is_no_hindrance(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / '100% %(here)s.sqlite'}")
    schema.upgrade(database)
    schema.require(database)
    database.dispose()


def test_an_upgrade_touches_nobodys_logging(empty: Database) -> None:
    mine = logging.getLogger("shop.orders")
    before = list(logging.root.handlers), logging.root.level, mine.handlers[:], mine.level, mine.propagate
    schema.upgrade(empty)
    assert (list(logging.root.handlers), logging.root.level, mine.handlers, mine.level, mine.propagate) == before
    for name in ("shop.orders", "bgapp", "sqlalchemy.engine", "alembic.runtime.migration"):
        assert not logging.getLogger(name).disabled


# Versions that do not fit --------------------------------------------------------------------------------------


def set_version(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = :version"), {"version": version})


def test_tables_of_a_newer_release_are_refused_and_left_alone(database: Database) -> None:
    set_version(database, "9999")
    with pytest.raises(SchemaMismatch, match=f"version 9999, which this bgapp .up to {schema.HEAD}. does not know"):
        schema.upgrade(database)
    assert schema.version(database) == "9999"
    with pytest.raises(SchemaMismatch, match=f"version 9999, this bgapp needs {schema.HEAD}"):
        schema.require(database)


def test_a_runner_makes_no_tables_and_refuses_to_work_without(empty: Database) -> None:
    with pytest.raises(SchemaMismatch, match="version none") as caught:
        schema.require(empty)
    assert isinstance(caught.value, BgappError)
    assert tables(empty) == set()


def test_a_runner_refuses_tables_of_an_older_release(database: Database) -> None:
    set_version(database, "0000")
    with pytest.raises(SchemaMismatch, match="start the application once"):
        schema.require(database)


# Real processes ------------------------------------------------------------------------------------------------

UPGRADE = """
import sys
from bgapp import schema
from bgapp.database import Database
database = Database(sys.argv[1], wait=30.0)
print("ready", flush=True)
sys.stdin.readline()
schema.upgrade(database)
schema.require(database)
print("up")
"""

# The process kills itself just before the statement that is counted as the given one.
DIE = """
import os, signal, sys
from sqlalchemy import event
from bgapp import schema
from bgapp.database import Database
database = Database(sys.argv[1])
left = int(sys.argv[2])

@event.listens_for(database.engine, "before_cursor_execute")
def count(connection, cursor, statement, parameters, context, executemany):
    global left
    if statement.lstrip().upper().startswith(("CREATE", "INSERT", "UPDATE")):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

schema.upgrade(database)
print("up")
"""


def start(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.process
def test_eight_processes_upgrade_an_empty_database_at_once_and_all_come_up(empty: Database, database_url: str) -> None:
    processes = [start(UPGRADE, database_url) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == ["up\n"] * 8
    assert [process.returncode for process in processes] == [0] * 8
    schema.require(empty)


@pytest.mark.process
@pytest.mark.parametrize("statement", [2, 5, 9, 14])
def test_a_crash_in_the_midst_of_an_upgrade_leaves_nothing_behind(
    empty: Database, database_url: str, statement: int
) -> None:
    process = start(DIE, database_url, str(statement))
    assert process.communicate()[0] == ""
    assert process.returncode == -9
    assert (tables(empty), schema.version(empty)) == (set(), None)
    schema.upgrade(empty)
    schema.require(empty)


def test_a_bare_url_and_a_url_object_mean_the_same(database_url: str) -> None:
    assert Database(database_url).url == Database(make_url(database_url)).url


def test_the_tables_hold_what_job_code_may_give(ready: Database) -> None:
    """Any text that JSON can hold, four-byte characters and the longest result among it."""
    value: dict[str, Any] = {"text": "naïve \U0001f600 \u2028 \x01", "long": "x" * 300_000}
    job = make.add(ready, params=json.dumps(value, ensure_ascii=False))
    with ready.write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job).values(result=json.dumps(value)))
    row = make.row(ready, job)
    assert json.loads(row.params) == json.loads(row.result) == value
