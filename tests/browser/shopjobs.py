"""A shop's jobs, as the pages show them: real names, hints of every kind, docstrings as people write them."""

from __future__ import annotations

import time
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from pydantic import SecretStr

from bgapp import current_job


class Channel(Enum):
    EMAIL = "email"
    LETTER = "letter"


class Catalogue:
    """Keeps the catalogue up to date."""

    def refresh(self) -> int:
        """Read the suppliers' price lists again."""
        for part in range(1, 4):
            current_job.progress(part / 3, f"list {part} of 3")
            print(f"list {part} of 3: 40 prices")
        return 120

    def refresh_slowly(self, seconds: float = 2.0) -> int:
        """Read the price lists one by one, with a rest in between.

        seconds: how long it takes.
        """
        deadline, count = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            count += 1
            print(f"price {count}", flush=True)
            current_job.progress(min(1.0, count * 0.1 / seconds), f"price {count}")
            time.sleep(0.1)
        return count


class Reports:
    """Builds the shop's reports."""

    def build(
        self,
        month: date,
        kind: Literal["sales", "stock", "returns"] = "sales",
        copies: int = 1,
        draft: bool = False,
        note: str | None = None,
    ) -> dict[str, Any]:
        """Build the report of one month and file it.

        month: any day of the month.
        kind: what it is about.
        copies: how many to print, 1 to 10.
        draft: whether it carries a watermark.
        note: a line below the title.

        The report is filed under its month; building it again replaces it. Raises ValueError for a month that has
        not ended yet.
        """
        print(f"building {kind} for {month:%Y-%m}")
        return {"month": f"{month:%Y-%m}", "kind": kind, "pages": 12 * copies, "draft": draft, "note": note}


class Invoices:
    """Invoices, from the order to the letter box."""

    def send(self, number: int, channel: Channel = Channel.EMAIL) -> str:
        """Send one invoice.

        number: of the invoice.
        channel: how it travels.
        """
        print(f"invoice {number} by {channel.value}")
        if number < 0:
            raise ValueError(f"there is no invoice {number}")
        return f"{number} sent"


class Everything:
    """A method with each kind of parameter."""

    def take(  # type: ignore[no-untyped-def] # a parameter without a hint is one of the kinds
        self,
        text: str,
        number: int,
        amount: Decimal,
        password: SecretStr,
        anything,
        ratio: float = 0.5,
        day: date | None = None,
        moment: datetime | None = None,
        flag: bool | None = None,
        size: Literal["XS", "S", "M", "L", "XL", "XXL", "3XL"] = "M",
        tags: list[str] | None = None,
        options: dict[str, Any] | None = None,
        *more: int,
        **extra: Any,
    ) -> dict[str, Any]:
        """Return what arrived, as text."""
        found = {name: repr(value) for name, value in locals().items() if name not in ("self", "found")}
        return found | {"password": "kept"}
