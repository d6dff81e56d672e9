"""What an enqueuing call gives back: a job's id, and ways to look at it, wait for it and cancel it."""

from __future__ import annotations

import time
from typing import Any

from bgapp import clock, lifecycle, queries, repeat, wake
from bgapp.errors import UnknownJob
from bgapp.runtime import Runtime, current

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.25  # seconds between two looks while waiting


class JobHandle:
    """A job as its caller holds it; true in a condition. What it shows is from the last `refresh()`."""

    def __init__(self, runtime: Runtime, job_id: int, created: bool = True) -> None:
        self._runtime = runtime
        self._row: Any = None
        self.id = job_id
        self.created = created  # False: `unique_key` found this unfinished job

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def _known(self) -> Any:
        if self._row is None:
            self.refresh()
        return self._row

    @property
    def status(self) -> str:
        """The job's status. Raises UnknownJob (not committed yet, or deleted) as the others do."""
        return str(self._known().status)

    @property
    def result(self) -> Any:
        """What the method returned; None until the job completed."""
        return queries.stored(self._known().result)

    @property
    def error(self) -> str | None:
        """The newest attempt's error in a line."""
        error: str | None = self._known().error
        return error

    def refresh(self) -> JobHandle:
        """Look again; return this handle. Raises UnknownJob, DatabaseUnavailable."""
        self._row = repeat.read(self._runtime.database, lambda connection: queries.job(connection, self.id))
        if self._row is None:
            raise UnknownJob(self.id)
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended, at most `timeout` seconds; return whether it has. Raises UnknownJob."""
        deadline = None if timeout is None else clock.monotonic() + timeout
        pause = FIRST_PAUSE
        while not queries.is_final(self.refresh().status):
            left = LONGEST_PAUSE if deadline is None else deadline - clock.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE, pause * 1.5)
        return True

    def cancel(self, by: str | None = None) -> None:
        """Cancel the job: at once where it waits, by its runner where it runs. Raises UnknownJob, WrongState."""
        cancel(self._runtime, self.id, by)


def get_job(job_id: int) -> JobHandle:
    """Return a handle on a job of the current application, such as one whose id was kept. Raises UnknownJob."""
    return JobHandle(current(), job_id, created=False).refresh()


def cancel(runtime: Runtime, job_id: int, by: str | None) -> None:
    """Cancel a job and tell it to whoever runs it. Raises UnknownJob, WrongState, DatabaseUnavailable."""
    database = runtime.database
    changes = repeat.write(
        database,
        lambda connection: lifecycle.cancel(connection, job_id, by, database.clock(connection)),
        lambda _: f"the cancellation of job {job_id}",
    )
    runtime.tell(changes)
    wake.wake_runners(runtime.settings.instance)
