"""`jobs`: list, show, cancel, retry, delete and count jobs."""

from __future__ import annotations

from collections.abc import Callable

import click

from bgapp import operate, queries
from bgapp import runtime as runtimes
from bgapp.cli import look, presence, show
from bgapp.cli.errors import NOT_COMPLETED, Command
from bgapp.cli.runjob import CREATED_BY
from bgapp.cli.tail import log
from bgapp.cli.words import LARGEST_ID, natural
from bgapp.errors import UnknownJob, WrongState
from bgapp.models import Status
from bgapp.runtime import Runtime

MOST_LISTED = 1000
EXACT = 10**12  # more jobs than any table holds

ids = click.argument("ids", metavar="ID ...", nargs=-1, required=True, type=natural)


@click.group("jobs", short_help="See and change jobs.")
def jobs() -> None:
    """See and change jobs."""


jobs.add_command(log)


@jobs.command("list", cls=Command, short_help="List jobs, newest first.")
@click.option(
    "--status", metavar="S", type=click.Choice([status.value for status in Status]), help="Only jobs with this status."
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, MOST_LISTED),
    default=queries.PAGE,
    help="How many (default 50).",
)
@click.option("--before", metavar="ID", type=natural, help="Only jobs older than this one; for the next page.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of jobs as JSON.")
def list_jobs(status: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """List jobs, newest first."""
    runtime = runtimes.current()
    before = None if before is None else min(before, LARGEST_ID)
    with runtime.database.read() as connection:
        rows = queries.jobs(connection, status, before, limit + 1)  # one more tells whether there are more
        if as_json:
            secrets = runtime.settings.secret_keys
            tries = [queries.attempts(connection, row.id) for row in rows[:limit]]
    if as_json:
        click.echo(show.as_json([queries.as_json(row, one, secrets) for row, one in zip(rows, tries, strict=False)]))
        return
    if not rows:
        click.echo("No jobs." if status is None else f"No jobs are {status}.")
        return
    heads = ("ID", "STATUS", "TRY", "CREATED", "JOB", "ERROR")
    cells = [
        (
            str(row.id),
            show.status(row.status),
            str(row.attempt),
            show.moment(row.created_at),
            show.cut(f"{row.job_class}.{row.method}"),
            show.cut(row.error or ""),
        )
        for row in rows[:limit]
    ]
    click.echo(show.table(heads, cells))
    if len(rows) > limit:
        click.echo(f"There are more: --before {rows[limit - 1].id} lists them.", err=True)


@jobs.command("show", cls=Command, short_help="Tell all about a job.")
@click.argument("job_id", metavar="ID", type=natural)
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON.")
def show_job(job_id: int, as_json: bool) -> None:
    """Tell all about a job: its options, its outcome, and each attempt."""
    runtime = runtimes.current()
    row = look.job(runtime, job_id)
    if as_json:
        click.echo(show.as_json(look.as_json(runtime, row)))
        return
    settings = runtime.settings
    click.echo(show.job(row, look.attempts(runtime, job_id), settings.log_dir, settings.secret_keys))


@jobs.command("cancel", cls=Command, short_help="Cancel jobs.")
@ids
def cancel(ids: tuple[int, ...]) -> None:
    """Cancel jobs: at once where they wait; one that runs is asked to stop, and killed where it does not."""
    runtime = runtimes.current()

    def cancel_one(job_id: int) -> str:
        operate.cancel(runtime, job_id, CREATED_BY)
        row = look.job(runtime, job_id)
        return f"job {job_id} is asked to stop" if row.status == Status.RUNNING else show.standing(row)

    _each(ids, cancel_one)


@jobs.command("retry", cls=Command, short_help="Run ended jobs again.")
@ids
def retry(ids: tuple[int, ...]) -> None:
    """Run jobs again that completed, failed or were cancelled, each with a fresh set of retries."""
    runtime = runtimes.current()

    def retry_one(job_id: int) -> str:
        operate.retry(runtime, job_id)
        row = look.job(runtime, job_id)
        presence.warn_if_alone(runtime, row)
        return show.standing(row)

    _each(ids, retry_one)


@jobs.command("delete", cls=Command, short_help="Delete jobs that do not run.")
@ids
def delete(ids: tuple[int, ...]) -> None:
    """Delete jobs with their attempts and logs; one that runs must be cancelled first."""
    runtime = runtimes.current()

    def delete_one(job_id: int) -> str:
        operate.delete(runtime, job_id)
        return f"job {job_id} is deleted"

    _each(ids, delete_one)


@jobs.command("stats", cls=Command, short_help="Count jobs by status.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as a JSON object.")
def stats(as_json: bool) -> None:
    """Count jobs by status."""
    counts = _counts(runtimes.current())
    if as_json:
        click.echo(show.as_json(counts))
    else:
        rows = [(show.status(word), str(count)) for word, count in counts.items()]
        click.echo(show.table(("STATUS", "JOBS"), rows))


def _counts(runtime: Runtime) -> dict[str, int]:
    with runtime.database.read() as connection:
        return queries.counts(connection, EXACT)


def _each(ids: tuple[int, ...], action: Callable[[int], str]) -> None:
    """Do the same with each job; a refused one is told and does not hold up the others. Raises Exit."""
    refused = False
    for job_id in dict.fromkeys(ids):
        try:
            click.echo(action(look.checked(job_id)))
        except (UnknownJob, WrongState) as error:
            refused = True
            click.echo(f"Error: {error}", err=True)
        except BrokenPipeError:
            raise
        except OSError as error:  # of a log that cannot be removed
            refused = True
            click.echo(f"Error: job {job_id} is deleted, but {error.filename} is not: {error.strerror}", err=True)
    if refused:
        raise click.exceptions.Exit(NOT_COMPLETED)
