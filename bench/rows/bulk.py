"""How many jobs a second are stored by one call for many."""

from __future__ import annotations

from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site

JOBS, JOBS_SHORT = 10_000, 1000


def measure(name: str, mode: Mode) -> Numbers:
    """Time one call for many jobs; no worker runs."""
    count = JOBS_SHORT if mode.short else JOBS
    site = Site(SYSTEMS[name])
    try:
        seconds = site.client("bulk", count)
    finally:
        site.end()
    return {"jobs/s": count / seconds}


ROW = Row(
    name="bulk",
    says=(
        f"{JOBS:,} jobs ({JOBS_SHORT:,} in short mode) in the way that each has for many: run_background_jobs,"
        " enqueue_many, group, batch_defer; Huey has none: call after call. bgapp and procrastinate store all or none."
    ),
    measure=measure,
    metrics={"jobs/s": "more is better"},
    systems=("bgapp", "rq", "celery", "huey", "dramatiq", "procrastinate"),
    more=("bgapp-postgres", "rq-synced", "celery-synced", "huey-synced", "dramatiq-synced"),
)
