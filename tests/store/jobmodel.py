"""What every job should be, said once more in plain Python: no SQL, one object a job.

It counts in its own way, so that it does not repeat the store's mistakes: the tries that are left, where the table has
the attempt number after which a failure is final.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bgapp.models import FINAL, UNFINISHED, WAITING, Reason, Status
from bgapp.outcome import Outcome
from bgapp.records import LEASE, Change, Claim, NewJob
from tests import factories as make

MOST_STARTS_IN_VAIN = 10
LONGEST_START_WAIT = 30.0  # seconds
COMPARED = (
    "status", "reason", "error", "result", "progress", "priority", "run_at", "retries", "attempt", "attempt_limit",
    "lost_in_row", "unique_key", "token", "lease_until", "runner_pid", "started_at", "finished_at",
    "cancel_requested_at", "cancelled_by",
)  # fmt: skip

OUTCOMES = {
    "completed": make.COMPLETED,
    "error": make.FAILED,
    "timeout": replace(make.FAILED, reason=Reason.TIMEOUT, error="the time limit passed"),
    "no_result": replace(make.FAILED, reason=Reason.NO_RESULT, error="no result"),
    "limit": replace(make.FAILED, reason=Reason.LIMIT, error="its limit was hit"),
    "lost": make.LOST,
    "not_allowed": make.REFUSED,
    "not_started": make.NOT_STARTED,
    "ended_before_method": replace(make.NOT_STARTED, pid=77),
    "not_created": replace(make.NOT_STARTED, may_retry=False),
    "cancelled": make.STOPPED,
}
# What the log files are told of a status that changed; None stands for no row.
TITLES: dict[tuple[str | None, str | None], set[str]] = {
    (None, "pending"): {"Job pending"},
    (None, "scheduled"): {"Job scheduled"},
    (None, "running"): {"Job running"},
    ("scheduled", "pending"): {"Job pending"},
    ("pending", "running"): {"Job running"},
    ("running", "completed"): {"Job completed successfully"},
    ("running", "failed"): {"Job failed"},
    ("running", "cancelled"): {"Job cancelled"},
    ("running", "scheduled"): {"Job retry scheduled", "Job scheduled"},
    ("running", "pending"): {"Job pending"},
    ("scheduled", "cancelled"): {"Job cancelled"},
    ("pending", "cancelled"): {"Job cancelled"},
    ("completed", "pending"): {"Job pending"},
    ("failed", "pending"): {"Job pending"},
    ("cancelled", "pending"): {"Job pending"},
    **{(status.value, None): {"Job deleted"} for status in Status if status is not Status.RUNNING},
}


@dataclass
class ModelAttempt:
    """One row of the attempts."""

    number: int
    runner_pid: int
    started_at: datetime
    status: Status = Status.RUNNING
    reason: Reason | None = None
    error: str | None = None
    finished_at: datetime | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Told:
    """What a log line must say of a change."""

    title: str
    job: int
    attempt: int | None
    error: str | None = None
    is_error: bool = False

    @classmethod
    def of(cls, change: Change) -> Told:
        return cls(change.title, change.job, change.attempt, change.error, change.is_error)


@dataclass
class ModelJob:
    """One job; its methods are the edges, and each returns what is told of it."""

    id: int
    new: NewJob
    status: Status
    run_at: datetime
    tries_left: int
    granted: int  # tries, since it was made
    reason: Reason | None = None
    error: str | None = None
    result: str | None = None
    progress: str | None = None
    lost_in_row: int = 0
    claim: Claim | None = None  # of whoever runs it now
    lease_until: datetime | None = None
    runner_pid: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancelled_by: str | None = None
    attempts: list[ModelAttempt] = field(default_factory=list)
    starts_in_vain: list[bool] = field(default_factory=list)  # of each not_started, whether there was a process
    run_at_latest: datetime | None = None  # a doubling wait has jitter: `run_at` is only its beginning

    @classmethod
    def add(cls, job_id: int, new: NewJob, now: datetime) -> ModelJob:
        status = Status.SCHEDULED if new.run_at > now else Status.PENDING
        return cls(job_id, new, status, new.run_at, 1 + new.retries, 1 + new.retries)

    @property
    def attempt(self) -> int:
        return len(self.attempts)

    @property
    def held_by(self) -> Claim:
        assert self.claim is not None
        return self.claim

    @property
    def holds_key(self) -> bool:
        return self.new.unique_key is not None and self.status in UNFINISHED

    @property
    def claim_order(self) -> tuple[int, datetime, int]:
        return -self.new.priority, self.run_at, self.id

    def tell(self, title: str, error: str | None = None, *, is_error: bool = False) -> Told:
        return Told(title, self.id, self.attempt or None, error, is_error)

    def row(self) -> dict[str, Any]:
        """Return the columns of `COMPARED` as they must stand in the table."""
        counted = {
            "priority": self.new.priority,
            "retries": self.new.retries,
            "unique_key": self.new.unique_key,
            "attempt_limit": self.attempt + self.tries_left,
            "token": self.claim.token if self.claim else None,
        }
        return {name: counted[name] if name in counted else getattr(self, name) for name in COMPARED}

    # The edges ------------------------------------------------------------------------------------------------

    def promote(self) -> Told:
        self.status = Status.PENDING
        return self.tell("Job pending")

    def begin(self, claim: Claim, pid: int, now: datetime) -> Told:
        self.status, self.claim, self.runner_pid = Status.RUNNING, claim, pid
        self.started_at, self.lease_until = now, now + LEASE
        self.reason = self.error = self.result = self.progress = None
        self.tries_left -= 1
        self.attempts.append(ModelAttempt(self.attempt + 1, pid, now))
        return self.tell("Job running")

    def renew(self, now: datetime, progress: str) -> None:
        self.lease_until, self.progress = now + LEASE, progress

    def cancel(self, by: str, now: datetime) -> list[Told]:
        if self.status in WAITING:
            self.status, self.reason = Status.CANCELLED, Reason.CANCELLED
            self.finished_at, self.cancelled_by = now, by
            return [self.tell("Job cancelled")]
        if self.cancel_requested_at is None:
            self.cancel_requested_at, self.cancelled_by = now, by
        return []

    def retry(self, now: datetime) -> Told:
        self.status, self.run_at = Status.PENDING, now
        self.reason = self.error = self.result = self.progress = self.finished_at = self.cancelled_by = None
        self.lost_in_row = 0
        self.tries_left = 1 + self.new.retries
        self.granted += self.tries_left
        return self.tell("Job pending")

    def settle(self, outcome: Outcome, now: datetime) -> list[Told]:
        asked = self.cancel_requested_at is not None
        self.claim = self.lease_until = self.cancel_requested_at = None
        attempt = self.attempts[-1]
        attempt.status, attempt.reason, attempt.error = outcome.status, outcome.reason, outcome.error
        attempt.finished_at, attempt.pid = now, outcome.pid
        if outcome.status is Status.COMPLETED:
            self.status, self.result, self.finished_at = Status.COMPLETED, outcome.result, now
            self.lost_in_row, self.cancelled_by = 0, None
            return [self.tell("Job completed successfully")]
        self.reason, self.error = outcome.reason, outcome.error
        if asked or outcome.status is Status.CANCELLED:
            attempt.status, attempt.reason = Status.CANCELLED, Reason.CANCELLED
            self.reason, self.lost_in_row = Reason.CANCELLED, 0
            self.status, self.finished_at = Status.CANCELLED, now
            return [self.tell("Job cancelled", self.error)]
        if outcome.reason is Reason.NOT_STARTED:
            self.starts_in_vain.append(outcome.pid is not None)
            if outcome.may_retry and sum(self.starts_in_vain) >= MOST_STARTS_IN_VAIN:
                return [self._give_up(outcome, now)]
            return [self._put_back(outcome, now)]
        return self._fail(outcome, now)

    def _give_up(self, outcome: Outcome, now: datetime) -> Told:
        """Its own import seems to end its processes."""
        times = sum(self.starts_in_vain)
        self.starts_in_vain = []
        self.reason = self.attempts[-1].reason = Reason.POISON
        self.error = f"{outcome.error} ({times} attempts never reached it: not tried again)"
        self.status, self.finished_at, self.lost_in_row = Status.FAILED, now, 0
        return self.tell("Job failed", self.error, is_error=True)

    def _put_back(self, outcome: Outcome, now: datetime) -> Told:
        """A try that never was is given back."""
        self.tries_left += 1
        times = len(self.starts_in_vain)
        waits = times > 1 or not outcome.may_retry
        pause = min(2.0 ** (times - 1), LONGEST_START_WAIT) if waits else 0.0
        self.run_at = now + timedelta(seconds=pause)
        self.status = Status.SCHEDULED if waits else Status.PENDING
        return self.tell("Job scheduled" if waits else "Job pending", outcome.error, is_error=True)

    def _fail(self, outcome: Outcome, now: datetime) -> list[Told]:
        lost = outcome.reason is Reason.LOST
        self.lost_in_row = self.lost_in_row + 1 if lost else 0
        told = [self.tell("Job lost", outcome.error, is_error=True)] if lost else []
        poison = self.lost_in_row == 3
        if poison:
            self.reason = Reason.POISON
            self.error = f"{outcome.error} (3 attempts in a row were lost: not tried again)"
        if poison or not self.tries_left or not outcome.may_retry:
            self.status, self.finished_at = Status.FAILED, now
            return [*told, self.tell("Job failed", self.error, is_error=True)]
        self.status = Status.SCHEDULED
        self._wait(now)
        return [*told, self.tell("Job retry scheduled", self.error, is_error=not lost)]

    def _wait(self, now: datetime) -> None:
        backoff, used = self.new.backoff, 1 + self.new.retries - self.tries_left
        if backoff.fixed:
            self.run_at = now + timedelta(seconds=backoff.seconds)
            return
        middle = backoff.seconds * 2 ** (used - 1)
        self.run_at = now + timedelta(seconds=middle * 0.75)
        self.run_at_latest = now + timedelta(seconds=middle * 1.25)

    def adopt(self, run_at: datetime) -> None:
        """Take over the moment that was drawn, if it may be drawn."""
        if self.run_at_latest is not None:
            assert self.run_at <= run_at <= self.run_at_latest
            self.run_at, self.run_at_latest = run_at, None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def entered(self) -> int:
        """How many attempts may have entered the method, the running one included."""
        return sum(one.reason is not Reason.NOT_STARTED for one in self.attempts)
