"""APScheduler's process pool, its jobs in a SQLite file: `python -m bench.peers.apscheduler COUNT SECONDS`."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path

from apscheduler.executors.pool import ProcessPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from bench.peers.process import first_start
from bench.work import note

WITNESS = os.environ["BENCH_WITNESS"]
STORE = Path(WITNESS).with_name("jobs.sqlite")


def running() -> int | None:
    return None


def waiting() -> int:
    """Return how many jobs are still stored."""
    connection = sqlite3.connect(STORE)
    count: int = connection.execute("SELECT count(*) FROM apscheduler_jobs").fetchone()[0]
    connection.close()
    return count


def main(count: int, seconds: float) -> None:
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{STORE}")},
        executors={"default": ProcessPoolExecutor(int(os.environ["BENCH_CONCURRENCY"]))},
    )
    scheduler.start()
    for tag in range(count if first_start() else 0):
        scheduler.add_job(note, args=[WITNESS, tag, seconds], misfire_grace_time=None)
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
