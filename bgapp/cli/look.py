"""A command's looks at one job in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from bgapp import queries
from bgapp.cli.words import LARGEST_ID
from bgapp.errors import UnknownJob
from bgapp.runtime import Runtime


def checked(job_id: int) -> int:
    """Return an id that the database can be asked for. Raises UnknownJob."""
    if job_id > LARGEST_ID:
        raise UnknownJob(job_id)
    return job_id


def job(runtime: Runtime, job_id: int) -> Row[Any]:
    """Return a job's row as it is now. Raises UnknownJob, DatabaseUnavailable."""
    with runtime.database.read() as connection:
        row = queries.job(connection, checked(job_id))
    if row is None:
        raise UnknownJob(job_id)
    return row


def attempts(runtime: Runtime, job_id: int) -> Sequence[Row[Any]]:
    """Return a job's attempts, oldest first. Raises DatabaseUnavailable."""
    with runtime.database.read() as connection:
        return queries.attempts(connection, job_id)


def as_json(runtime: Runtime, row: Row[Any]) -> dict[str, Any]:
    """Return the contract's JSON of a job. Raises DatabaseUnavailable."""
    return queries.as_json(row, attempts(runtime, row.id), runtime.settings.secret_keys)
