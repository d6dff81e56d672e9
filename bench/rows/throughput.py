"""How many jobs that do nothing are run in a second."""

from __future__ import annotations

from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site

JOBS, JOBS_SHORT = 2000, 200
SLOW = ("process", "process-flask", "rq", "rq-synced")  # a fifth of the jobs gives the same figure
EDGE = 0.1  # of the jobs at either end are left out: while workers start, and while the last of them is alone


def measure(name: str, mode: Mode) -> Numbers:
    """Ask for all jobs, then start the workers; count from the first jobs' starts to the last ones'."""
    return {"jobs/s": rate(name, mode)}


def rate(name: str, mode: Mode) -> float:
    """Return the jobs a second of one system at its concurrency."""
    system = SYSTEMS[name]
    count = (JOBS_SHORT if mode.short else JOBS) // (5 if name in SLOW else 1)
    site = Site(system)
    try:
        if not system.in_app:
            site.client("bulk", count)
        site.start(count)
        site.wait_ended(count)
        starts = sorted(line.at for line in site.place.lines() if line.mark == "S")
    finally:
        site.end()
    edge = int(len(starts) * EDGE)
    counted = starts[edge : len(starts) - edge]
    return (len(counted) - 1) / (counted[-1] - counted[0])


ROW = Row(
    name="throughput",
    says=(
        "Jobs that only append two lines to a file, two at a time, all asked for before the workers start. Start-up is"
        " not counted."
    ),
    measure=measure,
    metrics={"jobs/s": "more is better"},
    systems=("bgapp", "bgapp-reuse", "process", "process-flask", "rq", "celery", "huey", "dramatiq", "procrastinate"),
    more=("bgapp-postgres", "rq-synced", "celery-synced", "huey-synced", "dramatiq-synced"),
)
