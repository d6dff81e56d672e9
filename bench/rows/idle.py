"""What it costs to have nothing to do."""

from __future__ import annotations

import time

from bench.processes import MIB, Usage, usages
from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site

SECONDS, SECONDS_SHORT = 20.0, 4.0
KINDS = {"bgapp-host": "host", "bgapp-runner": "a runner", "bgapp-forker": "a forker"}


def measure(name: str, mode: Mode) -> Numbers:
    """Have each worker at work once, then look at what all of them use while there is nothing to do."""
    site = Site(SYSTEMS[name])
    seconds = SECONDS_SHORT if mode.short else SECONDS
    try:
        site.start()
        site.warm()
        time.sleep(1.0)
        before = usages(site.place.processes())
        time.sleep(seconds)
        after = usages(site.place.processes())
    finally:
        site.end()
    numbers: Numbers = {
        "processes": len(after),
        "CPU, ms/s": 1000 * sum(one.cpu - before[pid].cpu for pid, one in after.items() if pid in before) / seconds,
        "memory, MiB": sum(one.shared_out for one in after.values()) / MIB,
    }
    if SYSTEMS[name].is_bgapp:
        numbers |= _by_kind(list(after.values()))
    return numbers


def _by_kind(found: list[Usage]) -> Numbers:
    """Return the private memory of one process of each kind: the largest, where there are several."""
    private: Numbers = {}
    for one in found:
        kind = f"{KINDS.get(one.name, 'app')}: private MiB"
        private[kind] = max(private.get(kind) or 0.0, one.private / MIB)
    return private


ROW = Row(
    name="idle",
    says=(
        "All processes of a system, its server not counted, after each worker has worked once. For bgapp this includes"
        " the application, which a peer has beside its workers. Shared memory is divided among those who share it."
    ),
    measure=measure,
    metrics={
        "processes": "",
        "CPU, ms/s": "less is better",
        "memory, MiB": "less is better",
        **{f"{kind}: private MiB": "" for kind in ("app", *KINDS.values())},
    },
    systems=("bgapp", "rq", "celery"),
    more=("huey", "dramatiq", "procrastinate"),
)
