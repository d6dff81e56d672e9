"""Dramatiq on Redis: processes with threads that run one message after another."""

from __future__ import annotations

import os

import dramatiq
from dramatiq import group
from dramatiq.brokers.redis import RedisBroker

from bench.work import note

WITNESS = os.environ["BENCH_WITNESS"]
broker = RedisBroker(url=os.environ["BENCH_URL"])
dramatiq.set_broker(broker)
actor = dramatiq.actor(note, actor_name="note")


def enqueue(tag: int, seconds: float) -> None:
    actor.send(WITNESS, tag, seconds)


def bulk(count: int) -> None:
    group([actor.message(WITNESS, tag, 0.0) for tag in range(count)]).run()


def running() -> int | None:
    return sum(int(broker.client.scard(key)) for key in broker.client.scan_iter("dramatiq:__acks__.*"))
