"""`python -m bgapp.testing.chaos`: kill a living installation's processes, and judge what became of its jobs."""

from __future__ import annotations

import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click

from bgapp import queries
from bgapp.errors import BgappError, DatabaseUnavailable
from bgapp.models import FINAL
from bgapp.testing import blows, evidence, oracle, traffic, witness
from bgapp.testing.blows import Striker
from bgapp.testing.installation import CLOCK, SERVER, Installation
from bgapp.testing.oracle import Violation
from bgapp.testing.processes import can_look
from bgapp.testing.traffic import Traffic

SECONDS_FOR_A_BLOW = 0.8
JOBS_IN_A_SECOND = 30.0
PATIENCE = 15.0  # seconds in which the application is up, no job waits for its time, and yet nothing happens
LONGEST_QUIET = 120.0  # seconds after the last blow and call in which every job ends, whatever goes on meanwhile
IDLE = 2.0  # seconds a runner waits for work, so that runners come and go
PROGRESS = 2.0  # seconds between two lines
LOOK = 0.04  # seconds between two looks at the processes
SHOWN = 20  # violations shown whole


@dataclass
class Trial:
    """What one run of chaos is made of, and what it has seen."""

    installation: Installation
    traffic: Traffic
    striker: Striker
    begun: float = field(default_factory=time.monotonic)
    alive: dict[tuple[int, int], int] = field(default_factory=dict)
    state: tuple[object, ...] = ()
    moved_at: float = field(default_factory=time.monotonic)
    told_at: float = 0.0

    def look(self) -> None:
        """One turn: processes live and die, blows fall, people are told."""
        seen_at = time.monotonic_ns()  # before looking: whoever is found alive was so at this moment
        processes = self.installation.manage()
        self.alive |= {(one.identity.pid, one.identity.ticks): seen_at for one in processes if one.role == "child"}
        self.striker.strike(processes)
        if self.traffic.trouble is not None:
            raise self.traffic.trouble
        if time.monotonic() - self.told_at > PROGRESS:
            self.told_at = time.monotonic()
            self._progress()

    def _progress(self) -> None:
        counts = self.counts()
        ended = sum(counts.get(status, 0) for status in FINAL)
        click.echo(
            f"{time.monotonic() - self.begun:5.0f} s  asked {sum(1 for _ in self.traffic.acknowledged()):5}"
            f"  ended {ended:5}  waiting {counts.get('pending', 0) + counts.get('scheduled', 0):4}"
            f"  running {counts.get('running', 0):2}  blows {sum(self.striker.dealt.values()):3}"
        )

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each status; nothing where the database cannot say now."""
        try:
            with self.installation.runtime.database.read() as connection:
                return queries.counts(connection, cap=1_000_000)
        except DatabaseUnavailable:
            return {}

    def is_quiet(self) -> bool:
        """Return whether nothing is left to happen, or nothing has happened for too long."""
        counts = self.counts()
        if counts and not any(counts[status] for status in ("pending", "scheduled", "running")):
            return not self.traffic.is_alive()
        if self._progressed(counts):
            self.moved_at = time.monotonic()
        return time.monotonic() - self.moved_at > PATIENCE

    def _progressed(self, counts: dict[str, int]) -> bool:
        """Return whether something changed, or a job rightly waits for its time."""
        runtime = self.installation.runtime
        try:
            with runtime.database.read() as connection:
                due = queries.next_due(connection)
                now = runtime.database.clock(connection)
                running = tuple((row.id, row.attempt) for row in queries.running(connection))
        except DatabaseUnavailable:
            return False
        before, self.state = self.state, (counts, running)
        waits = due is not None and due > now and not counts.get("pending") and not counts.get("running")
        return self.state != before or waits or self._starts()

    def _starts(self) -> bool:
        """Return whether the application is still on its way up, which takes as long as the machine is busy."""
        processes = self.installation.processes()
        return not self.installation.leader(processes) or not any(one.role == "host" for one in processes)


def run(installation: Installation, jobs: int, kills: int, seed: int, retries: int) -> tuple[Trial, list[Violation]]:
    """Carry out one trial in a fresh installation; return it and what is wrong."""
    seconds = max(SECONDS_FOR_A_BLOW * kills, jobs / JOBS_IN_A_SECOND)
    calls = traffic.draw(random.Random(f"jobs {seed}"), jobs, seconds, retries)
    planned = blows.draw(random.Random(f"blows {seed}"), kills, seconds)
    installation.start(*SERVER)
    installation.start(*CLOCK)
    trial = Trial(installation, Traffic(installation, calls), Striker(installation, planned))
    trial.traffic.start()
    while trial.traffic.is_alive() or not trial.striker.done:
        trial.look()
        time.sleep(LOOK)
        if trial.striker.done and trial.is_quiet():
            break
    quiet_by = time.monotonic() + LONGEST_QUIET
    while not trial.is_quiet() and time.monotonic() < quiet_by:
        trial.look()
        time.sleep(0.1)
    trial.traffic.stop()
    trial.traffic.join()
    return trial, judge(trial)


def judge(trial: Trial) -> list[Violation]:
    """Return everything that is wrong once it is quiet; ends the installation's app processes."""
    installation = trial.installation
    found = [Violation("processes", None, text) for text in _unquiet(trial)]
    found += [Violation("application", None, text) for text in installation.ended_alone]
    if not installation.stop_apps():
        found.append(Violation("application", None, "an app process did not end when asked"))
    left = installation.left_behind(IDLE + 10.0)
    found += [
        Violation("processes", None, f"{one.role} {one.pid} did not leave, with no app and no job") for one in left
    ]
    rows, attempts = evidence.tables(installation.runtime)
    lines, broken = witness.read(installation.witness)
    if broken:
        found.append(Violation("witness", None, f"{broken} lines of the witness are not whole"))
    found += [
        Violation("log", None, "a line of a log file is not whole", (line,))
        for line in evidence.unreadable_lines(installation.runtime.settings.log_dir)
    ]
    return found + oracle.judge(trial.traffic.requests, rows, attempts, lines, trial.alive)


def _unquiet(trial: Trial) -> list[str]:
    """Return which processes should not be there while nothing runs, after they had time to go."""
    deadline = time.monotonic() + 5.0
    while (found := _too_many(trial)) and time.monotonic() < deadline:
        trial.look()
        time.sleep(0.2)
    return found


def _too_many(trial: Trial) -> list[str]:
    processes = trial.installation.processes()
    roles = Counter(one.role for one in processes)
    found = [f"{one.role} {one.pid} lives, and no job runs" for one in processes if one.role in ("child", "program")]
    found += [f"{one.role} {one.pid} is a zombie of process {one.parent}" for one in trial.installation.zombies()]
    forkers = 0 if trial.installation.runtime.settings.start_method == "spawn" else roles["runner"]
    if roles["forker"] != forkers or roles["host"] > 1:
        found.append(f"there are {roles['host']} hosts, {roles['runner']} runners and {roles['forker']} forkers")
    return found


def report(trial: Trial, violations: list[Violation], seed: int) -> None:
    """Print the table of one trial."""
    installation = trial.installation
    rows, attempts = evidence.tables(installation.runtime)
    counted = oracle.outcomes(rows, attempts)
    unsure = sum(1 for one in trial.traffic.requests if one.job is None)
    table = {
        "seed": str(seed),
        "time": f"{time.monotonic() - trial.begun:.0f} s",
        "jobs": f"{sum(1 for _ in trial.traffic.acknowledged())} acknowledged, {unsure} without an answer",
        "blows": _words(trial.striker.dealt),
        "outcomes": _words(counted["jobs"]),
        "attempts": _words(counted["attempts"]),
        "ends not logged": str(evidence.unlogged_ends(installation.runtime.settings.log_dir, rows)),
        "entry files left": str(evidence.kept_entries(installation.instance)),
        "violations": _words(Counter(one.kind for one in violations)) or "none",
    }
    for name, words in table.items():
        click.echo(f"{name:17} {words}")
    for one in violations[:SHOWN]:
        click.echo(f"\n{one.kind}: {'' if one.job is None else f'job {one.job}: '}{one.text}")
        for line in one.evidence:
            click.echo(f"    {line}")
    if len(violations) > SHOWN:
        click.echo(f"\nand {len(violations) - SHOWN} more")


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {word}" for word, number in sorted(counts.items(), key=lambda one: -one[1]))


@click.command()
@click.option("--jobs", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Jobs to ask for.")
@click.option("--kills", type=click.IntRange(0, 100_000), default=60, show_default=True, help="Blows to deal.")
@click.option("--seed", type=click.IntRange(0), help="Makes the same choices again; without it they are new.")
@click.option("--database", help="URL of an empty PostgreSQL database; without it a new SQLite file.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Jobs at once.")
@click.option("--retries", type=click.IntRange(0, 100), default=4, show_default=True, help="The most that a job has.")
@click.option("--spawn", is_flag=True, help="Start each job's process as a new program instead of forking it.")
@click.option("--keep", is_flag=True, help="Keep the folder; it is always kept when something is wrong.")
def main(
    jobs: int,
    kills: int,
    seed: int | None,
    database: str | None,
    concurrency: int,
    retries: int,
    spawn: bool,
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
        "RETRY_BACKOFF": "0.2 fixed",
        "RUNNER_IDLE": f"{IDLE:g}",
        "START_METHOD": "spawn" if spawn else "auto",
        **({} if database is None else {"DATABASE_URL": database}),
    }
    violations: list[Violation] = []
    installation = None
    try:
        installation = make(folder, settings)
        trial, violations = run(installation, jobs, kills, seed, retries)
        (folder / "blows").write_text("\n".join(trial.striker.told) + "\n")
        report(trial, violations, seed)
    finally:
        if installation is not None:
            installation.end()
        if keep or violations or sys.exc_info()[0] is not None:
            click.echo(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if violations else 0)


def make(folder: Path, settings: dict[str, str]) -> Installation:
    """Return a fresh installation; a database that cannot be used, or is, ends the command with 2."""
    try:
        installation = Installation(folder, settings)
        with installation.runtime.database.read() as connection:
            used = any(queries.counts(connection, cap=1).values())
    except BgappError as error:
        shutil.rmtree(folder)
        raise click.UsageError(str(error)) from error
    if used:
        raise click.UsageError("this database has jobs already: give an empty one")
    return installation


if __name__ == "__main__":
    main()
