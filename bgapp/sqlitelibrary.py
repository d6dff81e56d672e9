"""Which SQLite library this process uses, and what is done where its write-ahead log can lose commits.

SQLite 3.7.0 to 3.51.2 (but 3.44.6 and 3.50.7) has a race, "the WAL-reset bug" of https://sqlite.org/wal.html: the log
has been copied into the database as a whole, another checkpoint begins and has read how long the log is; at this moment
a connection commits and so begins the log anew; the checkpoint then notes that so much of the new log has been copied
already. A later checkpoint leaves that part out, and commits are lost.

It takes a checkpoint during somebody's commit. A lock among those who checkpoint would not do, since SQLite has one
itself. So no connection checkpoints by itself, and bgapp does so only while it holds SQLite's own write lock: then
nobody can commit, in whatever process and by whatever library.
"""

from __future__ import annotations

import sqlite3
from types import ModuleType
from typing import Any

from sqlalchemy import Engine, event

FIXED = (3, 51, 3)
ALSO_FIXED = ((3, 50, 7), (3, 44, 6))
NO_CHECKPOINTS = "PRAGMA wal_autocheckpoint = 0"
REMEDY = "install pysqlite3, or a Python whose SQLite is 3.51.3 or newer, or use PostgreSQL"


def sqlite_library() -> ModuleType:
    """Return the SQLite module to use: pysqlite3's, which carries a current SQLite, else Python's own."""
    try:
        from pysqlite3 import dbapi2
    except ImportError:  # no wheel for this platform
        return sqlite3
    return dbapi2  # type: ignore[no-any-return] # the package has no types


def is_fixed(version: tuple[int, ...]) -> bool:
    """Return whether a SQLite library of this version keeps commits when its write-ahead log is reset."""
    return version >= FIXED or any(one <= version < (*one[:2], 99) for one in ALSO_FIXED)


def weakness(library: ModuleType) -> str | None:
    """Return what is wrong with a library and what is done about it, in words; None where nothing is."""
    if is_fixed(library.sqlite_version_info):
        return None
    return (
        f"SQLite {library.sqlite_version} ({library.__name__}) can lose commits when its write-ahead log is reset; "
        "bgapp keeps its connections from that, other programs on the file may not"
    )


def leave_checkpoints_to_bgapp(engine: Engine) -> None:
    """Keep an application's own engine, on bgapp's file, from checkpoints where its library's are not safe."""
    if is_fixed(engine.dialect.dbapi.sqlite_version_info):  # type: ignore[union-attr] # it has a driver
        return

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(NO_CHECKPOINTS)
        cursor.close()
