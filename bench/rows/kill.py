"""What becomes of 20 jobs when every worker process is killed while they are worked off."""

from __future__ import annotations

import contextlib
import time

from bench.place import NotMeasured, wait_for
from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site

JOBS = 20
SECONDS = 1.0
KILLED_AFTER = 3.5  # seconds after the first job's start: in the middle of jobs
WATCHED, WATCHED_SHORT = 60.0, 15.0  # seconds from the first start of a job after the restart
BACK = 20.0  # seconds after which a system that starts no job is not waited for any longer


def measure(name: str, mode: Mode) -> Numbers:
    """Kill all workers at once after a while, start what a service manager would start again, and look later."""
    system = SYSTEMS[name]
    settings = {"BGAPP_RETRY_BACKOFF": "1"} if system.is_bgapp and mode.short else {}
    site = Site(system, **settings)
    try:
        if system.in_app:
            site.start(JOBS, SECONDS)
        else:
            site.start()
            site.client("enqueue", JOBS, SECONDS)
        wait_for(lambda: site.place.count("S"), "the first job's start")
        time.sleep(KILLED_AFTER)
        site.place.kill()
        before = site.place.lines()
        site.start(JOBS, SECONDS)
        with contextlib.suppress(NotMeasured):
            wait_for(lambda: site.place.count("S") > sum(line.mark == "S" for line in before), "a job's start", BACK)
        time.sleep(WATCHED_SHORT if mode.short else WATCHED)
        lines = site.place.lines()
        shown = site.client("running")
    finally:
        site.end()
    ended = {line.tag for line in before if line.mark == "E"}
    interrupted = {line.tag for line in before if line.mark == "S"} - ended
    again = {line.tag for line in lines[len(before) :] if line.mark == "S"} & interrupted
    finished = [line.tag for line in lines if line.mark == "E"]
    running = {line.tag for line in lines if line.mark == "S"} - set(finished) - (interrupted - again)
    return {
        "finished of 20": len(set(finished)),
        "interrupted": len(interrupted),
        "of them run again": len(again),
        "shown as running, not running": None if shown is None else max(0, shown - len(running)),
        "run to the end twice": len(finished) - len(set(finished)),
    }


ROW = Row(
    name="kill",
    says=(
        f"{JOBS} jobs of {SECONDS:g} s, two at a time; SIGKILL to all worker processes after {KILLED_AFTER:g} s; workers"
        f" started again; what is known {WATCHED:g} s after they began to work. All systems at their defaults; only in"
        f" short mode, which looks after {WATCHED_SHORT:g} s, bgapp has BGAPP_RETRY_BACKOFF=1."
    ),
    measure=measure,
    metrics={
        "finished of 20": "more is better",
        "interrupted": "",
        "of them run again": "more is better",
        "shown as running, not running": "less is better",
        "run to the end twice": "",
    },
    systems=("bgapp", "rq", "celery", "huey", "dramatiq", "procrastinate", "apscheduler", "process"),
    more=("bgapp-postgres",),
    together=True,
    counts=True,
)
