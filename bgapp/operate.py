"""What an operator does to one job, by a page or by a command: checked, committed, told to the logs, acted upon."""

from __future__ import annotations

from bgapp import attemptlog, handle, lifecycle, repeat, wake
from bgapp.runtime import Runtime


def cancel(runtime: Runtime, job_id: int, by: str | None) -> None:
    """Cancel a job: at once where it waits, by its runner where it runs. Raises UnknownJob, WrongState."""
    handle.cancel(runtime, job_id, by)


def retry(runtime: Runtime, job_id: int) -> None:
    """Run an ended job again, with a fresh set of retries. Raises UnknownJob, WrongState."""
    database = runtime.database
    changes = repeat.write(
        database,
        lambda connection: lifecycle.retry(connection, job_id, database.clock(connection)),
        lambda _: f"the retry of job {job_id}",
    )
    runtime.tell(changes)
    wake.wake_for_work(runtime.settings.instance)


def delete(runtime: Runtime, job_id: int) -> None:
    """Delete a job that does not run, with its attempts and their output. Raises UnknownJob, WrongState."""
    changes = repeat.write(
        runtime.database,
        lambda connection: lifecycle.remove(connection, job_id),
        lambda _: f"the deletion of job {job_id}",
    )
    runtime.tell(changes)
    attemptlog.remove(runtime.settings.log_dir, job_id)
