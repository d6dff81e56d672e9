"""`current_job`: what job code may know of the attempt it runs in, and how it tells its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Attempt:
    id: int
    attempt: int
    retries: int
    report: Callable[[float | None, str | None], None]


class CurrentJob:
    """The job that this process runs; false, and silent, where there is none."""

    def __init__(self) -> None:
        self._attempt: _Attempt | None = None

    def __bool__(self) -> bool:
        return self._attempt is not None

    def _known(self) -> _Attempt:
        if self._attempt is None:
            raise RuntimeError("current_job means something only while a job runs")
        return self._attempt

    @property
    def id(self) -> int:
        """The job's id. Raises RuntimeError outside a job, as all of these do."""
        return self._known().id

    @property
    def attempt(self) -> int:
        """The number of this try, from 1."""
        return self._known().attempt

    @property
    def retries(self) -> int:
        """How many further tries the job was given."""
        return self._known().retries

    @property
    def idempotency_key(self) -> str:
        """A text that stays the same over all attempts of this job, to mark outside effects with."""
        return f"bgapp-{self._known().id}"

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Tell how far the job is: `fraction` 0 to 1, or None where it cannot be known; and a few words.

        Cheap enough for a loop: it is shown at most once a second. Does nothing outside a job.
        """
        if self._attempt is not None:
            self._attempt.report(fraction, message)

    def begin(self, job: int, attempt: int, retries: int, report: Callable[[float | None, str | None], None]) -> None:
        """For the runner: a job starts in this process."""
        self._attempt = _Attempt(job, attempt, retries, report)

    def end(self) -> None:
        """For the runner: it ended."""
        self._attempt = None


current_job = CurrentJob()
