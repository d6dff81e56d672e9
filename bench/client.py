"""A caller of a system, in a process of its own: `python -m bench.client SYSTEM VERB ARG ...`; prints JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from types import ModuleType
from typing import Any

UNMEASURED = 3  # calls before the ones that count: the first connect, import and compile
NANO = 1_000_000_000


def main(words: list[str]) -> None:
    name, verb, *rest = words
    peer = importlib.import_module(f"bench.peers.{name}")
    print(json.dumps(VERBS[verb](peer, *(float(word) for word in rest))))


def enqueue(peer: ModuleType, count: float, seconds: float) -> None:
    """Ask for `count` jobs of `seconds` each, tagged from 0 on."""
    for tag in range(int(count)):
        peer.enqueue(tag, seconds)


def timed(peer: ModuleType, count: float) -> list[float]:
    """Return how long each of `count` calls took, in seconds."""
    took = []
    for tag in range(int(count) + UNMEASURED):
        began = time.perf_counter()
        peer.enqueue(tag, 0.0)
        took.append(time.perf_counter() - began)
    return took[UNMEASURED:]


def pace(peer: ModuleType, count: float, gap: float) -> None:
    """Ask for a job each `gap` seconds, tagged with the nanosecond before its call."""
    for _ in range(int(count) + UNMEASURED):
        peer.enqueue(time.monotonic_ns(), 0.0)
        time.sleep(gap)


def bulk(peer: ModuleType, count: float) -> float:
    """Return in how many seconds `count` jobs were asked for."""
    peer.bulk(2)
    began = time.perf_counter()
    peer.bulk(int(count))
    return time.perf_counter() - began


def burst(peer: ModuleType, count: float, delay: float) -> int:
    """Ask for jobs that fall due at once; return that moment in nanoseconds of the monotonic clock."""
    due = time.monotonic_ns() + int(delay * NANO)
    peer.burst(int(count), delay)
    return due


def running(peer: ModuleType) -> Any:
    return peer.running()


def prepare(peer: ModuleType) -> None:
    peer.prepare()


VERBS = {one.__name__: one for one in (enqueue, timed, pace, bulk, burst, running, prepare)}

if __name__ == "__main__":
    main(sys.argv[1:])
