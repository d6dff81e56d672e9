"""What is needed of the caller's own SQLAlchemy session: its connection, its commit, and whether it holds a lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app
from sqlalchemy import Connection, event, inspect
from sqlalchemy.exc import OperationalError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from bgapp.database import Database, explain
from bgapp.errors import BadOption, DatabaseBusy
from bgapp.models import Job


def _plain(session: Any) -> Session:
    found = session() if isinstance(session, scoped_session) else session
    if not isinstance(found, Session):
        raise BadOption(f"session is a SQLAlchemy Session, not a {type(session).__name__}", "session")
    return found


@contextmanager
def connection_of(session: Any, database: Database) -> Iterator[Connection]:
    """Yield the connection of the caller's transaction, to add a job to it.

    Raises BadOption where that session uses another database, DatabaseBusy where its lock cannot be had.
    """
    plain = _plain(session)
    try:
        connection = _own(plain)
        if not _is_of(connection, database) or not inspect(connection).has_table(Job.__tablename__):
            raise BadOption(f"the session uses another database than bgapp: pass a session on {database!r}", "session")
        yield connection
    except OperationalError as error:
        raise explain(error) from error


def _own(session: Session) -> Connection:
    try:
        return session.connection()
    except UnboundExecutionError as error:
        raise BadOption(
            "the session has no database of its own: pass one that is bound to bgapp's", "session"
        ) from error


def _is_of(connection: Connection, database: Database) -> bool:
    """Return whether a connection is to our SQLite file; elsewhere the table must tell."""
    if not database.is_sqlite or connection.dialect.name != "sqlite":
        return connection.dialect.name == database.url.get_backend_name()
    theirs = connection.exec_driver_sql("PRAGMA database_list").first()
    return theirs is not None and os.path.realpath(theirs[2]) == os.path.realpath(database.url.database or "")


_WAITING, _COMMITTED = "bgapp.waiting", "bgapp.committed"  # in the session's own `info`


def after_commit(session: Any, action: Callable[[], None]) -> None:
    """Call `action` once the caller's transaction has committed, and never where that, or a savepoint around this
    call, is rolled back. The session can be used again by then."""
    plain = _plain(session)
    if _WAITING not in plain.info:
        plain.info[_WAITING] = []
        event.listen(plain, "after_commit", _committed)
        event.listen(plain, "after_soft_rollback", _rolled_back)
        event.listen(plain, "after_transaction_end", _ended)
    around, level = [], plain.get_nested_transaction() or plain.get_transaction()
    while level is not None:
        around.append(level)
        level = level.parent
    plain.info[_WAITING].append((around, action))


def _committed(session: Session) -> None:
    session.info[_COMMITTED] = not session.in_nested_transaction()


def _rolled_back(session: Session, previous: SessionTransaction) -> None:
    session.info[_WAITING] = [one for one in session.info[_WAITING] if previous not in one[0]]


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    committed = session.info.pop(_COMMITTED, False)
    waiting, session.info[_WAITING] = session.info[_WAITING], []
    if committed:  # else it was closed without an end, which rolls back as well
        for _, action in waiting:
            action()


def refuse_self_lock(database: Database) -> None:
    """Raise DatabaseBusy where this application's own session has an open write transaction on the same SQLite file.

    The helper's transaction would wait for it until the timeout, and it for the helper to return.
    """
    extension = current_app.extensions.get("sqlalchemy") if current_app and database.is_sqlite else None
    session = getattr(extension, "session", None)
    if session is None or not session.registry.has() or not session().in_transaction():
        return
    bind = session().get_bind()
    if bind.dialect.name != "sqlite" or bind.url.database != database.url.database:
        return
    driver = session().connection().connection.dbapi_connection
    if getattr(driver, "in_transaction", False):
        raise DatabaseBusy(
            "your db.session has uncommitted changes in the same SQLite file, so the job cannot be stored beside them: "
            "pass session=db.session, or commit first"
        )
