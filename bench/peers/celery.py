"""Celery on Redis, prefork: processes that run one task after another."""

from __future__ import annotations

import os

from celery import Celery, group
from redis import Redis

from bench.work import note

WITNESS = os.environ["BENCH_WITNESS"]
URL = os.environ["BENCH_URL"]
app = Celery("bench", broker=URL)
app.conf.broker_connection_retry_on_startup = True
task = app.task(note, name="note", ignore_result=True)


def enqueue(tag: int, seconds: float) -> None:
    task.delay(WITNESS, tag, seconds)


def bulk(count: int) -> None:
    group(task.s(WITNESS, tag, 0.0) for tag in range(count)).apply_async()


def running() -> int | None:
    return int(Redis.from_url(URL).hlen("unacked"))  # what a worker has taken and not answered for
