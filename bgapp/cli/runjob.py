"""`run-job`: ask for a job, and wait for its end where that is wanted."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

import click
from sqlalchemy import Row

from bgapp import newjob, queries
from bgapp import runtime as runtimes
from bgapp.cli import look, presence, show, words
from bgapp.cli.errors import NOT_COMPLETED, Command
from bgapp.cli.show import CLEAR
from bgapp.enqueue import enqueue
from bgapp.errors import JobRejected
from bgapp.handle import FIRST_PAUSE, LONGEST_PAUSE, JobHandle
from bgapp.models import Status
from bgapp.options import DEFAULT_PRIORITY
from bgapp.runtime import Runtime

CREATED_BY = "command"


class RunJob(Command):
    """Takes options anywhere among the words, and negative numbers as words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words. Raises click.UsageError."""
        return super().parse_args(ctx, words.arranged(self.get_params(ctx), args))


@click.command(
    "run-job",
    cls=RunJob,
    short_help="Ask for a job.",
    options_metavar="",
    epilog="A word that begins with a dash and is no negative number comes after --.",
)
@click.argument("job_class", metavar="CLASS")
@click.argument("method", metavar="METHOD")
@click.argument("params", metavar="[PARAM ...] [OPTIONS]", nargs=-1)
@click.option("--kwargs", metavar="JSON", help="Parameters by name, as a JSON object, in place of PARAMs.")
@click.option("--retries", metavar="N", help="Further tries after the first, 0 to 100.")
@click.option("--backoff", metavar="S", help="Seconds before the first retry, doubling; '5 fixed' keeps it.")
@click.option("--delay", metavar="S", help="Seconds before the job may run.")
@click.option("--priority", metavar="N", help="-100 to 100, or low, normal, high or critical; larger runs first.")
@click.option("--queue", metavar="Q", help="The queue's name.")
@click.option("--timeout", metavar="S", help="Seconds one attempt may take.")
@click.option("--unique-key", metavar="K", help="While a job with this key waits or runs, ask for no other.")
@click.option("--wait", is_flag=True, help="Wait for the job's end and print its result.")
@click.option("--json", "as_json", is_flag=True, help="Print the job, or its refusal, as JSON.")
def run_job(
    job_class: str,
    method: str,
    params: tuple[str, ...],
    kwargs: str | None,
    wait: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Ask for METHOD of CLASS to run in the background.

    CLASS is a name from the allow-list, such as shop.jobs.ReportJob or ReportJob. Each PARAM is a word of its own,
    converted by the method's type hints; list and dict hints take JSON.
    """
    runtime = runtimes.current()
    with contextlib.redirect_stdout(sys.stderr):  # what an imported job class prints is no part of the answer
        values = _params(runtime, job_class, method, list(params), kwargs)
        handle = enqueue(runtime, job_class, method, values, _wanted(given), created_by=CREATED_BY)
    row = _wait(runtime, handle.id) if wait else look.job(runtime, handle.id)
    if not wait:
        presence.warn_if_alone(runtime, row)
    if as_json:
        click.echo(show.as_json(look.as_json(runtime, row)))
    elif not wait:
        click.echo(_accepted(row, handle, given["unique_key"]))
    elif row.status == Status.COMPLETED:
        click.echo(show.as_json(queries.stored(row.result)))
    if wait and row.status != Status.COMPLETED:
        if not as_json:
            click.echo(show.standing(row) + (f": {show.line(row.error)}" if row.error else ""), err=True)
        raise click.exceptions.Exit(NOT_COMPLETED)


def _params(runtime: Runtime, job_class: str, method: str, params: list[str], kwargs: str | None) -> object:
    try:
        return newjob.from_words(params, kwargs)
    except JobRejected as refusal:
        runtime.tell_refusal(job_class, method, params or None, refusal)
        raise


def _wanted(given: dict[str, str | None]) -> dict[str, Any]:
    """Return the options that were given, numbers as numbers; their ranges are checked with all other calls'."""
    wanted: dict[str, Any] = {name: text for name, text in given.items() if text is not None}
    for name in ("retries", "delay", "priority", "timeout"):
        if name in wanted:
            wanted[name] = words.number(wanted[name])
    if wanted.get("priority") == DEFAULT_PRIORITY and type(wanted["priority"]) is int:
        wanted["priority"] = "normal"  # said outright, so the allow-list's own does not come first
    return wanted


def _accepted(row: Row[Any], handle: JobHandle, unique_key: str | None) -> str:
    if handle.created:
        return show.standing(row)
    return f"{show.standing(row)}: it was asked for before with the unique key {show.line(unique_key or '')}"


def _wait(runtime: Runtime, job_id: int) -> Row[Any]:
    """Return the job once it has ended; meanwhile show its progress to whoever sits at a terminal."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    said, pause = "", FIRST_PAUSE
    try:
        presence.warn_if_alone(runtime, look.job(runtime, job_id))
        while True:
            row = look.job(runtime, job_id)
            if queries.is_final(row.status):
                return row
            if terminal and said != (said := show.progress(row)):
                click.echo(CLEAR + said, nl=False, err=True)
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
    except KeyboardInterrupt:
        click.echo(f"{CLEAR if said else ''}Job {job_id} goes on; `jobs cancel {job_id}` ends it.", err=True)
        said = ""
        raise
    finally:
        if said:
            click.echo(CLEAR, nl=False, err=True)
