"""Do a piece of work on the database again where its trouble passes by itself: one loop, for all who ask or look.

Only on PostgreSQL, whose server may restart, be cut off or give up a transaction for another's sake; SQLite's one
trouble is a held lock, for which its connections wait themselves. Never around a caller's own transaction.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from bgapp import clock, postgres
from bgapp.database import Database
from bgapp.errors import CommitUnknown, DatabaseAway, DatabaseBusy, DatabaseUnavailable

Value = TypeVar("Value")

TRIES = 6
FIRST_PAUSE = 0.1  # seconds, doubling; a random half of it is left out, so that many do not come back at once
PATIENCE = 5.0  # seconds in which a further try may begin
LOOK = 5.0  # seconds for finding out what became of a COMMIT that was not answered


def write(database: Database, work: Callable[[Connection], Value], what: Callable[[Value], str]) -> Value:
    """Run `work` in a write transaction of its own and commit it, exactly once whatever becomes of the connection.

    `what` names what was written, for the person who must be told that its fate is not known. Raises
    DatabaseUnavailable where nothing was written, CommitUnknown where nobody can tell.
    """
    return until_done(database, lambda: _commit_once(database, work, what))


def read(database: Database, work: Callable[[Connection], Value]) -> Value:
    """Run `work` on one state of the database. Raises DatabaseUnavailable."""

    def look() -> Value:
        with database.read() as connection:
            return work(connection)

    return until_done(database, look)


def until_done(database: Database, work: Callable[[], Value]) -> Value:
    """Run `work`, which may be run twice, until it meets no trouble that passes. Raises DatabaseUnavailable."""
    give_up_at = clock.monotonic() + PATIENCE
    for number in range(TRIES):
        try:
            return work()
        except (DatabaseBusy, DatabaseAway):
            pause = FIRST_PAUSE * 2**number * random.uniform(0.5, 1)
            if database.is_sqlite or number == TRIES - 1 or clock.monotonic() + pause > give_up_at:
                raise
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _commit_once(database: Database, work: Callable[[Connection], Value], what: Callable[[Value], str]) -> Value:
    receipt, done = None, False
    try:
        with database.write() as connection:
            value = work(connection)
            receipt = None if database.is_sqlite else postgres.receipt(connection)
            done = True
    except DatabaseUnavailable as error:
        if not done or receipt is None:
            raise
        if not _is_committed(database, receipt, what(value), error):
            raise
    return value


def _is_committed(database: Database, receipt: str, what: str, error: DatabaseUnavailable) -> bool:
    """Return what became of a COMMIT that failed or was not answered. Raises CommitUnknown."""
    give_up_at = clock.monotonic() + LOOK
    while True:
        try:
            with database.read() as connection:
                fate = postgres.fate(connection, receipt)
            if fate != postgres.IN_PROGRESS:
                return fate == postgres.COMMITTED
        except DatabaseUnavailable as trouble:
            error = trouble
        if clock.monotonic() > give_up_at:
            raise CommitUnknown(
                f"the connection to the database broke at the last moment: it is not known whether {what} was stored. "
                f"Look for it before asking again ({error})"
            ) from error
        time.sleep(FIRST_PAUSE)
