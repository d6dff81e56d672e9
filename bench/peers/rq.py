"""RQ: a worker that forks a process for each job."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue
from rq.registry import StartedJobRegistry

from bench.work import note

WITNESS = os.environ["BENCH_WITNESS"]
queue = Queue(connection=Redis.from_url(os.environ["BENCH_URL"]))


def enqueue(tag: int, seconds: float) -> None:
    queue.enqueue(note, WITNESS, tag, seconds)


def bulk(count: int) -> None:
    queue.enqueue_many([Queue.prepare_data(note, (WITNESS, tag, 0.0)) for tag in range(count)])


def running() -> int | None:
    return len(StartedJobRegistry(queue=queue).get_job_ids(cleanup=False))
