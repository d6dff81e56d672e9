"""One trial of a real installation: jobs are asked for, processes live and die, and in the end all is judged."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click

from bgapp import queries
from bgapp.errors import BgappError, DatabaseUnavailable
from bgapp.models import FINAL
from bgapp.testing import evidence, oracle, witness
from bgapp.testing.blows import Striker
from bgapp.testing.installation import Installation
from bgapp.testing.oracle import Violation
from bgapp.testing.processes import Process
from bgapp.testing.traffic import Traffic

PATIENCE = 15.0  # seconds in which the application is up, no job waits for its time, and yet nothing happens
LONGEST_QUIET = 120.0  # seconds after the last blow and call in which every job ends, whatever goes on meanwhile
LEAVE = 10.0  # seconds in which runners with nothing to do leave; told to, where they may stay idle for longer
PROGRESS = 2.0  # seconds between two lines
SHOWN = 20  # violations shown whole


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


@dataclass
class Trial:
    """What one trial is made of, and what it has seen."""

    installation: Installation
    traffic: Traffic
    striker: Striker
    begun: float = field(default_factory=time.monotonic)
    alive: dict[tuple[int, int], int] = field(default_factory=dict)
    state: tuple[object, ...] = ()
    moved_at: float = field(default_factory=time.monotonic)
    told_at: float = 0.0
    keeps_children: bool = False  # a child may wait for its next job
    every: float = PROGRESS  # seconds between two lines that tell how it goes

    def look(self) -> list[Process]:
        """One turn: processes live and die, blows fall, people are told. Returns the living processes."""
        seen_at = time.monotonic_ns()  # before looking: whoever is found alive was so at this moment
        processes = self.installation.manage()
        self.alive |= {(one.identity.pid, one.identity.ticks): seen_at for one in processes if one.role == "child"}
        self.striker.strike(processes)
        if self.traffic.trouble is not None:
            raise self.traffic.trouble
        if time.monotonic() - self.told_at > self.every:
            self.told_at = time.monotonic()
            self._progress()
        return processes

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

    def wait_until_up(self, patience: float) -> bool:
        """Wait until a runner lives, or for so many seconds; return whether one does."""
        deadline = time.monotonic() + patience
        while not (up := any(one.role == "runner" for one in self.look())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return up

    def wait_until_quiet(self) -> None:
        """Wait until every job has ended, or it is plain that one will not; then ask no more."""
        quiet_by = time.monotonic() + LONGEST_QUIET
        while not self.is_quiet() and time.monotonic() < quiet_by:
            self.look()
            time.sleep(0.1)
        self.traffic.stop()
        self.traffic.join()

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


def judge(trial: Trial) -> list[Violation]:
    """Return everything that is wrong once it is quiet; ends the installation's app processes."""
    installation = trial.installation
    found = [Violation("processes", None, text) for text in _unquiet(trial)]
    found += [Violation("application", None, text) for text in installation.ended_alone]
    if not installation.stop_apps():
        found.append(Violation("application", None, "an app process did not end when asked"))
    idle = installation.runtime.settings.runner_idle
    if idle > LEAVE:
        installation.ask_runners_to_leave()
    left = installation.left_behind(min(idle, LEAVE) + LEAVE)
    found += [
        Violation("processes", None, f"{one.role} {one.pid} did not leave, with no app and no job") for one in left
    ]
    installation.kill()  # so that tables and witness tell of the same moment
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
    kept_by = {one.pid for one in processes if one.role == "forker"} if trial.keeps_children else set()
    jobs = [one for one in processes if one.role == "program" or (one.role == "child" and one.parent not in kept_by)]
    found = [f"{one.role} {one.pid} lives, and no job runs" for one in jobs]
    found += [f"{one.role} {one.pid} is a zombie of process {one.parent}" for one in trial.installation.zombies()]
    forkers = 0 if trial.installation.runtime.settings.start_method == "spawn" else roles["runner"]
    if roles["forker"] != forkers or roles["host"] > 1:
        found.append(f"there are {roles['host']} hosts, {roles['runner']} runners and {roles['forker']} forkers")
    return found


def show(table: dict[str, str], violations: list[Violation]) -> None:
    """Print a table, and each violation with the lines that prove it."""
    for name, words in table.items():
        click.echo(f"{name:17} {words}")
    for one in violations[:SHOWN]:
        click.echo(f"\n{one.kind}: {'' if one.job is None else f'job {one.job}: '}{one.text}")
        for line in one.evidence:
            click.echo(f"    {line}")
    if len(violations) > SHOWN:
        click.echo(f"\nand {len(violations) - SHOWN} more")


def report(trial: Trial, violations: list[Violation]) -> dict[str, str]:
    """Return what every trial tells in the end, by name."""
    installation = trial.installation
    rows, attempts = evidence.tables(installation.runtime)
    counted = oracle.outcomes(rows, attempts)
    unsure = sum(1 for one in trial.traffic.requests if one.job is None)
    return {
        "time": f"{time.monotonic() - trial.begun:.0f} s",
        "jobs": f"{sum(1 for _ in trial.traffic.acknowledged())} acknowledged, {unsure} without an answer",
        "blows": words(trial.striker.dealt) or "none",
        "outcomes": words(counted["jobs"]),
        "attempts": words(counted["attempts"]),
        "ends not logged": str(evidence.unlogged_ends(installation.runtime.settings.log_dir, rows)),
        "entry files left": str(evidence.kept_entries(installation.instance)),
        "violations": words(Counter(one.kind for one in violations)) or "none",
    }


def words(counts: Counter[str]) -> str:
    """Return counts in words, the largest first."""
    return ", ".join(f"{number} {word}" for word, number in sorted(counts.items(), key=lambda one: -one[1]))
