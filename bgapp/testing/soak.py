"""`python -m bgapp.testing.soak`: a steady stream of jobs for a long time, and whether anything grows meanwhile."""

from __future__ import annotations

import json
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import click

from bgapp.models import FINAL
from bgapp.system import ProcessIdentity
from bgapp.testing import samples, traffic
from bgapp.testing.blows import Striker
from bgapp.testing.installation import SERVER, Installation
from bgapp.testing.oracle import Violation
from bgapp.testing.processes import Process, can_look
from bgapp.testing.samples import Sample
from bgapp.testing.traffic import Traffic
from bgapp.testing.trial import Trial, judge, make, report, show

LOOK = 0.25  # seconds between two looks at the processes
PROGRESS = 10.0  # seconds between two lines
UP = 90.0  # seconds in which a runner must have started
WARM_UP = 0.1  # share of the time, while everything is loaded for the first time, that is not judged
SAMPLES = 200.0  # as many are taken in a run, but no more than one a second and no fewer than one each 10 s


class Sampler:
    """Takes a sample every `pause` seconds and writes each to `out`, where there is one."""

    def __init__(self, trial: Trial, pause: float, out: IO[str] | None) -> None:
        self._trial, self._pause, self._out = trial, pause, out
        self._next = time.monotonic()
        self._zombies: set[ProcessIdentity] = set()
        self.taken: list[Sample] = []
        self.worst_zombies = 0

    def look(self, processes: list[Process]) -> None:
        """Take a sample if it is time for one."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._pause
        counts = self._trial.counts()
        ended = sum(counts.get(status, 0) for status in FINAL)
        sample: Sample = {
            "seconds": round(time.monotonic() - self._trial.begun, 1),
            "zombies": self._count_zombies(),
            **samples.of_processes(processes),
            **samples.of_files(self._trial.installation.runtime, ended),
        }
        if counts:
            sample |= {"ended": ended, "waiting": counts["pending"] + counts["scheduled"], "running": counts["running"]}
        self.taken.append(sample)
        if self._out is not None:
            self._out.write(json.dumps(sample) + "\n")
            self._out.flush()

    def _count_zombies(self) -> int:
        """Return how many processes are zombies now and were so at the last sample: each is one for a moment."""
        found = {one.identity for one in self._trial.installation.zombies()}
        stay = len(found & self._zombies)
        self._zombies = found
        self.worst_zombies = max(self.worst_zombies, stay)
        return stay


def run(
    installation: Installation, seconds: float, per_second: float, seed: int, out: IO[str] | None
) -> tuple[Trial, Sampler]:
    """Ask for jobs for so many seconds, and wait until they ended. Raises ClickException where nothing starts."""
    installation.start(*SERVER)
    calls = traffic.steady(random.Random(f"soak {seed}"), seconds, per_second)
    trial = Trial(installation, Traffic(installation, calls), Striker(installation, []), every=PROGRESS)
    if not trial.wait_until_up(UP):
        raise click.ClickException(f"no runner started within {UP:g} s: see processes.log in {installation.folder}")
    trial.begun = time.monotonic()
    sampler = Sampler(trial, min(10.0, max(1.0, seconds / SAMPLES)), out)
    trial.traffic.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sampler.look(trial.look())
        time.sleep(LOOK)
    trial.wait_until_quiet()
    return trial, sampler


def judged(sampler: Sampler, seconds: float) -> list[Violation]:
    """Print how each measure changed, and return what grew."""
    taken = [one for one in sampler.taken if one["seconds"] > WARM_UP * seconds]
    found = []
    click.echo(f"{'':24}{'first quarter':>15}{'last quarter':>15}")
    for one in samples.compare(taken):
        told = "told only" if one.name in samples.TOLD else "grown" if one.grown else "flat"
        click.echo(f"{one.name:24}{one.first:15,.0f}{one.last:15,.0f}  {told}")
        if one.grown:
            found.append(Violation("grown", None, f"{one.name} grew from {one.first:,.0f} to {one.last:,.0f}"))
    if sampler.worst_zombies:
        found.append(Violation("processes", None, f"there were {sampler.worst_zombies} zombies at once"))
    return found


@click.command()
@click.option("--seconds", type=click.FloatRange(10), default=3600, show_default=True, help="For how long to ask.")
@click.option("--jobs-per-second", type=click.FloatRange(0.1, 1000), default=3, show_default=True, help="The pace.")
@click.option("--seed", type=click.IntRange(0), help="Asks for the same jobs again; without it for new ones.")
@click.option("--database", help="URL of an empty PostgreSQL database; without it a new SQLite file.")
@click.option("--out", type=click.File("w"), help="Write every sample to this file, a JSON object a line.")
@click.option("--keep", is_flag=True, help="Keep the folder; it is always kept when something is wrong.")
def main(
    seconds: float, jobs_per_second: float, seed: int | None, database: str | None, out: IO[str] | None, keep: bool
) -> None:
    """Keep a real installation with default settings busy for a long time, and judge what grew meanwhile."""
    if not can_look():
        raise click.UsageError("this command needs Linux: it measures processes by /proc")
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="bgapp-soak-"))
    click.echo(f"seed {seed}, in {folder}")
    violations: list[Violation] = []
    installation = None
    try:
        installation = make(folder, {} if database is None else {"DATABASE_URL": database})
        trial, sampler = run(installation, seconds, jobs_per_second, seed, out)
        violations = judged(sampler, seconds)
        violations += judge(trial)
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
