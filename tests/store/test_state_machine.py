"""Any order of whatever runners, people and deaths can do to a few jobs: the tables are always as a plain model says.

A failure prints its steps as Python, and a line `@reproduce_failure(...)` that repeats it: put that on the class `Here`
below. For the shortest steps that fail, take `phases` out of the profile and run with `-o faulthandler_timeout=0`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, delete, select

from bgapp import lifecycle, queries, rescue
from bgapp.backoff import Backoff
from bgapp.database import Database
from bgapp.errors import Fenced, UnknownJob, WrongState
from bgapp.models import FINAL, UNFINISHED, Status
from bgapp.outcome import Outcome
from bgapp.records import Change, Claim, NewJob, Owner
from bgapp.rescue import Entry
from bgapp.statements import ATTEMPTS, JOBS
from tests import factories as make
from tests.store.jobmodel import COMPARED, OUTCOMES, TITLES, ModelAttempt, ModelJob, Told

PROFILE = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,  # a busy machine is no failure
    print_blob=True,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # these take minutes, after which pytest ends the process
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
MOST_JOBS = 6  # few, so that the steps meet
which = st.integers(0, 2 * MOST_JOBS)
outcomes = st.sampled_from(sorted(OUTCOMES)).map(OUTCOMES.__getitem__)
poisonous = st.sampled_from([make.LOST, OUTCOMES["ended_before_method"]])
again_and_again = st.builds(lambda outcome, times: [outcome] * times, poisonous | outcomes, st.sampled_from([3, 7, 11]))
wanted = st.builds(
    make.new_job,
    retries=st.integers(0, 3),
    priority=st.sampled_from([0, 0, 10, -10]),
    unique_key=st.sampled_from([None, "a", "a", "b"]),
    backoff=st.sampled_from([Backoff(0.0, fixed=True), Backoff(10.0, fixed=True), Backoff(4.0)]),
    run_at=st.sampled_from([0, 0, 1, 30]).map(lambda seconds: make.NOW + timedelta(seconds=seconds)),
)
runners = st.sampled_from([501, 502, 503])


Thing = TypeVar("Thing")


def one_of(things: Sequence[Thing], number: int) -> Thing:
    return things[number % len(things)]


def any_job(*status: Status) -> Callable[[Any], bool]:
    return lambda self: bool(self.those(*status))


def any_held(self: Any) -> bool:
    return bool(self.held())


def any_past(self: Any) -> bool:
    return bool(self.past)


def has_room(self: Any) -> bool:
    return len(self.jobs) < MOST_JOBS


class StoreMachine(RuleBasedStateMachine):
    """The store and its model, side by side."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        with self.database.write() as connection:
            connection.execute(delete(JOBS))
        self.now = make.NOW
        self.jobs: dict[int, ModelJob] = {}
        self.deleted: list[int] = []
        self.orphans: set[int] = set()  # running jobs whose runner was killed
        self.past: list[tuple[Claim, Outcome]] = []  # attempts that were settled, and how
        self.before: dict[int, Any] = {}
        self.changes: list[Change] = []
        self.ran_again: int | None = None

    # Helpers --------------------------------------------------------------------------------------------------

    def those(self, *status: Status) -> list[ModelJob]:
        """Return the jobs in these statuses, in any where none is named."""
        return [job for job in self.jobs.values() if not status or job.status in status]

    def held(self) -> list[ModelJob]:
        """Return the running jobs whose runner lives."""
        return [job for job in self.those(Status.RUNNING) if job.id not in self.orphans]

    def holder(self, key: str | None) -> ModelJob | None:
        return next((job for job in self.jobs.values() if job.holds_key and job.new.unique_key == key), None)

    def told(self, expected: list[Told]) -> None:
        assert [Told.of(change) for change in self.changes] == expected

    def act(self, edge: Callable[[Connection], list[Change]], expected: list[Told]) -> None:
        """Go along an edge in a transaction of its own."""
        with self.database.write() as connection:
            self.changes = edge(connection)
        self.told(expected)

    def refused(self, error: type[Exception], edge: Callable[[Connection], object]) -> None:
        """Try an edge that does not exist; the tables are compared after the step as after any other."""
        with self.database.write() as connection, pytest.raises(error):  # committed: nothing may have been written
            edge(connection)

    def here(self, new: NewJob) -> NewJob:
        """Return a job with its times counted from now."""
        return replace(new, created_at=self.now, run_at=self.now + (new.run_at - new.created_at))

    def born(self, job_id: int, new: NewJob) -> list[Told]:
        assert job_id not in self.jobs
        assert job_id not in self.deleted, "a deleted job's number was given again"
        job = self.jobs[job_id] = ModelJob.add(job_id, new, self.now)
        return [job.tell("Job scheduled" if job.status is Status.SCHEDULED else "Job pending")]

    def take(self, pid: int) -> ModelJob:
        """Claim the best of what is pending; return it."""
        with self.database.write() as connection:
            claimed, self.changes = lifecycle.claim(connection, make.owner(pid=pid), self.now)
        best = min(self.those(Status.PENDING), key=lambda job: job.claim_order)
        assert claimed is not None
        assert (claimed.job, claimed.attempt) == (best.id, best.attempt + 1)
        assert claimed.token not in {old.token for old, _ in self.past}
        self.told([best.begin(claimed, pid, self.now)])
        return best

    def settle(self, job: ModelJob, outcome: Outcome) -> None:
        claim = job.held_by
        self.past.append((claim, outcome))
        self.orphans.discard(job.id)
        expected = job.settle(outcome, self.now)
        self.act(lambda connection: lifecycle.settle(connection, claim, outcome, self.now), expected)

    # New jobs and time ----------------------------------------------------------------------------------------

    @initialize(news=st.lists(wanted, min_size=1, max_size=3))
    def some_are_there_already(self, news: list[NewJob]) -> None:
        for new in news:
            self.enqueue(new)
            self.all_is_as_it_should_be()

    @precondition(has_room)
    @rule(new=wanted)
    def enqueue(self, new: NewJob) -> None:
        new = self.here(new)
        holder = self.holder(new.unique_key)
        with self.database.write() as connection:
            job_id, self.changes = lifecycle.add(connection, new)
        if holder:
            assert (job_id, self.changes) == (holder.id, [])
        else:
            self.told(self.born(job_id, new))

    @precondition(has_room)
    @rule(news=st.lists(wanted, min_size=1, max_size=3))
    def enqueue_many(self, news: list[NewJob]) -> None:
        news = [replace(self.here(new), unique_key=None) for new in news]
        with self.database.write() as connection:
            ids, self.changes = lifecycle.add_many(connection, news)
        self.told([told for job_id, new in zip(ids, news, strict=True) for told in self.born(job_id, new)])

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def promote(self) -> None:
        with self.database.write() as connection:
            self.changes = lifecycle.promote(connection, self.now)
        due = [job for job in self.jobs.values() if job.status is Status.SCHEDULED and job.run_at <= self.now]
        assert {Told.of(change) for change in self.changes} == {job.promote() for job in due}
        assert len(self.changes) == len(due)

    # Runners --------------------------------------------------------------------------------------------------

    @precondition(any_job(Status.PENDING))
    @rule(pid=runners)
    def claim(self, pid: int) -> None:
        self.take(pid)

    @rule(stranger=st.sampled_from([make.owner(generation="g0"), make.owner(node="elsewhere")]))
    def code_of_another_generation_claims(self, stranger: Owner) -> None:
        with self.database.write() as connection:
            assert lifecycle.claim(connection, stranger, self.now) == (None, [])

    @precondition(has_room)
    @rule(new=wanted, pid=runners)
    def begin_at_a_terminal(self, new: NewJob, pid: int) -> None:
        new = replace(self.here(new), unique_key=None, run_at=self.now)
        with self.database.write() as connection:
            claimed, self.changes = lifecycle.begin_here(connection, new, make.owner(pid=pid))
        self.born(claimed.job, new)
        self.told([self.jobs[claimed.job].begin(claimed, pid, self.now)])

    @precondition(any_held)
    @rule(number=which, progress=st.sampled_from(['{"fraction": 0.5}', '{"fraction": 1}']))
    def renew(self, number: int, progress: str) -> None:
        job = one_of(self.held(), number)
        claim = job.held_by
        with self.database.write() as connection:
            lifecycle.renew(connection, claim, self.now, 77, progress)
        job.renew(self.now, progress)

    @precondition(any_held)
    @rule(number=which, outcome=outcomes)
    def report(self, number: int, outcome: Outcome) -> None:
        self.settle(one_of(self.held(), number), outcome)

    @rule(pid=runners, ends=st.lists(outcomes, min_size=1, max_size=6) | again_and_again)
    def a_runner_works_for_a_while(self, pid: int, ends: list[Outcome]) -> None:
        """Attempts follow each other: single steps seldom lead so far into a job's life."""
        for outcome in ends:
            self.time_passes(60)
            self.promote()
            self.all_is_as_it_should_be()
            if self.those(Status.PENDING):
                job = self.take(pid)
                self.all_is_as_it_should_be()
                self.settle(job, outcome)
                self.all_is_as_it_should_be()

    # Deaths ---------------------------------------------------------------------------------------------------

    @precondition(any_held)
    @rule(number=which)
    def a_runner_is_killed(self, number: int) -> None:
        self.orphans.add(one_of(self.held(), number).id)

    @precondition(any_job(Status.RUNNING))
    @rule(number=which, entered=st.booleans())
    def rescue(self, number: int, entered: bool) -> None:
        """Also of a runner that lives, as another machine whose lease ended may: it is the next late one."""
        job = one_of([self.jobs[job_id] for job_id in sorted(self.orphans)] or self.those(Status.RUNNING), number)
        with self.database.read() as connection:
            row = next(row for row in queries.running(connection) if row.id == job.id)
        assert job.held_by == Claim(*(getattr(row, "id" if name == "job" else name) for name in Claim.__match_args__))
        self.settle(job, rescue.lost_or_not_started(Entry(make.this_process(), entered), "its runner was lost"))

    @precondition(any_past)
    @rule(number=which, outcome=outcomes)
    def a_late_runner_reports(self, number: int, outcome: Outcome) -> None:
        claim, _ = one_of(self.past, number)
        self.refused(Fenced, lambda connection: lifecycle.settle(connection, claim, outcome, self.now))

    @precondition(any_past)
    @rule(number=which)
    def a_late_runner_renews(self, number: int) -> None:
        claim, _ = one_of(self.past, number)
        self.refused(Fenced, lambda connection: lifecycle.renew(connection, claim, self.now, 78, '{"late": 1}'))

    @precondition(any_past)
    @rule(number=which)
    def a_report_is_repeated_since_its_commit_was_uncertain(self, number: int) -> None:
        claim, outcome = one_of(self.past, number)
        self.refused(Fenced, lambda connection: lifecycle.settle(connection, claim, outcome, self.now))

    # People ---------------------------------------------------------------------------------------------------

    @precondition(any_job())
    @rule(number=which, by=st.sampled_from(["ann", "bob"]))
    def cancel(self, number: int, by: str) -> None:
        job = one_of(self.those(), number)
        if job.is_final:
            self.refused(WrongState, lambda connection: lifecycle.cancel(connection, job.id, by, self.now))
        else:
            expected = job.cancel(by, self.now)
            self.act(lambda connection: lifecycle.cancel(connection, job.id, by, self.now), expected)

    @precondition(any_held)
    @rule(number=which, outcome=outcomes | st.just(make.COMPLETED))
    def a_cancel_meets_the_end(self, number: int, outcome: Outcome) -> None:
        job = one_of(self.held(), number)
        self.act(lambda connection: lifecycle.cancel(connection, job.id, "ann", self.now), job.cancel("ann", self.now))
        self.all_is_as_it_should_be()
        self.settle(job, outcome)

    @precondition(any_job(*FINAL))
    @rule(number=which)
    def run_again(self, number: int) -> None:
        job = one_of(self.those(*FINAL), number)
        if self.holder(job.new.unique_key):
            self.refused(WrongState, lambda connection: lifecycle.retry(connection, job.id, self.now))
            return
        self.ran_again = job.id
        expected = [job.retry(self.now)]
        self.act(lambda connection: lifecycle.retry(connection, job.id, self.now), expected)

    @precondition(any_job(*UNFINISHED))
    @rule(number=which)
    def run_again_what_has_not_ended(self, number: int) -> None:
        job = one_of(self.those(*UNFINISHED), number)
        self.refused(WrongState, lambda connection: lifecycle.retry(connection, job.id, self.now))

    @precondition(any_job())
    @rule(number=which)
    def delete(self, number: int) -> None:
        job = one_of(self.those(), number)
        if job.status is Status.RUNNING:
            self.refused(WrongState, lambda connection: lifecycle.remove(connection, job.id))
            return
        del self.jobs[job.id]
        self.deleted.append(job.id)
        self.act(lambda connection: lifecycle.remove(connection, job.id), [job.tell("Job deleted")])

    @precondition(lambda self: bool(self.deleted))
    @rule(number=which)
    def ask_for_a_deleted_job(self, number: int) -> None:
        job_id = one_of(self.deleted, number)
        self.refused(UnknownJob, lambda connection: lifecycle.cancel(connection, job_id, "ann", self.now))
        self.refused(UnknownJob, lambda connection: lifecycle.retry(connection, job_id, self.now))
        self.refused(UnknownJob, lambda connection: lifecycle.remove(connection, job_id))

    # After each step ------------------------------------------------------------------------------------------

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        with self.database.read() as connection:
            rows = {row.id: row for row in connection.execute(select(JOBS).order_by(JOBS.c.id))}
            tries = connection.execute(select(ATTEMPTS).order_by(ATTEMPTS.c.job_id, ATTEMPTS.c.number)).all()
        self._compare(rows, tries)
        self._check_what_changed(rows)
        self._check_what_is_always_so(rows)
        self.before, self.changes, self.ran_again = rows, [], None

    def _compare(self, rows: dict[int, Any], tries: Any) -> None:
        assert list(rows) == sorted(self.jobs)
        for job_id, job in self.jobs.items():
            job.adopt(rows[job_id].run_at)
            assert {name: getattr(rows[job_id], name) for name in COMPARED} == job.row(), f"job {job_id}"
        fields = ModelAttempt.__match_args__
        found = [(one.job_id, *(getattr(one, name) for name in fields)) for one in tries]
        assert found == [
            (job_id, *(getattr(one, name) for name in fields))
            for job_id, job in sorted(self.jobs.items())
            for one in job.attempts
        ]

    def _check_what_changed(self, rows: dict[int, Any]) -> None:
        """Judge the step by the rows alone, whatever the model thinks."""
        told = {change.job: change.title for change in self.changes if change.title != "Job lost"}
        moved = {}
        for job_id in self.before.keys() | rows.keys():
            old, new = self.before.get(job_id), rows.get(job_id)
            edge = old and old.status, new and new.status
            if edge[0] != edge[1]:
                moved[job_id] = edge
                assert told.get(job_id) in TITLES.get(edge, set()), f"{edge} told as {told.get(job_id)}"
            if old and new:
                assert new.attempt - old.attempt == (edge == ("pending", "running"))
                assert old.status not in FINAL or edge[0] == edge[1] or self.ran_again == job_id
        assert told.keys() == moved.keys()
        assert sum(change.title != "Job lost" for change in self.changes) == len(moved)

    def _check_what_is_always_so(self, rows: dict[int, Any]) -> None:
        keys = [row.unique_key for row in rows.values() if row.unique_key and row.status not in FINAL]
        assert len(keys) == len(set(keys))
        for row in rows.values():
            running = row.status == Status.RUNNING
            assert (row.token is not None, row.lease_until is not None) == (running, running)
            assert running or row.cancel_requested_at is None
            assert row.status not in ("pending", "scheduled") or row.attempt < row.attempt_limit
            assert self.jobs[row.id].entered <= self.jobs[row.id].granted


def test_jobs_are_as_a_plain_model_says_whatever_happens_in_whatever_order(ready: Database) -> None:
    quick = Database(ready.url, sync="off")  # no power is cut here, and thousands of commits need not wait for a disk

    class Here(StoreMachine):
        database = quick

    run_state_machine_as_test(Here, settings=PROFILE)
    quick.dispose()
