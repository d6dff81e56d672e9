"""A fresh interpreter for each job, as an application starts one with `subprocess`: what any process costs at least.

`python -m bench.peers.process COUNT SECONDS` is such an application: two threads, each of which starts one job after
another and waits for its end. What waits is in its memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WITNESS = os.environ["BENCH_WITNESS"]
STARTED = Path(WITNESS).with_name("started")


def words(tag: int, seconds: float) -> list[str]:
    return [sys.executable, "-m", "bench.work", WITNESS, str(tag), str(seconds)]


def enqueue(tag: int, seconds: float) -> None:
    subprocess.Popen(words(tag, seconds))


def running() -> int | None:
    return None


def first_start() -> bool:
    """Return whether this application starts for the first time; the requests for its jobs come only once."""
    try:
        STARTED.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def main(count: int, seconds: float) -> None:
    with ThreadPoolExecutor(int(os.environ["BENCH_CONCURRENCY"])) as pool:
        for tag in range(count if first_start() else 0):
            pool.submit(subprocess.run, words(tag, seconds), check=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
