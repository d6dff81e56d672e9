"""bgapp: the application that serves, runners load and callers use."""

from __future__ import annotations

import os

from flask import Flask

from bench.work import Work
from bgapp import BackgroundJobs, queries, run_background_job, run_background_jobs, start
from bgapp.runtime import of

WITNESS = os.environ.get("BENCH_WITNESS", "")
REUSE = int(os.environ.get("BENCH_REUSE", "1"))

app = Flask(__name__)
app.config["BGAPP_APP"] = "bench.peers.bgapp:app"
app.config["BGAPP_ALLOWED_JOBS"] = {"bench.work.Work": {"methods": {"note": {"reuse": REUSE} if REUSE > 1 else {}}}}
BackgroundJobs(app)
start(app)


def enqueue(tag: int, seconds: float) -> None:
    with app.app_context():
        run_background_job(Work, "note", [WITNESS, tag, seconds])


def bulk(count: int) -> None:
    calls = [{"job_class": Work, "method": "note", "params": [WITNESS, tag, 0.0]} for tag in range(count)]
    with app.app_context():
        run_background_jobs(calls)


def burst(count: int, delay: float) -> None:
    """Ask for jobs of 20 ms that all fall due at the same time, `delay` seconds from now."""
    calls = [
        {"job_class": Work, "method": "note", "params": [WITNESS, tag, 0.02], "delay": delay} for tag in range(count)
    ]
    with app.app_context():
        run_background_jobs(calls)


def running() -> int | None:
    with of(app).database.read() as connection:
        return queries.counts(connection)["running"]
