"""Create and upgrade bgapp's tables by Alembic, under a lock, with a version table of its own.

An application, a command or a plain script upgrades on first use; a runner never does and refuses other versions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import column, select, table, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from bgapp import system
from bgapp.database import Database, translated
from bgapp.errors import DatabaseUnavailable, SchemaMismatch
from bgapp.failpoints import reach

HEAD = "0002"  # the newest migration; a test holds it to the migrations folder
VERSION_TABLE = "bgapp_schema_version"
MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x6267617070  # "bgapp", a number of our own for pg_advisory_xact_lock


def _is_missing_table(error: OperationalError | ProgrammingError) -> bool:
    return "no such table" in str(error.orig) or getattr(error.orig, "sqlstate", None) == "42P01"


def version(database: Database) -> str | None:
    """Return the database's migration, None where bgapp's tables were never made. Raises DatabaseUnavailable."""
    try:
        with database.read() as connection:
            return connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()
    except ProgrammingError as error:
        if _is_missing_table(error):
            return None
        raise
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, OperationalError) and _is_missing_table(error.__cause__):
            return None
        raise


def require(database: Database) -> None:
    """Raise SchemaMismatch unless the database is at this release's migration."""
    found = version(database)
    if found != HEAD:
        raise SchemaMismatch(
            f"the database's tables are at version {found or 'none'}, this bgapp needs {HEAD}: "
            "start the application once (it upgrades them), and let old and new releases not run side by side"
        )


def upgrade(database: Database) -> None:
    """Bring the tables to this release's migration; of several processes at once one does it, all come up.

    Raises SchemaMismatch where the database is newer than this release, DatabaseUnavailable where it cannot be used.
    """
    if database.file is not None:
        database.file.make()
    if version(database) == HEAD:
        return
    with _alone(database):
        found = version(database)
        if found == HEAD:
            return
        _run_migrations(database, found)


def _run_migrations(database: Database, found: str | None) -> None:
    # Loading Alembic takes a tenth of a second: only a process that must upgrade pays it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaMismatch(
            f"the database's tables are at version {found}, which this bgapp (up to {HEAD}) does not know: "
            "install the newer release that made them"
        )
    with translated(), database.engine.connect() as plain:
        config.attributes["connection"] = plain.execution_options(bgapp_writes=True)
        command.upgrade(config, "head")
        reach("migrated")


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Hold the upgrade lock: a file beside a SQLite database, an advisory lock in PostgreSQL."""
    if not database.is_sqlite:
        with translated(), database.engine.connect() as connection, connection.begin():
            for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET LOCAL {limit} = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            yield
        return
    path = Path(f"{database.url.database}.upgrade.lock")
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        lock = system.FileLock(path)
        lock.wait_exclusive()
    except OSError as error:
        raise DatabaseUnavailable(
            f"the folder of the database file {database.url.database} cannot be written: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        lock.release()
