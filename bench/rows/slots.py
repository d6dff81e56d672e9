"""How much memory each running job takes of its own, with 20 of them."""

from __future__ import annotations

from bench.place import wait_for
from bench.processes import MIB, usages
from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site

JOBS = 20
SECONDS = 300.0  # long enough to be looked at; then they are killed


def measure(name: str, mode: Mode) -> Numbers:
    """Have 20 jobs sleep, and add up the private memory of the processes that are there because of them."""
    system = SYSTEMS[name]
    site = Site(system, concurrency=JOBS)
    try:
        site.start(JOBS, SECONDS)
        if not system.in_app:
            site.client("enqueue", JOBS, SECONDS)
        wait_for(lambda: site.place.count("S") >= JOBS, f"{JOBS} jobs to run")
        found = usages(site.place.processes())
    finally:
        site.end()
    # For bgapp: runner, forker and child of each. The host and the application are there without a job too.
    apart = [one for one in found.values() if not system.is_bgapp or one.name.startswith(OF_A_JOB)]
    return {"private MiB a job": sum(one.private for one in apart) / MIB / JOBS, "processes": len(found)}


OF_A_JOB = ("bgapp-runner", "bgapp-forker", "bgapp-job")

ROW = Row(
    name="slots",
    says=(
        f"{JOBS} jobs that sleep, all at once. For bgapp the runners, forkers and children; for the others all"
        " their processes, divided by the jobs."
    ),
    measure=measure,
    metrics={"private MiB a job": "less is better", "processes": ""},
    systems=("bgapp", "process", "process-flask"),
    more=("rq", "celery", "huey", "dramatiq"),
)
