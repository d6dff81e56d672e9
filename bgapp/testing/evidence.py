"""What an installation holds in the end, in the oracle's words: rows, attempts, and its log files."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from bgapp import eventlog, queries
from bgapp.logline import DROPPED_TITLE
from bgapp.runtime import Runtime
from bgapp.testing.oracle import Attempt, Row

PAGE = 500  # jobs in one read
LINE = re.compile(
    r"Job [a-z ]+ \| Class: [\w.]+ \| Method: \w+ \| Parameters: \{.*\} \| Timestamp: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    r"( \| Job: \d+)?( \| Attempt: \d+)?( \| Error: .*)?"
)


def tables(runtime: Runtime) -> tuple[list[Row], list[Attempt]]:
    """Return every job and every attempt. Raises DatabaseUnavailable."""
    rows: list[Row] = []
    attempts: list[Attempt] = []
    before: int | None = None
    with runtime.database.read() as connection:
        while page := queries.jobs(connection, before=before, limit=PAGE):
            for job in page:
                rows.append(Row(job.id, _tag(job.params), job.status, job.reason, job.attempt))
                tries = queries.attempts(connection, job.id)
                attempts += [Attempt(job.id, one.number, one.status, one.reason, one.error) for one in tries]
            before = page[-1].id
    return rows, attempts


def _tag(params: str) -> int:
    found: Any = json.loads(params)
    return int(found["tag"])


def unreadable_lines(log_dir: Path) -> list[str]:
    """Return the lines of both log files that are not whole lines of theirs (text form)."""
    found = []
    for name in (eventlog.MAIN_NAME, eventlog.ERRORS_NAME):
        path = log_dir / name
        for number, line in enumerate(path.read_text(errors="replace").splitlines() if path.exists() else (), 1):
            if not LINE.fullmatch(line) and not line.startswith(DROPPED_TITLE):
                found.append(f"{name}:{number}: {line[:200]}")
    return found


def unlogged_ends(log_dir: Path, rows: list[Row]) -> int:
    """Return how many ended jobs have no line for their end in the main log: a process died before it wrote it."""
    path = log_dir / eventlog.MAIN_NAME
    text = path.read_text(errors="replace") if path.exists() else ""
    titles = {"completed": "Job completed successfully", "failed": "Job failed", "cancelled": "Job cancelled"}
    told: Counter[tuple[str, int]] = Counter()
    for line in text.splitlines():
        if match := re.match(r"(Job [a-z ]+) \|.* \| Job: (\d+)", line):
            told[match[1], int(match[2])] += 1
    return sum(1 for row in rows if row.status in titles and not told[titles[row.status], row.id])


def kept_entries(instance: Path) -> int:
    """Return how many entry files are left; each belongs to an attempt that runs, or was forgotten."""
    return sum(1 for _ in instance.glob("nodes/*/entries/*"))
