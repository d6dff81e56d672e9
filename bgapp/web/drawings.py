"""Small drawings as plain geometry, for SVG without a style attribute: what went well stands on the axis, failures
hang below it. Each is decoration; the page says the same in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bgapp.models import FINAL, Status

HEIGHT, AXIS = 64, 44  # of the drawing of the latest jobs, and where its axis lies
RISE, FALL = 42, 18  # the longest bar above and below the axis
SHORTEST, LONGEST = 0.01, 3600.0  # seconds: the ends of the scale of bars

STEP, BAR = 10, 6  # of the latest jobs: from one to the next, and a bar's width
LATEST = 90

WIDTH, TALL, MIDDLE = 1000, 28, 15  # a job's track: its size, and where its axis lies
THICK = 10  # of an attempt's bar
LEAST = 8  # so that the shortest attempt can be seen
OPEN_END = 0.14  # of the track, for an attempt that goes on


@dataclass(frozen=True)
class Bar:
    """A rectangle and the status that colours it."""

    x: float
    y: float
    width: float
    height: float
    kind: str


def latest(rows: Sequence[Any]) -> list[Bar]:
    """Return a bar for each of the latest jobs, oldest first; its height is how long the job ran, on a log scale."""
    offset = (LATEST - len(rows)) * STEP
    return [_standing(offset + place * STEP, row) for place, row in enumerate(rows)]


def _standing(x: float, row: Any) -> Bar:
    if row.status not in FINAL:
        return Bar(x, AXIS - 3, BAR, 3, row.status)
    seconds = (row.finished_at - row.started_at).total_seconds() if row.started_at else SHORTEST
    share = math.log(min(max(seconds, SHORTEST), LONGEST) / SHORTEST) / math.log(LONGEST / SHORTEST)
    if row.status == Status.FAILED:
        return Bar(x, AXIS + 1, BAR, 5 + round(share * (FALL - 5), 1), row.status)
    height = 5 + round(share * (RISE - 5), 1)
    return Bar(x, AXIS - height, BAR, height, row.status)


def track(job: Any, tries: Sequence[Any]) -> list[Bar]:
    """Return a job's attempts along its life, up to its end or the next attempt; one attempt alone needs no drawing."""
    if len(tries) + (job.status == Status.SCHEDULED) < 2 or not tries:
        return []
    start = min(job.created_at, tries[0].started_at)
    ends = [one.finished_at or one.started_at for one in tries]
    end = max([*ends, job.run_at] if job.status == Status.SCHEDULED else ends)
    is_open = tries[-1].finished_at is None
    whole = max(float((end - start).total_seconds()), 0.001)
    scale = (WIDTH * (1 - OPEN_END if is_open else 1) - LEAST) / whole

    def place(at: datetime) -> float:
        seconds: float = (at - start).total_seconds()
        return round(seconds * scale, 1)

    bars = []
    for one in tries:
        x = place(one.started_at)
        right = WIDTH if one.finished_at is None else max(place(one.finished_at), x + LEAST)
        y = MIDDLE + 1 if one.status == Status.FAILED else MIDDLE - THICK
        bars.append(Bar(x, y, round(right - x, 1), THICK, one.status))
    return bars
