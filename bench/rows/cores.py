"""What a second core adds to the jobs a second."""

from __future__ import annotations

import os

from bench.place import NotMeasured
from bench.rows import Mode, Numbers, Row
from bench.rows.throughput import rate


def measure(name: str, mode: Mode) -> Numbers:
    """Measure the throughput on one core and on two; what is started is bound to the cores of who starts it."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        raise NotMeasured("this machine has one core")
    first, second = sorted(allowed)[:2]
    rates = []
    try:
        for cores in ({first}, {first, second}):
            os.sched_setaffinity(0, cores)
            rates.append(rate(name, mode))
    finally:
        os.sched_setaffinity(0, allowed)
    one, two = rates
    return {"1 core, jobs/s": one, "2 cores, jobs/s": two, "2 cores / 1 core": two / one}


ROW = Row(
    name="cores",
    says="Row throughput with everything bound to one core, and to two; two jobs at a time in both.",
    measure=measure,
    metrics={"1 core, jobs/s": "", "2 cores, jobs/s": "", "2 cores / 1 core": "more is better"},
    systems=("bgapp",),
    more=("bgapp-reuse", "rq", "celery"),
    counts=True,
)
