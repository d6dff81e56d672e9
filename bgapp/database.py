"""One engine per process, what differs between SQLite and PostgreSQL, and the one transaction scope.

SQLite: write-ahead log, every write transaction begins immediate (a deferred one that turns to writing fails at
once, whatever the timeout), short waits told by the caller. PostgreSQL: READ COMMITTED, timeouts on every
statement and lock, no lock that outlives its transaction.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError

from bgapp import clock, postgres, system
from bgapp.errors import DatabaseAway, DatabaseBusy, DatabaseUnavailable
from bgapp.models import UtcDateTime

SQLITE_WAIT = 10.0  # seconds a write waits for another's transaction; a runner's poll loop waits far less
CLOCK = select(func.clock_timestamp(type_=UtcDateTime()))
SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL", "off": "OFF"}

_open: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The store's engine, opened on first use; a forked process gets connections of its own."""

    def __init__(
        self,
        url: str | URL,
        *,
        sync: str = "full",
        wait: float | None = None,
        dbapi: ModuleType | None = None,
        connections: int = 5,
    ) -> None:
        self.url = make_url(url)
        self.sync = sync
        self.wait = wait
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._dbapi = dbapi
        self._connections = connections
        self._engine: Engine | None = None
        _open.add(self)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = (
                self._create_sqlite() if self.is_sqlite else postgres.create(self.url, self.wait, self._connections)
            )
        return self._engine

    def _create_sqlite(self) -> Engine:
        _make_private(self.url.database)
        wait = SQLITE_WAIT if self.wait is None else self.wait
        engine = create_engine(
            self.url,
            module=self._dbapi or sqlite_library(),
            connect_args={"timeout": wait, "isolation_level": None, "check_same_thread": False},
            pool_size=self._connections,
            max_overflow=20,
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[self.sync]}")
            connection.execute("PRAGMA foreign_keys = ON")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("bgapp_writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one short write transaction: committed at the end, rolled back on any error.

        Raises DatabaseBusy where another process kept the write lock, DatabaseUnavailable for other trouble.
        """
        with translated(), self.engine.connect() as plain:
            connection = plain.execution_options(bgapp_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run reads that see one state of the database. Raises DatabaseUnavailable."""
        with translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    def clock(self, connection: Connection) -> datetime:
        """Return the time by which all processes of this database judge what is due: its own on PostgreSQL,
        where several machines meet, this machine's on SQLite."""
        if self.is_sqlite:
            return clock.now()
        return connection.execute(CLOCK).scalar_one()

    def dispose(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()

    def forget_connections(self) -> None:
        """Drop connections that belong to the parent of this forked process, without touching them."""
        if self._engine is not None:
            self._engine.dispose(close=False)


def _make_private(file: str | None) -> None:
    """Create the database file readable by its owner alone; SQLite gives its log files the same mode."""
    if file is None or os.path.exists(file):
        return
    try:
        os.close(system.open_private(Path(file), os.O_RDWR | os.O_CREAT))
    except OSError:  # the connection that follows tells it in SQLite's words
        return


def _forget_all() -> None:
    for database in list(_open):
        database.forget_connections()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into bgapp's, with words and without the password."""
    try:
        yield
    except DBAPIError as error:
        if type(error) in (OperationalError, InterfaceError, DatabaseError):
            raise explain(error) from error
        raise  # broken rules and broken statements: its subclasses


def explain(error: DBAPIError) -> DatabaseUnavailable:
    """Return what a driver's error means for the person who reads it."""
    text = str(error.orig).strip().partition("\n")[0] or type(error.orig).__name__
    if hasattr(error.orig, "sqlstate"):
        return _explain_postgres(error.orig.sqlstate, text)  # type: ignore[union-attr] # None has no such attribute
    if "database is locked" in text or "database table is locked" in text:
        return DatabaseBusy("another process is writing to the database and did not finish in time: try again")
    if "unable to open database file" in text or "readonly database" in text:
        return DatabaseUnavailable(
            f"the database file cannot be opened for writing ({text}): check its path, its owner and its mode"
        )
    return DatabaseUnavailable(f"the database cannot be used: {text}")


def _explain_postgres(state: str | None, text: str) -> DatabaseUnavailable:
    if state in postgres.TRY_AGAIN:
        return DatabaseBusy(f"the database did not finish in time, nothing was written: try again ({text})")
    if postgres.is_away(state):
        return DatabaseAway(f"the database cannot be used: {text}")
    return DatabaseUnavailable(f"the database cannot be used: {text}")


def sqlite_library() -> ModuleType:
    """Return the SQLite module to use: pysqlite3's, which carries a current SQLite, else Python's own.

    Several SQLite versions before 3.51.3 can lose commits when a write-ahead log is reset under a reader
    (https://sqlite.org/wal.html, "the WAL-reset bug"), and distributions still link them.
    """
    try:
        from pysqlite3 import dbapi2
    except ImportError:  # no wheel for this platform
        return sqlite3
    return dbapi2  # type: ignore[no-any-return] # the package has no types
