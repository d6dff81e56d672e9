"""Waiting on conditions with a deadline: tests never sleep for a guess."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
PATIENCE = 30.0  # seconds: only a broken thing takes as long, however slow the machine


def wait_for(condition: Callable[[], Value], what: str, seconds: float = PATIENCE) -> Value:
    """Return the first true value of `condition`; fail with `what` when it never becomes true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.01)
    return found
