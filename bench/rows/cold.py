"""How long a job waits when neither runner nor host lives, against the bare import of the application."""

from __future__ import annotations

import os
import signal
import time

from bench.place import wait_for
from bench.processes import usages
from bench.rows import Mode, Numbers, Row
from bench.systems import SYSTEMS, Site


def measure(name: str, mode: Mode) -> Numbers:
    """Import the application in a fresh interpreter; then kill host and runners of a warm one, and ask for a job."""
    site = Site(SYSTEMS[name])
    place = site.place
    try:
        began = time.perf_counter()
        place.call(["-c", "import bench.peers.bgapp"])
        interpreter = time.perf_counter() - began
        site.start()
        site.warm()
        asked = time.monotonic()
        _kill_all_but_the_app(site)
        site.client("enqueue", 1, 0.0)
        wait_for(lambda: place.count("S"), "the job's start")
        (line,) = (line for line in place.lines() if line.mark == "S")
    finally:
        site.end()
    cold = line.at - asked
    return {
        "start of Python with the import, s": interpreter,
        "cold start, s": cold,
        "cold start / import": cold / interpreter,
    }


def _kill_all_but_the_app(site: Site) -> None:
    """Kill host, runners and forkers at once, as the machine would for lack of memory."""
    for pid, found in usages(site.place.processes()).items():
        if found.name.startswith("bgapp-"):
            os.kill(pid, signal.SIGKILL)


ROW = Row(
    name="cold",
    says=(
        "The application leads; host and runners are killed, and a fresh process, which itself loads the application,"
        " asks for a job. From the kill to the first line of its method, against a fresh Python that imports it."
    ),
    measure=measure,
    metrics={"start of Python with the import, s": "", "cold start, s": "less is better", "cold start / import": ""},
    systems=("bgapp",),
    counts=True,
)
