"""Threads that begin together, and what each of them must do while the database is busy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from bgapp.errors import DatabaseBusy

Value = TypeVar("Value")


def at_once(count: int, act: Callable[[int], Value]) -> list[Value]:
    """Call `act` in so many threads that begin together; return what they returned, raise what one raised."""
    gate = threading.Barrier(count)
    returned: list[Value] = []
    raised: list[Exception] = []

    def run(number: int) -> None:
        gate.wait()
        try:
            returned.append(act(number))
        except Exception as error:  # raised again below: a thread's own error would go unseen
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return returned


def insisting(act: Callable[[], Value]) -> Value:
    """Do it until the database is not busy, as every caller in bgapp does."""
    while True:
        try:
            return act()
        except DatabaseBusy:
            continue
