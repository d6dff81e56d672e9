"""What is needed of the caller's own SQLAlchemy session: its connection, its commit, and whether it holds a lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app
from sqlalchemy import Connection, event, inspect
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, scoped_session

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
        connection = plain.connection()
        if not inspect(connection).has_table(Job.__tablename__):
            raise BadOption(
                f"the session's database has no table {Job.__tablename__}: pass a session on {database!r}", "session"
            )
        yield connection
    except OperationalError as error:
        raise explain(error) from error


def after_commit(session: Any, action: Callable[[], None]) -> None:
    """Call `action` once the caller's transaction has committed, and never where it is rolled back."""
    plain = _plain(session)

    def committed(_session: Session) -> None:
        if not plain.in_nested_transaction():
            forget()
            action()

    def rolled_back(_session: Session, previous: Any) -> None:
        if not previous.nested:
            forget()

    def forget() -> None:
        event.remove(plain, "after_commit", committed)
        event.remove(plain, "after_soft_rollback", rolled_back)

    event.listen(plain, "after_commit", committed)
    event.listen(plain, "after_soft_rollback", rolled_back)


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
