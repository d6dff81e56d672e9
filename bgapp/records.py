"""What passes between the store and everything else: a job to add, a claim, its owner, a change to tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bgapp.models import Status
from bgapp.settings import Backoff
from bgapp.system import ProcessIdentity

LEASE = timedelta(seconds=30)  # for how long a claim is believed on other machines; the setting LEASE's default


@dataclass(frozen=True)
class NewJob:
    """What is stored of a job that is asked for; every value checked already."""

    job_class: str
    method: str
    params: str
    secret_params: str
    retries: int
    backoff: Backoff
    timeout: float | None
    queue: str
    priority: int
    run_at: datetime
    created_at: datetime
    unique_key: str | None = None
    created_by: str | None = None
    retry_of: int | None = None

    def row(self) -> dict[str, Any]:
        due = self.run_at <= self.created_at
        return {
            **{name: getattr(self, name) for name in _COPIED},
            "status": Status.PENDING if due else Status.SCHEDULED,
            "attempt_limit": 1 + self.retries,
            "backoff": self.backoff.seconds,
            "backoff_fixed": self.backoff.fixed,
        }


_COPIED = (
    "job_class", "method", "params", "secret_params", "retries", "timeout", "queue", "priority", "run_at",
    "created_at", "unique_key", "created_by", "retry_of",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One status change as the log files tell it."""

    title: str
    job: int
    job_class: str
    method: str
    params: str
    secret_params: str
    attempt: int | None = None
    error: str | None = None
    is_error: bool = False


@dataclass(frozen=True)
class Owner:
    """The runner that claims: its node, its process, the generation of the code it holds, its claims' lease."""

    node: str
    process: ProcessIdentity
    generation: str
    lease: timedelta = LEASE


@dataclass(frozen=True)
class Fence:
    """The right to write to one attempt: what every write of its holder must name."""

    job: int
    attempt: int
    token: str


@dataclass(frozen=True)
class Claim(Fence):
    """A runner's right to one attempt, and what it needs to run it."""

    job_class: str
    method: str
    params: str
    secret_params: str
    retries: int
    timeout: float | None
    queue: str
    created_at: datetime
