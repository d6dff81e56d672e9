"""Job classes that show what a requirement asks for: where they run, what reaches them, what cannot be a job."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

RAN = "ran"  # an attribute of the module, so that a class may be looked for in it


class Till:
    """A service outside of any folder for jobs; an instance remembers that it was made."""

    label = "not a method"

    class Drawer:
        def open(self) -> str:
            return "a class inside a class"

    def __init__(self) -> None:
        self.made = os.getpid()

    def where(self) -> dict[str, Any]:
        """Tell which process this is and who started it."""
        return {
            "made": self.made,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "session": os.getsid(0),
            "parent_session": os.getsid(os.getppid()),
            "python": sys.executable,
        }

    def keep(self, *words: str) -> list[str]:
        """Give back what came, word by word."""
        return list(words)

    def sell(self, item: str, price: Decimal, on: date, at: datetime | None = None) -> str:
        """Give back what the method got, as Python writes it."""
        return f"{item} {price!r} {on!r} {at!r}"

    def anything(self, value: Any = None) -> Any:
        """Give back any JSON value."""
        return value

    def refund(self) -> None:
        """A method that no allow-list of these tests names."""
        raise AssertionError("it must never run")

    @property
    def balance(self) -> int:
        raise AssertionError("a property must not be read to find out that it is no method")

    async def later(self, number: int) -> int:
        return number

    @staticmethod
    def add(first: int, second: int) -> int:
        return first + second

    @classmethod
    def name(cls) -> str:
        return cls.__name__

    def steps(self) -> Iterator[int]:
        yield 1

    async def ticks(self) -> AsyncIterator[int]:
        yield 1


class Cart(Till):
    """What it inherits is only allowed where it is listed by name."""

    def fill(self) -> str:
        return "full"


class NeedsPlace:
    """Cannot be made without arguments."""

    def __init__(self, place: str) -> None:
        self.place = place

    def work(self) -> str:
        return self.place
