"""What is PostgreSQL's own: an engine that waits for no answer for ever, which troubles pass, a commit's fate."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from bgapp import clock

WAIT = 15.0  # seconds for one statement
CONNECT = 2  # seconds for a new connection, the least that libpq takes
ANSWER = 1.0  # seconds beyond the server's own limits, after which a connection is given up as dead
# A lock or statement timeout, a deadlock, a transaction that met another.
TRY_AGAIN = {"55P03", "57014", "40P01", "40001"}
# No connection left, shut down by hand or by a crash, starting up, idle for too long.
AWAY = {"53300", "57P01", "57P02", "57P03", "57P05", "25P03"}
COMMITTED, IN_PROGRESS, ABORTED = "committed", "in progress", "aborted"


def create(url: URL, wait: float | None, connections: int) -> Engine:
    """Return an engine whose statements take at most `wait` seconds, whether the server answers or not."""
    seconds = WAIT if wait is None else wait
    most = int(seconds * 1000)
    limits = {"statement_timeout": most, "lock_timeout": most, "idle_in_transaction_session_timeout": 60_000}
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=20,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": CONNECT,
            "tcp_user_timeout": 10_000,
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
        },
    )
    connection_class = _impatient(seconds + ANSWER)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, words: Any, options: Any) -> Any:
        return connection_class.connect(*words, **options)

    return engine


def _impatient(limit: float) -> Any:
    """Return psycopg's connection with an end to each wait: a server that is cut off never keeps its own limits."""
    import psycopg

    class Impatient(psycopg.Connection[Any]):
        def __del__(self, *_: object) -> None:
            """Say nothing: SQLAlchemy drops a new connection whose first statements fail. It closes itself."""

        def wait(self, gen: Any, *words: Any, **options: Any) -> Any:
            return super().wait(self._answered(gen, clock.monotonic() + limit), *words, **options)

        def _answered(self, gen: Any, deadline: float) -> Generator[Any, Any, Any]:
            """Drive psycopg's generator, which is resumed with 0 about every tenth of a second without news."""
            try:
                wanted = next(gen)
                while True:
                    news = yield wanted
                    if not news and clock.monotonic() > deadline:
                        self.pgconn.finish()  # an answer that still came would be taken for the next statement's
                        raise psycopg.OperationalError(f"the server did not answer within {limit:g} s")
                    wanted = gen.send(news)
            except StopIteration as end:
                return end.value

    return Impatient


def is_away(state: str | None) -> bool:
    """Return whether an operational error of this SQLSTATE says that there is no connection at this moment.

    What never came from a server has no state: it could not be reached, or the connection broke.
    """
    return state is None or state in AWAY or state.startswith("08")


def receipt(connection: Connection) -> str:
    """Return the number of this write transaction, by which `fate` tells later what became of it."""
    return str(connection.execute(text("SELECT CAST(pg_current_xact_id() AS text)")).scalar_one())


def fate(connection: Connection, number: str) -> str:
    """Return `committed`, `aborted` or `in progress` of a transaction whose COMMIT was not answered.

    To look for its rows would not do: a COMMIT that is on its way may still make them appear. A number that the
    server has not reached was lost in a crash.
    """
    asked = text(
        "SELECT CASE WHEN CAST(:number AS xid8) < pg_current_xact_id() "
        "THEN pg_xact_status(CAST(:number AS xid8)) ELSE 'aborted' END"
    )
    return str(connection.execute(asked, {"number": number}).scalar_one())
