"""Procrastinate on PostgreSQL: one process with an event loop; plain functions run in its threads."""

from __future__ import annotations

import os

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from bench.work import note

WITNESS = os.environ["BENCH_WITNESS"]
URL = os.environ["BENCH_URL"]
app = App(connector=PsycopgConnector(conninfo=URL))  # the worker's
app.task(note, name="note")
caller = App(connector=SyncPsycopgConnector(conninfo=URL))  # a plain caller's, opened at its first use
task = caller.task(note, name="note")


def enqueue(tag: int, seconds: float) -> None:
    caller.open()
    task.defer(path=WITNESS, tag=tag, seconds=seconds)


def bulk(count: int) -> None:
    caller.open()
    task.batch_defer(*({"path": WITNESS, "tag": tag, "seconds": 0.0} for tag in range(count)))


def running() -> int | None:
    with psycopg.connect(URL) as connection:
        row = connection.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'").fetchone()
    return int(row[0]) if row else 0


def prepare() -> None:
    """Make the tables."""
    caller.open()
    caller.schema_manager.apply_schema()
