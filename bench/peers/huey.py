"""Huey on Redis, with worker processes that run one task after another."""

from __future__ import annotations

import os

from huey import RedisHuey

from bench.work import note

WITNESS = os.environ["BENCH_WITNESS"]
huey = RedisHuey("bench", url=os.environ["BENCH_URL"], results=False)
task = huey.task(name="note")(note)


def enqueue(tag: int, seconds: float) -> None:
    task(WITNESS, tag, seconds)


def bulk(count: int) -> None:
    for tag in range(count):  # it has no call for many
        task(WITNESS, tag, 0.0)


def running() -> int | None:
    return None
