"""A real PostgreSQL server for tests, and databases on it that are as new for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from bgapp import schema
from bgapp.database import Database
from tests.waiting import wait_for

LOOKED_AT = "55006"  # the server has a look at the template itself now and then
TEMPLATE = "bgapp_template"
# What a test may have changed beside rows; a database that looks otherwise afterwards is made anew.
SHAPE = """
    SELECT md5(string_agg(word, ',' ORDER BY word)) FROM (
        SELECT concat(relname, relkind, relpersistence) FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat(attrelid::regclass, attname, atttypid, attnotnull, atthasdef, attisdropped) FROM pg_attribute
            WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        UNION ALL
        SELECT concat(conrelid::regclass, conname, contype) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat(tgrelid::regclass, tgname) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT version_num FROM bgapp_schema_version
    ) AS words (word)
"""


class PostgresServer:
    """One server: `url` is of its database "postgres"."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._admin = create_engine(url, isolation_level="AUTOCOMMIT")
        self._kept: str | None = None
        self._shape = ""
        self._tables = ""
        for setting in (
            "fsync",
            "full_page_writes",
            "synchronous_commit",
        ):  # a test's database need not survive a crash
            self.run(f"ALTER SYSTEM SET {setting} = off")
        self.run("SELECT pg_reload_conf()")

    def url_of(self, name: str) -> str:
        return self.url.replace("/postgres?", f"/{name}?")

    def run(self, statement: str) -> None:
        """Run a statement beside whatever the server itself does with the template."""

        def done() -> bool:
            try:
                with self._admin.connect() as connection:
                    connection.execute(text(statement))
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) != LOOKED_AT:
                    raise
                return False
            return True

        wait_for(done, f"a database that nobody else looks at, for {statement}")

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """Make a database without tables, yield its URL, and drop it."""
        name = f"t{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name}")
        yield self.url_of(name)
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def migrated_database(self) -> Iterator[str]:
        """Yield the URL of a database with bgapp's tables, all empty.

        The same one again and again: to make and to drop a database takes a quarter of a second, to empty it a tenth
        of that.
        """
        name = self._kept or self._make_migrated()
        self._kept = None  # a test that is interrupted leaves it in doubt
        yield self.url_of(name)
        if self._is_as_new(name):
            self._kept = name
        else:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def _make_migrated(self) -> str:
        if not self._shape:
            self._make_template()
        name = f"m{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return name

    def _make_template(self) -> None:
        self.run(f"CREATE DATABASE {TEMPLATE}")
        database = Database(self.url_of(TEMPLATE))
        schema.upgrade(database)
        database.dispose()

        with self._connection(TEMPLATE) as connection:
            self._shape = str(connection.scalar(text(SHAPE)))
            found = connection.scalars(
                text("SELECT relname FROM pg_class WHERE relname LIKE 'bgapp%' AND relkind = 'r'")
            )
            self._tables = ", ".join(sorted(set(found) - {schema.VERSION_TABLE}))

    def _is_as_new(self, name: str) -> bool:
        """Empty a database; return whether its tables are still those of the template."""
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{name}' AND backend_type = 'client backend'"
        )
        with self._connection(name) as connection:
            if connection.scalar(text(SHAPE)) != self._shape:
                return False
            connection.execute(text(f"TRUNCATE {self._tables} RESTART IDENTITY"))
            return True

    @contextmanager
    def _connection(self, name: str) -> Iterator[Connection]:
        with _engine(self.url_of(name)).connect() as connection:
            yield connection

    def close(self) -> None:
        self._admin.dispose()


def _engine(url: str) -> Engine:
    return create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
