"""For an application's own tests: run the jobs that are due, here and now, and look at what was asked for.

No runner, no clock and no further process takes part; see `bgapp.inline` for what such a run leaves out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask

from bgapp import lifecycle, queries
from bgapp import runtime as runtimes
from bgapp.inline import run_inline

__all__ = ["jobs", "run_due"]

MOST = 10_000  # attempts in one call: more means that a job asks for itself without end
MOST_SHOWN = 10**9


def run_due(app: Flask, until: datetime | None = None) -> int:
    """Run the jobs that are due in this process, and those they ask for; return how many attempts ran.

    until: an aware time; delayed jobs and retries that fall due by then run as well, without waiting for it.

    Raises ValueError for a naive `until`, RuntimeError where jobs go on asking for jobs, DatabaseUnavailable. What a
    job raises is not raised here: its status and error are in `jobs(app)`.
    """
    if until is not None and until.utcoffset() is None:
        raise ValueError(f"until is {until!r}; it must have a time zone, such as tzinfo=UTC")
    runtime, done = runtimes.of(app), 0
    runtime.ready()
    with app.app_context():
        while True:
            moved = 0 if until is None else _promote(runtime, until)
            ran = run_inline(runtime, MOST + 1 - done)
            done += ran
            if done > MOST:
                raise RuntimeError(f"{done} attempts ran and there is no end: does a job ask for itself?")
            if not moved and not ran:
                return done


def _promote(runtime: runtimes.Runtime, until: datetime) -> int:
    with runtime.database.write() as connection:
        changes = lifecycle.promote(connection, until)
    runtime.tell(changes)
    return len(changes)


def jobs(app: Flask) -> list[dict[str, Any]]:
    """Return every job, oldest first, as `run-job --json` prints one. Raises DatabaseUnavailable."""
    runtime = runtimes.of(app)
    runtime.ready()
    words = runtime.settings.secret_keys
    with runtime.database.read() as connection:
        rows = queries.jobs(connection, limit=MOST_SHOWN)
        return [queries.as_json(row, queries.attempts(connection, row.id), words) for row in reversed(rows)]
