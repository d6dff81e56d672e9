"""How long a caller waits until a job is stored."""

from __future__ import annotations

from bench.rows import Mode, Numbers, Row
from bench.rows.start import percentile
from bench.systems import SYSTEMS, Site

CALLS, CALLS_SHORT = 500, 100


def measure(name: str, mode: Mode) -> Numbers:
    """Time calls from a process that does nothing else; no worker runs, so only the call is measured."""
    system = SYSTEMS[name]
    count = CALLS_SHORT if mode.short else CALLS
    site = Site(system)
    try:
        took = sorted(1000 * seconds for seconds in site.client("timed", count // (5 if system.in_app else 1)))
    finally:
        site.end()
    return {"p50 ms": percentile(took, 50), "p99 ms": percentile(took, 99)}


ROW = Row(
    name="enqueue",
    says="One call after another from a process of its own, until the job is stored; no worker runs meanwhile.",
    measure=measure,
    metrics={"p50 ms": "less is better", "p99 ms": "less is better"},
    systems=("bgapp", "process", "rq", "celery", "huey", "dramatiq", "procrastinate"),
    more=("bgapp-postgres", "rq-synced", "celery-synced", "huey-synced", "dramatiq-synced"),
)
