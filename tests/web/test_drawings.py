"""What pages say of durations, sizes and lives of jobs, and what they draw of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bgapp.web import drawings, filters, timeline
from tests.factories import NOW, SECOND


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00 s"),
        (0.421, "0.42 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (124, "2 min 04 s"),
        (3599.6, "1 h 00 min"),
        (7440, "2 h 04 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
        (-5, "0.00 s"),
    ],
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert filters.duration(seconds) == words


def test_sizes_and_counts_read_well() -> None:
    assert [filters.size(count) for count in (0, 1023, 1024, 5 * 1024**2, 3 * 1024**3)] == [
        "0 bytes", "1023 bytes", "1.0 KiB", "5.0 MiB", "3.0 GiB",
    ]  # fmt: skip
    helpers = filters.Helpers()
    assert helpers.count(1234567) == "1\u202f234\u202f567"
    assert helpers.count(10_000, 10_000) == "10\u202f000+"
    assert helpers.count(9_999, 10_000) == "9\u202f999"


class Row:
    """A row with the attributes that a drawing or a timeline reads."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def attempt(number: int, start: float, end: float | None, status: str = "failed") -> Row:
    return Row(
        number=number,
        status=status,
        reason=None,
        started_at=NOW + start * SECOND,
        finished_at=None if end is None else NOW + end * SECOND,
    )


def job(status: str = "failed", **values: Any) -> Row:
    return Row(
        **{
            "status": status,
            "created_at": NOW,
            "run_at": NOW,
            "finished_at": None,
            "created_by": None,
            "cancelled_by": None,
            "cancel_requested_at": None,
            "error": None,
            **values,
        }
    )


def test_a_track_hangs_failures_below_its_axis_and_stays_within_it() -> None:
    tries = [attempt(1, 1, 2), attempt(2, 10, 11), attempt(3, 20, 30, "completed")]
    bars = drawings.track(job("completed"), tries)
    assert [bar.y > drawings.MIDDLE for bar in bars] == [True, True, False]
    assert all(bar.x >= 0 and bar.x + bar.width <= drawings.WIDTH for bar in bars)
    assert bars[0].x < bars[1].x < bars[2].x
    open_ended = drawings.track(job("running"), [attempt(1, 0, 1), attempt(2, 5, None, "running")])
    assert open_ended[-1].x + open_ended[-1].width == drawings.WIDTH
    assert drawings.track(job("completed"), tries[2:]) == []
    assert drawings.track(job("pending"), []) == []
    at_once = drawings.track(job(), [attempt(1, 0, 0), attempt(2, 0, 0)])
    assert all(bar.width >= drawings.LEAST for bar in at_once)


def test_the_latest_jobs_are_drawn_within_their_frame() -> None:
    rows = [
        Row(status=status, started_at=start, finished_at=NOW + timedelta(days=1))
        for status in ("completed", "failed", "cancelled")
        for start in (NOW, None, NOW + timedelta(days=2))
    ] + [Row(status="running", started_at=NOW, finished_at=None)]
    for bar in drawings.latest(rows):
        assert bar.y >= 0
        assert bar.y + bar.height <= drawings.HEIGHT
        assert bar.x + bar.width <= drawings.LATEST * drawings.STEP


def test_a_timeline_tells_a_whole_life_in_order() -> None:
    story = timeline.events(
        job("completed", created_by="ada", finished_at=NOW + 30 * SECOND),
        [attempt(1, 1, 2), attempt(2, 17, 30, "completed")],
    )
    assert [(event.words, event.detail) for event in story] == [
        ("Asked for by ada", ""),
        ("Attempt 1 failed after 1.00 s", "Waited 1.00 s"),
        ("Attempt 2 completed after 13.0 s", "Waited 15.0 s"),
    ]


def test_a_timeline_looks_ahead_and_names_who_cancelled() -> None:
    due = NOW + 60 * SECOND
    waiting = timeline.events(job("scheduled", run_at=due), [])
    assert [(event.words, event.at, event.is_ahead) for event in waiting[1:]] == [("Due", due, True)]
    retrying = timeline.events(job("scheduled", run_at=due), [attempt(1, 1, 2)])
    assert retrying[-1].words == "Attempt 2 is due"
    cancelled = timeline.events(job("cancelled", cancelled_by="grace", finished_at=NOW), [])
    assert cancelled[-1].words == "Cancelled by grace"
    assert timeline.events(job(created_by="command"), [])[0].words == "Asked for by a command"
