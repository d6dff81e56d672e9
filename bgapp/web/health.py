"""Whether this process answers, and whether bgapp works: ok or not, for load balancers, and nothing else."""

from __future__ import annotations

import threading
from datetime import timedelta

from flask import Response, current_app

from bgapp import clock, controls, queries
from bgapp.database import Database
from bgapp.errors import BgappError
from bgapp.runtime import Runtime, current

DATABASE_WAIT = 2.0  # seconds for one statement
LEADER_MAY_BE_SILENT = timedelta(seconds=10)
ANSWER_HOLDS = 1.0  # seconds: whoever asks without end takes the write lock no more often than this
STATE = "bgapp_health"


class _State:
    """What one application's process remembers of its last look."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.lock = threading.Lock()
        self.problem: str | None = None
        self.looked_at: float | None = None


def live() -> Response:
    """Answer 200: the process serves."""
    return _answer(None)


def ready() -> Response:
    """Answer 200 where the database can be written and a leader ticks, else 503; why stands in the log."""
    runtime = current()
    made = _State(runtime.open_database(wait=DATABASE_WAIT, connections=1))
    state: _State = current_app.extensions.setdefault(STATE, made)
    with state.lock:
        if state.looked_at is None or clock.monotonic() - state.looked_at >= ANSWER_HOLDS:
            before, state.problem = state.problem, _problem(runtime, state.database)
            state.looked_at = clock.monotonic()
            if state.problem is not None and state.problem != before:
                current_app.logger.error("bgapp: not ready: %s", state.problem)
        return _answer(state.problem)


def _problem(runtime: Runtime, database: Database) -> str | None:
    try:
        runtime.ready()
        node = runtime.node.id
        with database.write() as connection:
            # Takes the write lock, writes, and takes it back; the row stays as it is.
            writing = connection.begin_nested()
            controls.try_to_write(connection, node)
            writing.rollback()
            seen = queries.node_seen_at(connection, node)
            now = database.clock(connection)
    except BgappError as error:
        return str(error)
    if seen is None or now - seen > LEADER_MAY_BE_SILENT:
        return "no clock ticks on this node, so nothing that waits for its time is started"
    return None


def _answer(problem: str | None) -> Response:
    text = "ok\n" if problem is None else "not ok\n"
    return Response(text, 200 if problem is None else 503, mimetype="text/plain")
