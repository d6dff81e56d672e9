"""How long a job waits on an idle system: from before the call, in another process, to the method's first line."""

from __future__ import annotations

import math

from bench.client import UNMEASURED
from bench.place import wait_for
from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site

JOBS, JOBS_SHORT = 100, 20
GAP = 0.1  # seconds between two calls, so that the system is idle again


def measure(name: str, mode: Mode) -> Numbers:
    """Warm the system up, then ask for one job after another with rests between them."""
    system = SYSTEMS[name]
    count = JOBS_SHORT if mode.short else JOBS
    site = Site(system)
    try:
        if not system.in_app:
            site.start()
            site.warm()
        site.client("pace", count, GAP)
        wait_for(lambda: site.place.count("E") >= count + UNMEASURED, "the last job")
        starts = sorted((line.tag, line.at) for line in site.place.lines() if line.mark == "S")
    finally:
        site.end()
    took = sorted((at - tag / 1e9) * 1000 for tag, at in starts[UNMEASURED:])
    return {"p50 ms": percentile(took, 50), "p99 ms": percentile(took, 99)}


def percentile(ordered: list[float], part: int) -> float:
    """Return the smallest number that so many percent of them do not pass."""
    return ordered[max(0, math.ceil(len(ordered) * part / 100) - 1)]


ROW = Row(
    name="start",
    says=(
        "From before the call, in a process that only calls, to the first line of the method; workers are warm and have"
        f" nothing to do; a call each {GAP:g} s."
    ),
    measure=measure,
    metrics={"p50 ms": "less is better", "p99 ms": "less is better"},
    systems=("bgapp", "bgapp-reuse", "process", "process-flask", "rq", "celery", "huey", "dramatiq", "procrastinate"),
    more=("bgapp-postgres", "rq-synced", "celery-synced", "huey-synced", "dramatiq-synced"),
)
