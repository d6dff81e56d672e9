"""One engine per process, what differs between SQLite and PostgreSQL, and the one transaction scope.

SQLite: write-ahead log, every write transaction begins immediate (a deferred one that turns to writing fails at
once, whatever the timeout), short waits told by the caller, a look at the file around each transaction.
PostgreSQL: READ COMMITTED, timeouts on every statement and lock, no lock that outlives its transaction.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError

from bgapp import clock, postgres
from bgapp.databasefile import KEPT_LOG, DatabaseFile
from bgapp.errors import DatabaseAway, DatabaseBusy, DatabaseUnavailable
from bgapp.models import UtcDateTime
from bgapp.sqlitelibrary import NO_CHECKPOINTS, is_fixed, sqlite_library

SQLITE_WAIT = 5.0  # seconds a write waits for another's transaction: a request lasts no longer; a poll loop far less
CLOCK = select(func.clock_timestamp(type_=UtcDateTime()))
CHECKPOINT_AT = 4 * 1024 * 1024  # bytes of log: as much as SQLite's own 1000 pages
SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL", "off": "OFF"}

READ_WRITE = {"mode": "rw", "uri": "true"}

_open: weakref.WeakSet[Database] = weakref.WeakSet()


class _WithIndexNames(SQLiteCompiler):
    """SQLAlchemy's compiler, which leaves out hints for SQLite; SQLite has one: INDEXED BY."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


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
        accept: Callable[[Database], None] | None = None,
    ) -> None:
        """`wait` is in seconds. `accept` raises DatabaseUnavailable for another SQLite file that took the place of ours
        and must not be used; without it none is."""
        self.url = make_url(url)
        self.sync = sync
        self.wait = wait
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._dbapi = dbapi
        self._connections = connections
        self._accept = accept
        self._exchange = threading.Lock()
        self._checkpoints = False  # whether this process must copy the write-ahead log itself
        self._engine: Engine | None = None
        self._has_connections = False  # whether this process made any that it has not disposed of
        path = self.url.database if self.is_sqlite else None
        # None too for a URI, whose own options say how the file is opened.
        self.file = None if path is None or path.startswith("file:") else DatabaseFile(Path(path).absolute())
        _open.add(self)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            engine = (
                self._create_sqlite() if self.is_sqlite else postgres.create(self.url, self.wait, self._connections)
            )
            event.listen(engine, "connect", self._note_connection)
            self._engine = engine
        return self._engine

    def _note_connection(self, _connection: object, _record: object) -> None:
        self._has_connections = True

    def _create_sqlite(self) -> Engine:
        wait = SQLITE_WAIT if self.wait is None else self.wait
        library = self._dbapi or sqlite_library()
        keeps_commits = is_fixed(library.sqlite_version_info)
        # An address with mode=rw: SQLite itself would make a new, empty file where ours is gone.
        url = self.url if self.file is None else self.url.set(database=self.file.path.as_uri(), query=READ_WRITE)
        engine = create_engine(
            url,
            module=library,
            connect_args={"timeout": wait, "isolation_level": None, "check_same_thread": False},
            pool_size=self._connections,
            max_overflow=20,
        )
        engine.dialect.statement_compiler = _WithIndexNames

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _record: object) -> None:
            if self.file is not None:
                self.file.note_opened()
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[self.sync]}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {KEPT_LOG}")
            if not keeps_commits:
                connection.execute(NO_CHECKPOINTS)
            if self.file is not None:
                self.file.note_log()

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            options = connection.get_execution_options()
            shorter = options.get("bgapp_wait")
            if shorter is not None:
                _set_wait(connection, shorter)
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("bgapp_writes") else "BEGIN")
            finally:
                if shorter is not None:
                    _set_wait(connection, wait)

        self._checkpoints = not keeps_commits and self.file is not None
        return engine

    @contextmanager
    def write(self, *, wait: float | None = None) -> Iterator[Connection]:
        """Run one short write transaction: committed at the end, rolled back on any error.

        With `wait`, in seconds, SQLite's lock is not waited for as long as usual.

        Raises DatabaseBusy where another process kept the write lock, DatabaseUnavailable for other trouble.
        """
        self._look_at_file()
        with translated(), self.engine.connect() as plain:
            connection = plain.execution_options(bgapp_writes=True, bgapp_wait=wait)
            with connection.begin():
                yield connection
        if self.file is not None:
            self.file.require_same()
            if self._checkpoints and self.file.log_size() > CHECKPOINT_AT:
                self._checkpoint()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run reads that see one state of the database. Raises DatabaseUnavailable."""
        self._look_at_file()
        with translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    def _look_at_file(self) -> None:
        """Go over to another file that took the place of ours, if it may be used. Raises DatabaseUnavailable."""
        if self.file is None or not self.file.is_exchanged():
            return
        with self._exchange:
            if not self.file.is_exchanged():
                return  # another thread did it
            self.file.refuse_old_log()
            if self._accept is None:
                raise self.file.not_taken("this process holds the old one")
            new = Database(self.url, sync=self.sync, wait=self.wait, dbapi=self._dbapi, connections=1)
            assert new.file is not None
            try:
                self._accept(new)
            except DatabaseUnavailable as error:
                raise self.file.not_taken(str(error)) from error
            finally:
                new.dispose()
            self.dispose()
            self.file = new.file

    def _checkpoint(self) -> None:
        """Copy the write-ahead log into the database, so that it begins anew; not where somebody writes just now.

        Only for a SQLite library whose own checkpoints are not safe, see `sqlitelibrary`: the write lock is held
        meanwhile, so nobody's commit can begin the log anew.
        """
        try:
            with translated(), self.engine.connect() as plain, plain.execution_options(bgapp_writes=True).begin():
                copying = self.engine.raw_connection()
                try:
                    copying.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
                finally:
                    copying.close()
        except DatabaseUnavailable:  # the caller's commit has succeeded; a later one tries again
            return

    def clock(self, connection: Connection) -> datetime:
        """Return the time by which all processes of this database judge what is due: its own on PostgreSQL,
        where several machines meet, this machine's on SQLite."""
        if self.is_sqlite:
            return clock.now()
        return connection.execute(CLOCK).scalar_one()

    def dispose(self) -> None:
        """Close every connection."""
        self._has_connections = False  # first, so that one which another thread makes meanwhile counts
        if self._engine is not None:
            self._engine.dispose()

    def forget_connections(self) -> None:
        """Drop connections that belong to the parent of this forked process, without touching them."""
        self._exchange = threading.Lock()
        if self._engine is not None and self._has_connections:  # a child of the forker has none, and each page counts
            self._engine.dispose(close=False)
        self._has_connections = False


def _set_wait(connection: Connection, wait: float) -> None:
    connection.connection.cursor().execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")


def dispose_all() -> None:
    """Close every connection of every database in this process."""
    for database in list(_open):
        database.dispose()


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
    if "locked" in text or "locking protocol" in text:
        return DatabaseBusy("another process is writing to the database and did not finish in time: try again")
    if "unable to open database file" in text or "readonly database" in text:
        return DatabaseUnavailable(
            f"the database file cannot be opened for writing ({text}): check its path, its owner and its mode"
        )
    if "disk is full" in text:
        return DatabaseUnavailable("the disk of the database is full, nothing was written: make room, then try again")
    if "malformed" in text or "not a database" in text:
        return DatabaseUnavailable(f"the database file is damaged ({text}): put a backup in its place")
    return DatabaseUnavailable(f"the database cannot be used: {text}")


def _explain_postgres(state: str | None, text: str) -> DatabaseUnavailable:
    if state in postgres.TRY_AGAIN:
        return DatabaseBusy(f"the database did not finish in time, nothing was written: try again ({text})")
    if postgres.is_away(state):
        return DatabaseAway(f"the database cannot be used: {text}")
    return DatabaseUnavailable(f"the database cannot be used: {text}")
