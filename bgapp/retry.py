"""How long a failed job waits before its next attempt."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from bgapp.backoff import LONGEST_SECONDS, Backoff

JITTER = 0.25  # of the wait, to either side, so that jobs that failed together do not come back together
_DOUBLINGS = 64  # more reach the longest wait from any start, and 2**5000 no longer fits a float


def wait(backoff: Backoff, failures: int, random: Random | Callable[[], float]) -> float:
    """Return the seconds to wait after `failures` failed attempts, 1 being the first.

    A fixed backoff is returned as it is. A doubling one doubles with each failure and is spread by a quarter
    to either side, never over 3600 seconds. `random` (or its `random()`) gives a number from 0 up to 1.
    Raises ValueError if `failures` is less than 1.
    """
    if failures < 1:
        raise ValueError(f"failures is {failures}; the wait before the first retry is that after 1 failure")
    if backoff.fixed:
        return backoff.seconds
    middle = min(math.ldexp(backoff.seconds, min(failures - 1, _DOUBLINGS)), LONGEST_SECONDS)
    shortest = middle * (1 - JITTER)
    longest = min(middle * (1 + JITTER), LONGEST_SECONDS)  # cut before drawing: else half of them meet at the limit
    draw = random.random() if isinstance(random, Random) else random()
    return shortest + (longest - shortest) * draw
