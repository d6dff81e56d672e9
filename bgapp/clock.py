"""The only source of "now": aware UTC for what is stored, monotonic seconds for what is measured."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds that only ever go up; for durations and deadlines."""
    return time.monotonic()


def iso(moment: datetime | None) -> str | None:
    """Return `moment` as ISO 8601 in UTC, such as `2026-11-22T12:00:00.000000Z`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
