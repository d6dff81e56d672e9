"""`python -m bgapp.testing.chaos`: kill a living installation's processes, and judge what became of its jobs."""

from __future__ import annotations

import json
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from bgapp.testing import blows, traffic
from bgapp.testing.blows import Striker
from bgapp.testing.installation import CLOCK, SERVER, Installation
from bgapp.testing.oracle import Violation
from bgapp.testing.processes import can_look
from bgapp.testing.traffic import Traffic
from bgapp.testing.trial import Trial, judge, make, report, show
from bgapp.testing.witness import JOB_CLASS, METHODS

SECONDS_FOR_A_BLOW = 0.8
JOBS_IN_A_SECOND = 30.0
IDLE = 2.0  # seconds a runner waits for work, so that runners come and go
LOOK = 0.04  # seconds between two looks at the processes


def run(
    installation: Installation, jobs: int, kills: int, seed: int, retries: int, reuse: int
) -> tuple[Trial, list[Violation]]:
    """Carry out one trial in a fresh installation; return it and what is wrong."""
    seconds = max(SECONDS_FOR_A_BLOW * kills, jobs / JOBS_IN_A_SECOND)
    calls = traffic.draw(random.Random(f"jobs {seed}"), jobs, seconds, retries)
    planned = blows.draw(random.Random(f"blows {seed}"), kills, seconds)
    installation.start(*SERVER)
    installation.start(*CLOCK)
    trial = Trial(installation, Traffic(installation, calls), Striker(installation, planned), keeps_children=reuse > 1)
    trial.traffic.start()
    while trial.traffic.is_alive() or not trial.striker.done:
        trial.look()
        time.sleep(LOOK)
        if trial.striker.done and trial.is_quiet():
            break
    trial.wait_until_quiet()
    return trial, judge(trial)


@click.command()
@click.option("--jobs", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Jobs to ask for.")
@click.option("--kills", type=click.IntRange(0, 100_000), default=60, show_default=True, help="Blows to deal.")
@click.option("--seed", type=click.IntRange(0), help="Makes the same choices again; without it they are new.")
@click.option("--database", help="URL of an empty PostgreSQL database; without it a new SQLite file.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Jobs at once.")
@click.option("--retries", type=click.IntRange(0, 100), default=4, show_default=True, help="The most that a job has.")
@click.option("--spawn", is_flag=True, help="Start each job's process as a new program instead of forking it.")
@click.option(
    "--reuse", type=click.IntRange(1, 1000), default=1, show_default=True, help="Jobs that a process may run."
)
@click.option("--keep", is_flag=True, help="Keep the folder; it is always kept when something is wrong.")
def main(
    jobs: int,
    kills: int,
    seed: int | None,
    database: str | None,
    concurrency: int,
    retries: int,
    spawn: bool,
    reuse: int,
    keep: bool,
) -> None:
    """Kill the processes of a real installation while it works, and judge what became of its jobs."""
    if not can_look():
        raise click.UsageError("this command needs Linux: it finds and signals processes by /proc")
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="bgapp-chaos-"))
    click.echo(f"seed {seed}, in {folder}")
    settings = {
        "MAX_RUNNING": str(concurrency),
        "TICK": "0.2",
        "KILL_GRACE": "1",
        "RETRY_BACKOFF": "0.1 fixed",
        "RUNNER_IDLE": f"{IDLE:g}",
        "START_METHOD": "spawn" if spawn else "auto",
        "ALLOWED_JOBS": json.dumps({JOB_CLASS: {"methods": {name: {"reuse": reuse} for name in METHODS}}}),
        **({} if database is None else {"DATABASE_URL": database}),
    }
    violations: list[Violation] = []
    installation = None
    try:
        installation = make(folder, settings)
        trial, violations = run(installation, jobs, kills, seed, retries, reuse)
        (folder / "blows").write_text("\n".join(trial.striker.told) + "\n")
        show({"seed": str(seed), **report(trial, violations)}, violations)
    finally:
        if installation is not None:
            installation.end()
        if keep or violations or sys.exc_info()[0] is not None:
            click.echo(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
