"""A PostgreSQL connection that waits for its server a bounded time, also when the network swallows everything.

The server's own limits (statement_timeout) say nothing once the connection is cut without a word: the client would
wait until the kernel gives the connection up, and a runner supervises a job meanwhile.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from psycopg import waiting

from bgapp import clock

Value = TypeVar("Value")
BEYOND = 1.0  # seconds beyond the server's own limit, so that the server's words come first where they can


def connector(wait: float) -> Callable[..., psycopg.Connection[Any]]:
    """Return a function that connects like psycopg's, and whose connections wait `wait` seconds for any answer."""

    class Connection(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, Value], interval: float = 0.1, timeout: float | None = None) -> Value:
            return _wait(self, gen, wait + BEYOND if timeout is None else timeout)

    return Connection.connect


def _wait(connection: psycopg.Connection[Any], steps: Generator[Any, Any, Value], seconds: float) -> Value:
    """Run one of psycopg's protocol generators to its end: it yields what it waits for, and is sent what came.

    Raises psycopg.OperationalError after so many seconds, with the connection closed.
    """
    deadline = clock.monotonic() + seconds
    try:
        wanted = next(steps)
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), wanted)
            while True:
                ready = selector.select(max(0.0, deadline - clock.monotonic()))
                if not ready and clock.monotonic() >= deadline:
                    connection.pgconn.finish()
                    raise psycopg.OperationalError(f"the database server did not answer within {seconds:g} s")
                for _, events in ready:
                    wanted = steps.send(waiting.Ready(events))
                    selector.modify(connection.fileno(), wanted)
    except StopIteration as end:
        value: Value = end.value
        return value
