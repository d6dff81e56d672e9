"""A process that writes lines to the log files: `python -m tests.faults.logwriter FOLDER NUMBER COUNT`."""

from __future__ import annotations

import sys
from pathlib import Path

from bgapp import clock
from bgapp.eventlog import EventLog, Line


def main(folder: str, name: int, count: int) -> int:
    """Write so many JSON lines, short and long ones in turn; return how many could not be written."""
    log = EventLog(Path(folder), "json")
    for number in range(count):
        line = Line(
            title="Job failed",
            job_class="shop.jobs.ReportJob",
            method="build",
            params={"filler": "x" * (60_000 if number % 10 == 0 else 60)},
            at=clock.now(),
            job=number,
            attempt=name,
        )
        log.write(line)
    return log.dropped


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
