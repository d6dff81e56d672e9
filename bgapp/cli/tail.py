"""`jobs log`: what an attempt wrote, and with `--follow` what it goes on to write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Row

from bgapp import attemptlog, queries
from bgapp import runtime as runtimes
from bgapp.cli import look
from bgapp.cli.errors import Command, NotCompleted
from bgapp.cli.words import natural
from bgapp.runtime import Runtime

PAUSE = 0.1  # seconds between two looks while following


@click.command("log", cls=Command, short_help="Print a job's output.")
@click.argument("job_id", metavar="ID", type=natural)
@click.option("--attempt", metavar="N", type=natural, help="Which attempt (default: the newest).")
@click.option("--follow", is_flag=True, help="Go on until the attempt has ended; wait for it where it has not begun.")
def log(job_id: int, attempt: int | None, follow: bool) -> None:
    """Print what a job wrote to its output; bytes that a terminal would act on stand as escapes."""
    runtime = runtimes.current()
    found = _attempt(runtime, job_id, attempt)
    while found is None and follow and not queries.is_final(look.job(runtime, job_id).status):
        time.sleep(PAUSE)
        found = _attempt(runtime, job_id, attempt)
    if found is None:
        which = "no attempt yet" if attempt is None else f"no attempt {attempt}"
        raise NotCompleted(f"job {job_id} has {which}")
    number, offset = found.number, 0
    path = attemptlog.path(runtime.settings.log_dir, job_id, number)
    while True:
        # Looked at first: what was written before an attempt's end is there once its end is.
        ended = found is None or found.finished_at is not None
        offset = _print_from(path, offset, last=ended or not follow)
        if ended or not follow:
            break
        time.sleep(PAUSE)
        found = _attempt(runtime, job_id, number)
    if offset == 0:
        click.echo(f"Attempt {number} has no output here: it wrote none, or its log was removed.", err=True)


def _attempt(runtime: Runtime, job_id: int, number: int | None) -> Row[Any] | None:
    """Return one attempt of a job, the newest without a number. Raises UnknownJob."""
    look.job(runtime, job_id)
    tries = look.attempts(runtime, job_id)
    chosen = tries[-1:] if number is None else [row for row in tries if row.number == number]
    return chosen[0] if chosen else None


def _print_from(path: Path, offset: int, *, last: bool) -> int:
    """Print what the log holds from `offset` on and return where to go on; `last` says that nothing follows."""
    while True:
        chunk = attemptlog.read(path, offset)
        data, offset = chunk.data, chunk.next_offset
        at_end = offset >= chunk.end
        if data.endswith(b"\r") and not (last and at_end):
            data, offset = data[:-1], offset - 1  # a newline may follow it, and the two are one
        click.echo(attemptlog.visible(data), nl=False)
        if at_end or not data:
            return offset
