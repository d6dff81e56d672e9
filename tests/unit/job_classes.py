"""Classes for the tests to allow, to refuse and to bind parameters to."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, SecretBytes, SecretStr

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    street: str
    since: date | None = None


class Login(BaseModel):
    user: str
    key: SecretStr


class Renamed(BaseModel):
    folder: str = Field(validation_alias="in", serialization_alias="out")


@dataclass
class Point:
    x: int
    y: int


class Foreign:
    """A class that pydantic knows nothing of."""


class Base:
    def inherited(self) -> None: ...


class Report(Base):
    """A class with one of everything that a name can stand for."""

    title = "a text"

    class Inner:
        def work(self) -> str:
            return "inner"

    @property
    def size(self) -> int:
        raise AssertionError("the allow-list must not read properties")

    @functools.cached_property
    def weight(self) -> int:
        raise AssertionError("the allow-list must not read properties")

    def build(self, month: date, draft: bool = False) -> str:
        return f"{month:%Y-%m} {draft}"

    @staticmethod
    def count(number: int) -> int:
        return number

    @classmethod
    def name(cls, ending: str = "") -> str:
        return cls.__name__ + ending

    async def fetch(self, url: str) -> str:
        return url

    @functools.lru_cache  # noqa: B019
    def cached(self, number: int) -> int:
        return number

    def steps(self) -> Iterator[int]:
        yield 1

    async def ticks(self) -> AsyncIterator[int]:
        yield 1

    def _private(self) -> None: ...


class NeedsArguments:
    def __init__(self, place: str) -> None:
        self.place = place

    def work(self) -> str:
        return self.place

    @staticmethod
    def free() -> str:
        return "free"


class Unfinished(ABC):
    @abstractmethod
    def work(self) -> None: ...


class Magic:
    """Answers to any name, which must not help."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("no attribute is read by text from outside")


class Parameters:
    """Methods with all kinds of parameters."""

    def nothing(self) -> None: ...

    def two(self, first: str, second: str) -> None: ...

    def plain(self, value, other=None): ...  # type: ignore[no-untyped-def]

    def simple(self, whole: int = 0, part: float = 0.0, flag: bool = False, text: str = "") -> None: ...

    def times(self, day: date, moment: datetime | None = None, length: timedelta = timedelta(0)) -> None: ...

    def exact(self, amount: Decimal, key: UUID, place: Path) -> None: ...

    def chosen(self, colour: Colour = Colour.RED, level: Level = Level.LOW, size: Literal["s", 1, 2] = 1) -> None: ...

    def nested(self, numbers: list[int], table: dict[str, float] | None = None) -> None: ...

    def models(self, address: Address, point: Point | None = None) -> None: ...

    def unions(self, either: int | str, day_or_none: date | None = None) -> None: ...

    def unset(self, day: date = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    def only(self, first: int, second: int = 2, /, third: int = 3, *, named: date | None = None) -> None: ...

    def surplus(self, first: int, second: int = 2, *rest: date, **names: int) -> None: ...

    def collected(self, *rest: str, **names: str) -> None: ...

    def positional_and_names(self, first: int, /, **names: int) -> None: ...

    def walked(self, items: Iterable[int]) -> None: ...

    def groups(self, tags: set[str], pair: tuple[int, date]) -> None: ...

    def octets(self, data: bytes) -> None: ...

    def unresolved(self, thing: Missing, day: date) -> None: ...

    def foreign(self, thing: Foreign, day: date) -> None: ...

    def secret(self, user: str, password: str, pin: int = 0) -> None: ...

    def secret_types(self, key: SecretStr, raw: SecretBytes | None = None, login: Login | None = None) -> None: ...

    def one_way(self, renamed: Renamed) -> None: ...

    def settings(self, options: dict[str, int]) -> None: ...

    def list(self) -> None: ...

    def shadowed(self, numbers: list[int]) -> None: ...  # type: ignore[valid-type]

    class Kind(Enum):
        A = "a"

    def own_kind(self, kind: Kind) -> None: ...
