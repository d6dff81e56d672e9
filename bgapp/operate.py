"""What an operator does to one job, by a page or by a command: checked, committed, told to the logs, acted upon."""

from __future__ import annotations

from bgapp import attemptlog, handle, lifecycle, wake
from bgapp.runtime import Runtime


def cancel(runtime: Runtime, job_id: int, by: str | None) -> None:
    """Cancel a job: at once where it waits, by its runner where it runs. Raises UnknownJob, WrongState."""
    handle.cancel(runtime, job_id, by)


def retry(runtime: Runtime, job_id: int) -> None:
    """Run an ended job again, with a fresh set of retries. Raises UnknownJob, WrongState."""
    with runtime.database.write() as connection:
        changes = lifecycle.retry(connection, job_id, runtime.database.clock(connection))
    runtime.tell(changes)
    wake.wake_for_work(runtime.settings.instance)


def delete(runtime: Runtime, job_id: int) -> None:
    """Delete a job that does not run, with its attempts and their output. Raises UnknownJob, WrongState."""
    with runtime.database.write() as connection:
        changes = lifecycle.remove(connection, job_id)
    runtime.tell(changes)
    attemptlog.remove(runtime.settings.log_dir, job_id)
