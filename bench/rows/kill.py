"""What becomes of 20 jobs when every worker process is killed while they are worked off."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from bench.place import Line, NotMeasured, wait_for
from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site

JOBS = 20
SECONDS = 1.0
KILLED_AFTER = 3.5  # seconds after the first job's start: in the middle of jobs
WATCHED, WATCHED_SHORT = 60.0, 15.0  # seconds from the first start of a job after the restart
BACK = 10.0  # seconds after which a system that starts no job is not waited for any longer


def measure(name: str, mode: Mode) -> Numbers:
    """Kill all workers of a system at its defaults, start them again, and look a while later."""
    system = SYSTEMS[name]
    settings = {"BGAPP_RETRY_BACKOFF": "1"} if system.is_bgapp and mode.short else {}
    watched = WATCHED_SHORT if mode.short else WATCHED
    return Blow(JOBS, SECONDS, KILLED_AFTER, watched).deal(Site(system, environment=settings))


@dataclass(frozen=True)
class Blow:
    """So many jobs of so many seconds; all workers are killed `after` the first one's start and started again.

    What came of it is looked at `watched` seconds after they began to work, or with `early` once all have finished.
    """

    jobs: int
    seconds: float
    after: float
    watched: float
    early: bool = False

    def deal(self, site: Site) -> Numbers:
        """Return what came of it; end the site."""
        try:
            if site.system.in_app:
                site.start(self.jobs, self.seconds)
            else:
                site.start()
                site.client("enqueue", self.jobs, self.seconds)
            wait_for(lambda: site.place.count("S"), "the first job's start")
            time.sleep(self.after)
            site.place.kill()
            before = site.place.lines()
            site.start(self.jobs, self.seconds)
            self._watch(site)
            shown = site.client("running")
            return found(before, site.place.lines(), shown)
        finally:
            site.end()

    def _watch(self, site: Site) -> None:
        started = site.place.count("S")
        with contextlib.suppress(NotMeasured):
            wait_for(lambda: site.place.count("S") > started, "a job's start", BACK)
        if not self.early:
            time.sleep(self.watched)
            return
        with contextlib.suppress(NotMeasured):
            wait_for(lambda: site.place.count("E") >= self.jobs, "the end of all", self.watched)


def found(before: list[Line], lines: list[Line], shown: int | None) -> Numbers:
    """Return what the witness saw; `shown` is how many jobs the system itself takes for running."""
    interrupted = tags(before, "S") - tags(before, "E")
    again = tags(lines[len(before) :], "S") & interrupted
    finished = [line.tag for line in lines if line.mark == "E"]
    running = tags(lines, "S") - set(finished) - (interrupted - again)
    return {
        "finished": len(set(finished)),
        "interrupted": len(interrupted),
        "of them run again": len(again),
        "shown as running, not running": None if shown is None else max(0, shown - len(running)),
        "run to the end twice": len(finished) - len(set(finished)),
    }


def tags(lines: list[Line], mark: str) -> set[int]:
    return {line.tag for line in lines if line.mark == mark}


ROW = Row(
    name="kill",
    says=(
        f"{JOBS} jobs of {SECONDS:g} s, two at a time; SIGKILL to all worker processes after {KILLED_AFTER:g} s;"
        f" workers started again; what is known {WATCHED:g} s after they began to work. All systems at their defaults."
        f" Short mode looks after {WATCHED_SHORT:g} s, and gives bgapp BGAPP_RETRY_BACKOFF=1 for that."
    ),
    measure=measure,
    metrics={
        "finished": "more is better",
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
