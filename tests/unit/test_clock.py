from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bgapp import clock


def test_now_is_aware_and_utc() -> None:
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_monotonic_never_goes_back() -> None:
    seen = [clock.monotonic() for _ in range(100)]
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 22, 12, tzinfo=UTC), "2026-11-22T12:00:00.000000Z"),
        (datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC), "2026-11-22T12:00:00.000001Z"),
        (datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2))), "2026-11-21T23:00:00.000000Z"),
        (None, None),
    ],
)
def test_iso_is_of_fixed_width_and_utc(moment: datetime | None, text: str | None) -> None:
    assert clock.iso(moment) == text


def test_iso_texts_sort_as_their_times_do() -> None:
    first = datetime(2026, 11, 22, 12, tzinfo=UTC)
    moments = [first + timedelta(microseconds=n * 333_333) for n in range(20)]
    texts = [clock.iso(moment) for moment in moments]
    assert texts == sorted(str(text) for text in texts)
