"""Whether the limit holds when thousands of jobs fall due in the same moment, and how long they take."""

from __future__ import annotations

from bench.rows import Mode, Numbers, Row
from bench.systems import CONCURRENCY, SYSTEMS, Site

JOBS, JOBS_SHORT = 5000, 500
DELAY = 5.0  # seconds: longer than asking for all of them takes


def measure(name: str, mode: Mode) -> Numbers:
    """Ask for jobs that are due at once; see from the witness how many ran at the same time."""
    count = JOBS_SHORT if mode.short else JOBS
    site = Site(SYSTEMS[name])
    try:
        site.start()
        site.warm()
        due = site.client("burst", count, DELAY) / 1e9
        site.wait_ended(count, 600.0)
        lines = site.place.lines()
    finally:
        site.end()
    starts = [line for line in lines if line.mark == "S"]
    return {
        "jobs": count,
        "run more or less than once": count - len({line.tag for line in starts}) + len(starts) - count,
        "most at once (limit 2)": most_at_once([(line.at, 1 if line.mark == "S" else -1) for line in lines]),
        "first start after due, ms": 1000 * (min(line.at for line in starts) - due),
        "all done after due, s": max(line.at for line in lines) - due,
    }


def most_at_once(changes: list[tuple[float, int]]) -> int:
    """Return the most that were under way at once, given starts (+1) and ends (-1) with their times."""
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


ROW = Row(
    name="burst",
    says=(
        f"{JOBS:,} jobs ({JOBS_SHORT:,} in short mode) of 20 ms that fall due at the same moment, at"
        f" BGAPP_MAX_RUNNING={CONCURRENCY}."
    ),
    measure=measure,
    metrics={
        "jobs": "",
        "run more or less than once": "0 is right",
        f"most at once (limit {CONCURRENCY})": "",
        "first start after due, ms": "less is better",
        "all done after due, s": "less is better",
    },
    systems=("bgapp",),
    more=("bgapp-reuse", "bgapp-postgres"),
    counts=True,
)
