"""Blows to an installation's own processes: SIGKILL to one, to a group or to all, and SIGSTOP for a while."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass

from bgapp.testing.installation import Installation
from bgapp.testing.processes import Process

# How often each kind of blow comes, out of all of these.
KINDS = {
    "app": 2,
    "leader": 3,
    "host": 3,
    "runner": 5,
    "forker": 4,
    "child": 5,
    "group": 3,
    "all": 1,
    "stop": 4,
}
EARLY = 0.25  # share of the blows that fall also while the application is on its way up
PATIENCE = 5.0  # seconds of work that a blow waits for a process of its kind before it falls on any there is


@dataclass(frozen=True)
class Blow:
    """One blow: how long after the one before, what kind, and which of the candidates (0 to 1) it meets."""

    pause: float  # seconds of work: how long it takes to come up again depends on the machine
    kind: str
    which: float
    seconds: float  # how long a stopped process stays so
    early: bool  # it counts all seconds, and so falls while the application is on its way up, too


def draw(random: random.Random, count: int, seconds: float) -> list[Blow]:
    """Return `count` blows over so many seconds."""
    pauses = [random.uniform(0.2, 1.8) for _ in range(count)]
    scale, blows = seconds / sum(pauses) if pauses else 0.0, []
    for pause in pauses:
        kind = random.choices(list(KINDS), list(KINDS.values()))[0]
        blows.append(
            Blow(pause * scale, kind, random.random(), random.choice((0.05, 0.3, 1.0, 3.0)), random.random() < EARLY)
        )
    return blows


class Striker:
    """Deals blows, each at its time; `dealt` counts those that met something."""

    def __init__(self, installation: Installation, blows: list[Blow]) -> None:
        self._installation = installation
        self._left = list(blows)
        self._stopped: list[tuple[float, Process]] = []
        self._looked_at = time.monotonic()
        self._waited = 0.0
        self.dealt: Counter[str] = Counter()
        self.told: list[str] = []

    @property
    def done(self) -> bool:
        """Whether every blow was dealt and no process is stopped any more."""
        return not self._left and not self._stopped

    def strike(self, processes: list[Process]) -> None:
        """Deal what is due among the installation's living processes, and let stopped ones go on."""
        now = time.monotonic()
        for at, process in list(self._stopped):
            if at <= now:
                self._installation.send(process, signal.SIGCONT)
                self._stopped.remove((at, process))
        self._wait_for_next(now, processes)

    def _wait_for_next(self, now: float, processes: list[Process]) -> None:
        passed, self._looked_at = now - self._looked_at, now
        if not self._left:
            return
        blow = self._left[0]
        if blow.early or any(one.role == "runner" for one in processes):
            self._waited += passed
        if self._waited < blow.pause:
            return
        victims = self._victims(blow, processes)
        if not victims and self._waited > blow.pause + PATIENCE and processes:
            victims = [_one_of(processes, blow)]
        if self._deal(blow, victims):
            del self._left[0]
            self._waited = 0.0

    def release(self) -> None:
        """Let every stopped process go on."""
        for _, process in self._stopped:
            self._installation.send(process, signal.SIGCONT)
        self._stopped.clear()

    def _deal(self, blow: Blow, victims: list[Process]) -> bool:
        hit = False
        for victim in victims:
            hit = self._installation.send(victim, signal.SIGSTOP if blow.kind == "stop" else signal.SIGKILL) or hit
            if blow.kind == "stop":
                self._stopped.append((time.monotonic() + blow.seconds, victim))
        if hit:
            self.dealt[blow.kind] += 1
            words = f" for {blow.seconds:g} s" if blow.kind == "stop" else ""
            names = ", ".join(f"{one.role} {one.pid}" for one in victims)
            self.told.append(f"{time.monotonic_ns()} {blow.kind}: {names}{words}")
        return hit

    def _victims(self, blow: Blow, processes: list[Process]) -> list[Process]:
        """Return whom a blow meets; nobody where there is no such process at this moment: it waits for one."""
        if blow.kind == "all":
            return processes
        if blow.kind == "leader":
            candidates = self._installation.leader(processes)
        elif blow.kind == "stop":
            candidates = processes
        else:
            role = "child" if blow.kind == "group" else blow.kind
            candidates = [one for one in processes if one.role == role]
            candidates = [one for one in candidates if one.pid in _busy(processes)] or candidates
        if not candidates:
            return []
        victim = _one_of(candidates, blow)
        if blow.kind != "group":
            return [victim]
        return [one for one in processes if one.group == victim.group]


def _one_of(candidates: list[Process], blow: Blow) -> Process:
    return sorted(candidates, key=lambda one: one.pid)[int(blow.which * len(candidates))]


def _busy(processes: list[Process]) -> set[int]:
    """Return the pids of those who have to do with a job just now: its process, its forker, its runner."""
    parents = {one.pid: one.parent for one in processes}
    jobs = {one.pid for one in processes if one.role == "child"}
    forkers = {parents[pid] for pid in jobs}
    return jobs | forkers | {parents[pid] for pid in forkers if pid in parents}
