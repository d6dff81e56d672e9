"""Rows and files behind the pages that a test looks at."""

from __future__ import annotations

import re
from typing import Any

from bgapp import attemptlog
from bgapp.models import Status
from bgapp.runtime import Runtime
from bgapp.statements import ATTEMPTS
from tests import factories
from tests.factories import NOW, SECOND

LIVE = {"HX-Request": "true"}  # how the page's script asks for a region alone


def add(runtime: Runtime, status: Status = Status.PENDING, **columns: Any) -> int:
    with runtime.database.write() as connection:
        return factories.insert_job(connection, status, **columns)


def add_attempt(runtime: Runtime, job_id: int, number: int = 1, **columns: Any) -> None:
    values = {
        "job_id": job_id,
        "number": number,
        "status": "failed",
        "reason": "error",
        "node": "node-1",
        "runner_pid": 1,
        "started_at": NOW,
        "finished_at": NOW + SECOND,
        "exit_code": 1,
    }
    with runtime.database.write() as connection:
        connection.execute(ATTEMPTS.insert().values(values | columns))


def write_log(runtime: Runtime, job_id: int, data: bytes, attempt: int = 1) -> None:
    path = attemptlog.path(runtime.settings.log_dir, job_id, attempt)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(data)


def text_of(html: str) -> str:
    """Return the words of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())
