"""The jobs that a trial asks for: a plan drawn from a seed, and the thread that carries it out.

It asks through the real helper, writes down each id once the call has returned, and does what people do: cancels
some jobs, and has some that ended run again.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bgapp import operate, queries
from bgapp.enqueue import run_background_job, run_background_jobs
from bgapp.errors import DatabaseUnavailable, UnknownJob, WrongState
from bgapp.models import FINAL, Status
from bgapp.testing.installation import Installation
from bgapp.testing.oracle import Request
from bgapp.testing.witness import JOB_CLASS

# How often each kind of job comes, out of all of these.
KINDS = {"note": 20, "talk": 6, "fail_once": 5, "fail": 2, "leave_program": 2, "timeout": 1, "stubborn": 1}
LONG = 0.5  # seconds: such a job can be met while it runs
LOOK_AGAIN = 0.3  # seconds before a job is looked at again that is not yet as it should be


@dataclass(frozen=True)
class Wish:
    """One job to ask for: when (seconds from the start), what, and what a person does with it later."""

    at: float
    method: str
    params: dict[str, Any]
    options: dict[str, Any]
    act: str | None = None  # "cancel", "stop" (to cancel it once it runs) or "retry"
    act_after: float = 0.0  # seconds


def steady(random: random.Random, seconds: float, per_second: float) -> Iterator[list[Wish]]:
    """Yield calls for one job each, at an even pace, for so many seconds; none of a kind that keeps a slot for long."""
    kinds = {kind: often for kind, often in KINDS.items() if kind != "stubborn"}
    for number in range(int(seconds * per_second)):
        wish = _draw_one(random, number / per_second, 3, kinds)
        wish.options["backoff"] = 1  # so that few retries are left to wait for in the end
        yield [wish]


def draw(random: random.Random, count: int, seconds: float, retries: int) -> list[list[Wish]]:
    """Return `count` wishes over so many seconds, in calls: most of one job, some of many."""
    wishes = [_draw_one(random, seconds * number / count, retries, KINDS) for number in range(count)]
    calls: list[list[Wish]] = []
    while wishes:
        size = random.choice((5, 10, 20)) if random.random() < 0.04 else 1
        calls.append(wishes[:size])
        del wishes[:size]
    return calls


def _draw_one(random: random.Random, at: float, retries: int, kinds: Mapping[str, int]) -> Wish:
    kind = random.choices(list(kinds), list(kinds.values()))[0]
    seconds = random.choice((0.0, 0.0, 0.0, 0.02, 0.05, 0.2)) if random.random() < 0.9 else random.uniform(LONG, 2.5)
    options: dict[str, Any] = {
        "retries": 0 if random.random() < 0.3 else random.randint(min(2, retries), retries),
        "priority": random.choice((0, 0, 0, "low", "high")),
        "delay": random.uniform(0.1, 3.0) if random.random() < 0.2 else 0,
    }
    chance = random.random()
    act, after = None, 0.0
    if kind == "timeout":
        kind, seconds = "note", 20.0
        options |= {"timeout": 0.4, "retries": min(1, retries)}
    elif kind == "stubborn":
        seconds, act, after = 60.0, "stop", random.uniform(0.5, 2.0)
    elif chance < 0.06:
        act, after = "cancel", random.uniform(0.0, 1.5)
    elif chance < 0.08 and seconds >= LONG:
        act, after = "stop", 0.1
    elif chance < 0.14:
        act, after = "retry", random.uniform(0.2, 3.0)
    return Wish(at, kind, {"seconds": round(seconds, 3)}, options, act, after)


@dataclass(order=True)
class _Due:
    at: float
    order: int
    do: Callable[[], float | None] = field(compare=False)  # returns in how many seconds to do it again


class Traffic(threading.Thread):
    """Carries out a plan. `requests` holds what was asked; `trouble` what was not foreseen and ended the thread."""

    def __init__(self, installation: Installation, calls: Iterable[list[Wish]]) -> None:
        super().__init__(daemon=True, name="traffic")
        self._installation = installation
        self._calls = calls
        self._begun = 0.0
        self._acts: list[_Due] = []
        self._tags = itertools.count(1)
        self._order = itertools.count()
        self._halt = threading.Event()
        self.requests: list[Request] = []
        self.refused = 0  # calls that the database could not answer; asked again
        self.trouble: BaseException | None = None

    def stop(self) -> None:
        """Ask no more, and forget what people still wanted to do."""
        self._halt.set()

    def run(self) -> None:
        self._begun = time.monotonic()
        try:
            with self._installation.app.app_context():
                for call in self._calls:
                    self._act_until(self._begun + call[0].at)
                    if self._halt.is_set():
                        return
                    self._ask(call)
                while self._acts and not self._halt.is_set():
                    self._act_until(self._acts[0].at)
        except BaseException as error:  # the edge of a thread: the main one tells it
            self.trouble = error

    def _act_until(self, until: float) -> None:
        while not self._halt.is_set():
            now = time.monotonic()
            if self._acts and self._acts[0].at <= now:
                due = heapq.heappop(self._acts)
                again = due.do()
                if again is not None:
                    self._later(again, due.do)
            elif now >= until:
                return
            else:
                self._halt.wait(min([until, *(one.at for one in self._acts[:1])]) - now)

    def _later(self, after: float, do: Callable[[], float | None]) -> None:
        heapq.heappush(self._acts, _Due(time.monotonic() + after, next(self._order), do))

    # Asking ----------------------------------------------------------------------------------------------------

    def _ask(self, call: list[Wish]) -> None:
        while not self._halt.is_set():
            # A call without an answer may have stored its jobs: these count as perhaps stored, and others are asked.
            asked = [Request(next(self._tags), wish.options["retries"]) for wish in call]
            self.requests += asked
            try:
                ids = self._call(call, asked)
            except DatabaseUnavailable:
                self.refused += 1
                self._halt.wait(0.2)
                continue
            for request, wish, job in zip(asked, call, ids, strict=True):
                request.job = job
                if wish.act is not None:
                    do = {"cancel": self._cancel, "stop": self._cancel_running, "retry": self._retry}[wish.act]
                    self._later(wish.act_after, partial(do, request))
            return

    def _call(self, call: list[Wish], asked: list[Request]) -> list[int]:
        given = [
            {
                "job_class": JOB_CLASS,
                "method": wish.method,
                "params": {"path": str(self._installation.witness), "tag": request.tag, **wish.params},
                **wish.options,
            }
            for request, wish in zip(asked, call, strict=True)
        ]
        if len(given) == 1:
            return [run_background_job(**given[0]).id]
        return [handle.id for handle in run_background_jobs(given)]

    # What people do --------------------------------------------------------------------------------------------

    def _cancel(self, request: Request) -> float | None:
        runtime = self._installation.runtime
        assert request.job is not None
        try:
            request.may_be_cancelled = True
            operate.cancel(runtime, request.job, "somebody")
            request.cancelled_ns = time.monotonic_ns()
            with runtime.database.read() as connection:
                row = queries.job(connection, request.job)
            # Read after the cancel: of a job that ran on in between, no attempt counts as forbidden that was allowed.
            request.cancelled_at = None if row is None else row.attempt
        except (WrongState, UnknownJob, DatabaseUnavailable):
            return None
        return None

    def _cancel_running(self, request: Request) -> float | None:
        """Cancel a job once it runs."""
        assert request.job is not None
        try:
            with self._installation.runtime.database.read() as connection:
                row = queries.job(connection, request.job)
        except DatabaseUnavailable:
            return LOOK_AGAIN
        if row is None or row.status in FINAL:
            return None
        return self._cancel(request) if row.status == Status.RUNNING else LOOK_AGAIN

    def _retry(self, request: Request) -> float | None:
        runtime = self._installation.runtime
        assert request.job is not None
        try:
            with runtime.database.read() as connection:
                row = queries.job(connection, request.job)
            if row is None:
                return None
            if row.status not in FINAL:
                return LOOK_AGAIN
            request.granted += 1  # also where no answer comes: it may have been written
            operate.retry(runtime, request.job)
        except (UnknownJob, WrongState):
            request.granted -= 1
        except DatabaseUnavailable:
            return None
        return None

    def acknowledged(self) -> Iterator[Request]:
        """Yield the requests whose job is known to be stored."""
        return (request for request in list(self.requests) if request.job is not None)
