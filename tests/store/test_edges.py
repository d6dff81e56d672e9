"""Every edge of a job's life: what it writes, what it tells, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from bgapp import lifecycle, statements
from bgapp.backoff import Backoff
from bgapp.database import Database
from bgapp.errors import Fenced, UnknownJob, WrongState
from bgapp.models import FINAL, UNFINISHED, WAITING, Node, Reason, Status
from bgapp.outcome import Facts, Outcome, judge
from bgapp.records import LEASE, Change, Claim
from bgapp.statements import ATTEMPTS, JOBS
from bgapp.system import Ended
from tests import factories as make
from tests.factories import COMPLETED, FAILED, LOST, NOT_STARTED, NOW, REFUSED, SECOND, STOPPED, owner

BEFORE_METHOD = replace(NOT_STARTED, pid=77)  # there was a process, and it ended before the method
OTHER_THAN_RUNNING = tuple(status for status in Status if status is not Status.RUNNING)


@pytest.fixture
def claimed(ready: Database) -> Claim:
    """A running job's first attempt."""
    make.add(ready)
    return make.claim(ready)


def titles(changes: list[Change]) -> list[str]:
    return [change.title for change in changes]


def cancel(database: Database, job_id: int, by: str | None = "ann") -> list[Change]:
    with database.write() as connection:
        return lifecycle.cancel(connection, job_id, by, NOW)


def retry(database: Database, job_id: int) -> list[Change]:
    with database.write() as connection:
        return lifecycle.retry(connection, job_id, NOW + 60 * SECOND)


def remove(database: Database, job_id: int) -> list[Change]:
    with database.write() as connection:
        return lifecycle.remove(connection, job_id)


def inserted(database: Database, status: Status, **columns: Any) -> int:
    with database.write() as connection:
        return make.insert_job(connection, status, **columns)


# New ---------------------------------------------------------------------------------------------------------


def test_a_due_job_is_added_as_pending(ready: Database) -> None:
    with ready.write() as connection:
        job_id, changes = lifecycle.add(connection, make.new_job(retries=2, created_by="ann"))
    row = make.row(ready, job_id)
    assert (row.status, row.reason, row.attempt, row.attempt_limit, row.lost_in_row) == ("pending", None, 0, 3, 0)
    assert (row.retries, row.backoff, row.backoff_fixed, row.created_by) == (2, 10.0, True, "ann")
    assert (row.run_at, row.created_at, row.finished_at, row.token) == (NOW, NOW, None, None)
    assert changes == [Change("Job pending", job_id, row.job_class, row.method, row.params, "[]")]
    assert make.attempts(ready, job_id) == []


def test_a_later_job_is_added_as_scheduled(ready: Database) -> None:
    with ready.write() as connection:
        job_id, changes = lifecycle.add(connection, make.new_job(run_at=NOW + SECOND))
    assert make.row(ready, job_id).status == "scheduled"
    assert titles(changes) == ["Job scheduled"]


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_unique_key_finds_the_unfinished_job(ready: Database, status: Status) -> None:
    first = inserted(ready, status, unique_key="report")
    before = make.rows(ready)
    with ready.write() as connection:
        assert lifecycle.add(connection, make.new_job(unique_key="report")) == (first, [])
    assert make.rows(ready) == before


@pytest.mark.parametrize("status", FINAL)
def test_a_unique_key_is_free_again_once_its_job_has_ended(ready: Database, status: Status) -> None:
    first = inserted(ready, status, unique_key="report")
    with ready.write() as connection:
        second, changes = lifecycle.add(connection, make.new_job(unique_key="report"))
    assert second != first
    assert titles(changes) == ["Job pending"]


def test_another_unique_key_and_none_stand_beside_each_other(ready: Database) -> None:
    ids = {make.add(ready, unique_key=key) for key in ("a", "b", None, None)}
    assert len(ids) == 4


def test_many_are_added_in_the_given_order(ready: Database) -> None:
    wanted = [make.new_job(method=f"m{n}", run_at=NOW + (n % 2) * SECOND) for n in range(2_500)]
    with ready.write() as connection:
        ids, changes = lifecycle.add_many(connection, wanted)
    assert ids == sorted(ids)
    assert [row["method"] for row in make.rows(ready)] == [one.method for one in wanted]
    assert [(change.job, change.method) for change in changes] == [
        (job_id, one.method) for job_id, one in zip(ids, wanted, strict=True)
    ]
    assert titles(changes[:2]) == ["Job pending", "Job scheduled"]


def test_a_deleted_jobs_number_is_never_given_again(ready: Database) -> None:
    first = make.add(ready)
    remove(ready, first)
    assert make.add(ready) > first


# Scheduled -> pending ----------------------------------------------------------------------------------------


def test_promote_moves_what_is_due_and_nothing_else(ready: Database) -> None:
    later = make.add(ready, run_at=NOW + 2 * SECOND)
    due = make.add(ready, run_at=NOW + SECOND)
    with ready.write() as connection:
        changes = lifecycle.promote(connection, NOW + SECOND)
    assert [(change.title, change.job, change.attempt) for change in changes] == [("Job pending", due, None)]
    assert (make.row(ready, due).status, make.row(ready, later).status) == ("pending", "scheduled")
    with ready.write() as connection:
        assert lifecycle.promote(connection, NOW + SECOND) == []


def test_promote_moves_a_bounded_number_the_longest_due_first(ready: Database) -> None:
    most = statements.PROMOTE_AT_ONCE
    wanted = [make.new_job(run_at=NOW + SECOND * (most + 5 - n)) for n in range(most + 5)]
    with ready.write() as connection:
        ids, _ = lifecycle.add_many(connection, wanted)
    with ready.write() as connection:
        first = lifecycle.promote(connection, NOW + 3600 * SECOND)
    assert {change.job for change in first} == set(ids[5:])
    with ready.write() as connection:
        second = lifecycle.promote(connection, NOW + 3600 * SECOND)
    assert {change.job for change in second} == set(ids[:5])


# Pending -> running ------------------------------------------------------------------------------------------


def test_a_claim_begins_an_attempt(ready: Database) -> None:
    job_id = make.add(ready, timeout=9.0, queue="slow")
    with ready.write() as connection:
        claimed, changes = lifecycle.claim(connection, owner(), NOW + SECOND)
    row = make.row(ready, job_id)
    assert claimed == Claim(
        job_id, 1, row.token, row.job_class, row.method, row.params, row.secret_params, 3, 9.0, "slow", NOW
    )
    assert (row.status, row.attempt, row.node, row.runner_pid, row.runner_ticks) == ("running", 1, "node-1", 500, 9_000)
    assert (row.started_at, row.lease_until, row.pid) == (NOW + SECOND, NOW + SECOND + LEASE, None)
    assert len(row.token) == 32
    (attempt,) = make.attempts(ready, job_id)
    assert (attempt.number, attempt.status, attempt.node, attempt.runner_pid) == (1, "running", "node-1", 500)
    assert (attempt.started_at, attempt.finished_at) == (NOW + SECOND, None)
    assert [(change.title, change.job, change.attempt, change.is_error) for change in changes] == [
        ("Job running", job_id, 1, False)
    ]


def test_a_claim_forgets_what_the_last_attempt_left(ready: Database) -> None:
    job_id = inserted(
        ready, Status.PENDING, reason="error", error="no", result="1", progress="{}", pid=4, attempt=1, attempt_limit=2
    )
    make.claim(ready)
    row = make.row(ready, job_id)
    assert (row.reason, row.error, row.result, row.progress, row.pid) == (None, None, None, None, None)


def test_claims_go_by_priority_then_time_then_number(ready: Database) -> None:
    earlier = NOW - SECOND
    wanted = [
        make.new_job(method=name, priority=priority, run_at=run_at)
        for name, priority, run_at in (
            ("5", 0, NOW),
            ("6", 0, NOW),
            ("3", 10, NOW),
            ("7", -10, earlier),
            ("2", 10, earlier),
            ("4", 0, earlier),
            ("1", 11, NOW),
        )
    ]
    with ready.write() as connection:
        lifecycle.add_many(connection, wanted)
    assert [make.claim(ready).method for _ in wanted] == ["1", "2", "3", "4", "5", "6", "7"]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PENDING])
def test_a_claim_takes_only_what_is_pending(ready: Database, status: Status) -> None:
    inserted(ready, status)
    before = make.rows(ready)
    with ready.write() as connection:
        assert lifecycle.claim(connection, owner(), NOW + 3600 * SECOND) == (None, [])
    assert make.rows(ready) == before


@pytest.mark.parametrize("stranger", [owner(generation="g0"), owner(node="elsewhere")], ids=["old code", "no node"])
def test_code_that_is_not_the_nodes_claims_nothing(ready: Database, stranger: Any) -> None:
    make.add(ready)
    before = make.rows(ready)
    with ready.write() as connection:
        assert lifecycle.claim(connection, stranger, NOW) == (None, [])
    assert make.rows(ready) == before


def test_a_node_that_moved_on_leaves_its_old_runners_without_work(ready: Database) -> None:
    make.add(ready)
    with ready.write() as connection:
        connection.execute(update(Node).values(generation="g2"))
        assert lifecycle.claim(connection, owner(), NOW) == (None, [])
        assert lifecycle.claim(connection, owner(generation="g2"), NOW)[0] is not None


def test_two_claims_of_one_job_have_different_tokens(ready: Database) -> None:
    make.add(ready, backoff=Backoff(0.0, fixed=True))
    first = make.claim(ready)
    make.settle(ready, first, FAILED)
    second = make.promote_and_claim(ready, NOW + SECOND)
    assert second.job == first.job
    assert second.token != first.token


def test_a_job_is_born_running_where_a_person_runs_it(ready: Database) -> None:
    with ready.write() as connection:
        claimed, changes = lifecycle.begin_here(connection, make.new_job(retries=0), owner())
    row = make.row(ready, claimed.job)
    assert (row.status, row.attempt, row.attempt_limit, row.token) == ("running", 1, 1, claimed.token)
    assert [attempt.status for attempt in make.attempts(ready, claimed.job)] == ["running"]
    assert titles(changes) == ["Job running"]
    assert titles(make.settle(ready, claimed, COMPLETED)) == ["Job completed successfully"]


# While running -----------------------------------------------------------------------------------------------


def test_renewing_moves_the_lease_and_tells_pid_and_progress(ready: Database, claimed: Claim) -> None:
    with ready.write() as connection:
        lifecycle.renew(connection, claimed, NOW + 9 * SECOND, 77, '{"fraction": 0.5}')
    row = make.row(ready, claimed.job)
    assert (row.status, row.pid, row.progress) == ("running", 77, '{"fraction": 0.5}')
    assert row.lease_until == NOW + 9 * SECOND + LEASE


FALSE_CLAIMS: dict[str, Callable[[Claim], Claim]] = {
    "token": lambda one: replace(one, token="b" * 32),
    "attempt": lambda one: replace(one, attempt=2),
    "job": lambda one: replace(one, job=one.job + 1),
}


@pytest.mark.parametrize("wrong", FALSE_CLAIMS)
def test_a_stranger_is_fenced(ready: Database, claimed: Claim, wrong: str) -> None:
    stranger = FALSE_CLAIMS[wrong](claimed)
    before = make.rows(ready), make.attempts(ready, claimed.job)
    with pytest.raises(Fenced, match=f"job {stranger.job} "), ready.write() as connection:
        lifecycle.renew(connection, stranger, NOW, 1, None)
    for outcome in (COMPLETED, FAILED, LOST, NOT_STARTED, STOPPED):
        with pytest.raises(Fenced):
            make.settle(ready, stranger, outcome)
    assert (make.rows(ready), make.attempts(ready, claimed.job)) == before


@pytest.mark.parametrize("outcome", [COMPLETED, FAILED, NOT_STARTED, STOPPED], ids=lambda one: one.status)
def test_a_settled_attempt_can_be_neither_renewed_nor_settled_again(
    ready: Database, claimed: Claim, outcome: Outcome
) -> None:
    make.settle(ready, claimed, outcome)
    before = make.rows(ready), make.attempts(ready, claimed.job)
    with pytest.raises(Fenced):
        make.settle(ready, claimed, COMPLETED)
    with pytest.raises(Fenced), ready.write() as connection:
        lifecycle.renew(connection, claimed, NOW, 1, None)
    assert (make.rows(ready), make.attempts(ready, claimed.job)) == before


def test_an_attempt_that_was_rescued_cannot_speak_for_the_next(ready: Database) -> None:
    make.add(ready, backoff=Backoff(0.0, fixed=True))
    old = make.claim(ready)
    make.settle(ready, old, LOST)
    new = make.promote_and_claim(ready, NOW + SECOND)
    with pytest.raises(Fenced):
        make.settle(ready, old, COMPLETED)
    assert make.row(ready, old.job).token == new.token


# Running -> completed, failed, cancelled ---------------------------------------------------------------------


def test_a_result_completes_the_job(ready: Database, claimed: Claim) -> None:
    ended = Ended(0, None, 1.5, 4096)
    changes = make.settle(ready, claimed, replace(COMPLETED, ended=ended))
    row = make.row(ready, claimed.job)
    assert (row.status, row.reason, row.error, row.result, row.pid) == ("completed", None, None, '{"n": 1}', 77)
    assert (row.finished_at, row.token, row.lease_until) == (NOW + SECOND, None, None)
    (attempt,) = make.attempts(ready, claimed.job)
    assert (attempt.status, attempt.reason, attempt.finished_at, attempt.pid) == ("completed", None, NOW + SECOND, 77)
    assert (attempt.exit_code, attempt.signal, attempt.cpu_seconds, attempt.peak_memory_bytes) == (0, None, 1.5, 4096)
    assert [(change.title, change.attempt, change.is_error) for change in changes] == [
        ("Job completed successfully", 1, False)
    ]


def test_a_failure_with_retries_left_waits_for_its_next_attempt(ready: Database, claimed: Claim) -> None:
    changes = make.settle(ready, claimed, replace(FAILED, ended=Ended(None, "SIGSEGV", None, None)))
    row = make.row(ready, claimed.job)
    assert (row.status, row.reason, row.error) == ("scheduled", "error", "ValueError: no")
    assert (row.run_at, row.finished_at, row.token, row.lease_until) == (NOW + 11 * SECOND, None, None, None)
    assert (row.attempt, row.attempt_limit) == (1, 4)
    (attempt,) = make.attempts(ready, claimed.job)
    assert (attempt.status, attempt.reason, attempt.error, attempt.traceback) == (
        "failed",
        "error",
        "ValueError: no",
        "Traceback ...",
    )
    assert (attempt.exit_code, attempt.signal) == (None, "SIGSEGV")
    assert [(change.title, change.error, change.is_error) for change in changes] == [
        ("Job retry scheduled", "ValueError: no", True)
    ]


def test_the_waits_between_retries_double(ready: Database) -> None:
    job_id = make.add(ready, backoff=Backoff(100.0), retries=3)
    now, waits = NOW, []
    for _ in range(3):
        make.settle(ready, make.promote_and_claim(ready, now), FAILED, now)
        waits.append((make.row(ready, job_id).run_at - now).total_seconds())
        now = make.row(ready, job_id).run_at
    for seconds, middle in zip(waits, (100, 200, 400), strict=True):
        assert middle * 0.75 <= seconds <= middle * 1.25


def test_a_job_runs_once_and_its_retries_then_has_failed(ready: Database) -> None:
    job_id = make.add(ready, retries=2, backoff=Backoff(0.0, fixed=True))
    told = []
    for _ in range(3):
        told += titles(make.settle(ready, make.promote_and_claim(ready, NOW), FAILED, NOW))
    row = make.row(ready, job_id)
    assert told == ["Job retry scheduled", "Job retry scheduled", "Job failed"]
    assert (row.status, row.reason, row.error, row.attempt, row.finished_at) == (
        "failed",
        "error",
        "ValueError: no",
        3,
        NOW,
    )
    assert [(one.number, one.status) for one in make.attempts(ready, job_id)] == [(n, "failed") for n in (1, 2, 3)]


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.TIMEOUT, Reason.LOST, Reason.NO_RESULT, Reason.LIMIT], ids=str)
def test_without_retries_the_first_failure_is_final(ready: Database, reason: Reason) -> None:
    job_id = make.add(ready, retries=0)
    changes = make.settle(ready, make.claim(ready), Outcome(Status.FAILED, reason, "why"))
    assert (make.row(ready, job_id).status, make.row(ready, job_id).reason) == ("failed", reason)
    assert titles(changes) == (["Job lost", "Job failed"] if reason is Reason.LOST else ["Job failed"])
    assert all(change.is_error and change.error == "why" for change in changes)


def test_what_is_no_longer_allowed_fails_at_once(ready: Database, claimed: Claim) -> None:
    assert titles(make.settle(ready, claimed, REFUSED)) == ["Job failed"]
    row = make.row(ready, claimed.job)
    assert (row.status, row.reason, row.attempt, row.attempt_limit) == ("failed", "not_allowed", 1, 4)


def test_the_third_loss_in_a_row_is_poison(ready: Database) -> None:
    job_id = make.add(ready, retries=10, backoff=Backoff(0.0, fixed=True))
    told = []
    for _ in range(3):
        told.append(titles(make.settle(ready, make.promote_and_claim(ready, NOW), LOST, NOW)))
    assert told == [
        ["Job lost", "Job retry scheduled"],
        ["Job lost", "Job retry scheduled"],
        ["Job lost", "Job failed"],
    ]
    row = make.row(ready, job_id)
    assert (row.status, row.reason, row.attempt, row.lost_in_row) == ("failed", "poison", 3, 3)
    assert row.error is not None
    assert row.error.startswith("its runner was lost (3 attempts in a row were lost")
    assert [one.reason for one in make.attempts(ready, job_id)] == ["lost"] * 3


@pytest.mark.parametrize("between", [FAILED, COMPLETED], ids=["failure", "success"])
def test_only_losses_in_a_row_are_poison(ready: Database, between: Outcome) -> None:
    job_id = make.add(ready, retries=10, backoff=Backoff(0.0, fixed=True))
    for outcome in (LOST, LOST, between):
        make.settle(ready, make.promote_and_claim(ready, NOW), outcome, NOW)
    if between is COMPLETED:
        retry(ready, job_id)
    assert make.row(ready, job_id).lost_in_row == 0
    make.settle(ready, make.promote_and_claim(ready, NOW), LOST, NOW)
    assert (make.row(ready, job_id).status, make.row(ready, job_id).lost_in_row) == ("scheduled", 1)


def test_a_lost_attempt_is_told_once_in_the_errors(ready: Database, claimed: Claim) -> None:
    changes = make.settle(ready, claimed, LOST)
    assert [(change.title, change.is_error) for change in changes] == [
        ("Job lost", True),
        ("Job retry scheduled", False),
    ]


# Running -> pending ------------------------------------------------------------------------------------------


def test_an_attempt_that_never_entered_its_method_uses_no_retry(ready: Database, claimed: Claim) -> None:
    changes = make.settle(ready, claimed, NOT_STARTED)
    row = make.row(ready, claimed.job)
    assert (row.status, row.reason, row.error, row.run_at) == ("pending", "not_started", "never entered", NOW + SECOND)
    assert (row.attempt, row.attempt_limit, row.token, row.lease_until) == (1, 5, None, None)
    (attempt,) = make.attempts(ready, claimed.job)
    assert (attempt.status, attempt.reason) == ("failed", "not_started")
    assert [(change.title, change.is_error) for change in changes] == [("Job pending", True)]


def test_attempts_that_cannot_start_wait_longer_and_longer_and_never_use_up_the_job(ready: Database) -> None:
    job_id = make.add(ready, retries=0)
    now, waits = NOW, []
    for number in range(1, 10):
        make.settle(ready, make.promote_and_claim(ready, now), NOT_STARTED, now)
        row = make.row(ready, job_id)
        assert (row.attempt, row.attempt_limit) == (number, number + 1)
        assert row.status == ("scheduled" if row.run_at > now else "pending")
        waits.append((row.run_at - now).total_seconds())
        now = row.run_at
    assert waits == sorted(waits)
    assert waits[0] == 0
    assert waits[1] >= 1
    assert waits[-1] == 30


def test_a_process_that_could_not_be_made_gives_the_machine_a_breath_at_once(ready: Database, claimed: Claim) -> None:
    make.settle(ready, claimed, judge(Facts(None, not_created="Resource temporarily unavailable")))
    row = make.row(ready, claimed.job)
    assert (row.status, row.reason) == ("scheduled", "not_started")
    assert 1 <= (row.run_at - (NOW + SECOND)).total_seconds() <= 30


def test_a_start_that_failed_takes_nothing_from_the_retries(ready: Database) -> None:
    job_id = make.add(ready, retries=1, backoff=Backoff(0.0, fixed=True))
    for outcome in (NOT_STARTED, FAILED, NOT_STARTED, FAILED):
        make.settle(ready, make.promote_and_claim(ready, NOW + 3600 * SECOND), outcome)
    row = make.row(ready, job_id)
    assert (row.status, row.attempt, row.attempt_limit) == ("failed", 4, 4)


def never_entered(database: Database, outcome: Outcome, times: int, now: datetime) -> datetime:
    """Let the one job's next attempts end so, each long after the last; return the time after them."""
    for _ in range(times):
        make.settle(database, make.promote_and_claim(database, now), outcome, now)
        now += 60 * SECOND
    return now


def test_a_job_whose_process_ends_ten_times_before_its_method_is_poison(ready: Database) -> None:
    job_id = make.add(ready, retries=0)
    now = never_entered(ready, BEFORE_METHOD, 9, NOW)
    assert make.row(ready, job_id).status == "scheduled"
    never_entered(ready, BEFORE_METHOD, 1, now)
    row = make.row(ready, job_id)
    assert (row.status, row.reason, row.attempt) == ("failed", "poison", 10)
    assert row.error == "never entered (10 attempts never reached it: not tried again)"


def test_such_a_job_that_a_person_runs_again_begins_to_count_anew(ready: Database) -> None:
    job_id = make.add(ready, retries=0)
    now = never_entered(ready, BEFORE_METHOD, 10, NOW)
    with ready.write() as connection:
        lifecycle.retry(connection, job_id, now)
    now = never_entered(ready, BEFORE_METHOD, 9, now)
    assert make.row(ready, job_id).reason == "not_started"
    never_entered(ready, BEFORE_METHOD, 1, now)
    assert make.row(ready, job_id).reason == "poison"


@pytest.mark.parametrize("may_retry", [True, False], ids=["its runner was killed", "it could not be made"])
def test_attempts_without_a_process_do_not_speak_against_a_job(ready: Database, may_retry: bool) -> None:
    """That is the machine's doing: a long lack of memory, or runners that are killed again and again."""
    job_id = make.add(ready, retries=0)
    now = never_entered(ready, replace(NOT_STARTED, may_retry=may_retry), 12, NOW)
    never_entered(ready, BEFORE_METHOD, 1, now)
    assert (make.row(ready, job_id).status, make.row(ready, job_id).reason) == ("scheduled", "not_started")


# Cancel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", WAITING)
def test_a_waiting_job_is_cancelled_at_once(ready: Database, status: Status) -> None:
    job_id = inserted(ready, status)
    changes = cancel(ready, job_id)
    row = make.row(ready, job_id)
    assert (row.status, row.reason, row.finished_at, row.cancelled_by) == ("cancelled", "cancelled", NOW, "ann")
    assert [(change.title, change.job, change.is_error) for change in changes] == [("Job cancelled", job_id, False)]
    assert make.attempts(ready, job_id) == []


def test_a_running_job_gets_the_request_and_runs_on(ready: Database, claimed: Claim) -> None:
    assert cancel(ready, claimed.job) == []
    row = make.row(ready, claimed.job)
    assert (row.status, row.token, row.cancel_requested_at, row.cancelled_by) == ("running", claimed.token, NOW, "ann")
    with ready.write() as connection:
        assert lifecycle.cancel(connection, claimed.job, "bob", NOW + SECOND) == []
    assert make.row(ready, claimed.job) == row, "asking again changes nothing"


@pytest.mark.parametrize("outcome", [STOPPED, FAILED, LOST, NOT_STARTED, REFUSED], ids=lambda one: str(one.reason))
def test_a_stored_cancel_wins_over_every_failure(ready: Database, claimed: Claim, outcome: Outcome) -> None:
    cancel(ready, claimed.job)
    changes = make.settle(ready, claimed, outcome)
    row = make.row(ready, claimed.job)
    assert (row.status, row.reason, row.error) == ("cancelled", "cancelled", outcome.error)
    assert (row.cancel_requested_at, row.cancelled_by, row.attempt_limit) == (None, "ann", 4)
    (attempt,) = make.attempts(ready, claimed.job)
    assert (attempt.status, attempt.reason) == ("cancelled", "cancelled")
    assert titles(changes) == ["Job cancelled"]
    assert not changes[0].is_error


def test_a_result_that_came_first_stands_although_a_cancel_was_asked(ready: Database, claimed: Claim) -> None:
    cancel(ready, claimed.job)
    assert titles(make.settle(ready, claimed, COMPLETED)) == ["Job completed successfully"]
    row = make.row(ready, claimed.job)
    assert (row.status, row.reason, row.cancel_requested_at, row.cancelled_by) == ("completed", None, None, None)


@pytest.mark.parametrize("status", FINAL)
def test_what_has_ended_cannot_be_cancelled(ready: Database, status: Status) -> None:
    job_id = inserted(ready, status)
    before = make.rows(ready)
    with pytest.raises(WrongState, match=f"job {job_id} is {status}: it cannot be cancelled") as caught:
        cancel(ready, job_id)
    assert (caught.value.job_id, caught.value.status) == (job_id, status)
    assert make.rows(ready) == before


# A person's retry --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", FINAL)
def test_a_person_runs_an_ended_job_again_with_fresh_retries(ready: Database, status: Status) -> None:
    job_id = inserted(
        ready,
        status,
        retries=2,
        attempt=5,
        attempt_limit=5,
        lost_in_row=3,
        reason=None if status is Status.COMPLETED else "error",
        error="no",
        result="1",
        cancelled_by="ann",
    )
    changes = retry(ready, job_id)
    row = make.row(ready, job_id)
    assert (row.status, row.reason, row.error, row.result, row.finished_at) == ("pending", None, None, None, None)
    assert (row.attempt, row.attempt_limit, row.lost_in_row, row.cancelled_by) == (5, 8, 0, None)
    assert row.run_at == NOW + 60 * SECOND
    assert titles(changes) == ["Job pending"]
    assert make.claim(ready, now=NOW + 60 * SECOND).attempt == 6


def test_attempt_numbers_go_on_over_a_persons_retry(ready: Database) -> None:
    job_id = make.add(ready, retries=1, backoff=Backoff(0.0, fixed=True))
    for _ in range(2):
        make.settle(ready, make.promote_and_claim(ready, NOW), FAILED, NOW)
    assert make.row(ready, job_id).status == "failed"
    retry(ready, job_id)
    for _ in range(2):
        make.settle(ready, make.promote_and_claim(ready, NOW + 60 * SECOND), FAILED, NOW)
    assert make.row(ready, job_id).status == "failed"
    assert [one.number for one in make.attempts(ready, job_id)] == [1, 2, 3, 4]


@pytest.mark.parametrize("status", UNFINISHED)
def test_what_has_not_ended_cannot_be_run_again(ready: Database, status: Status) -> None:
    job_id = inserted(ready, status)
    before = make.rows(ready)
    with pytest.raises(WrongState, match=f"is {status}: it cannot be run again"):
        retry(ready, job_id)
    assert make.rows(ready) == before


@pytest.mark.parametrize("other", UNFINISHED)
def test_a_unique_key_in_use_forbids_running_again(ready: Database, other: Status) -> None:
    ended = inserted(ready, Status.FAILED, unique_key="report")
    holder = inserted(ready, other, unique_key="report")
    before = make.rows(ready)
    with pytest.raises(WrongState, match=f"job {holder} has the same unique key"):
        retry(ready, ended)
    assert make.rows(ready) == before


def test_of_retries_at_once_with_one_unique_key_one_wins(ready: Database) -> None:
    ids = [inserted(ready, Status.FAILED, unique_key="report") for _ in range(8)]
    gate = threading.Barrier(len(ids))
    won, refused, broken = [], [], []

    def run_again(job_id: int) -> None:
        gate.wait()
        try:
            won.append(retry(ready, job_id))
        except WrongState as error:
            refused.append(error)
        except Exception as error:  # reported by the assertion below, since a thread's own error would go unseen
            broken.append(error)

    threads = [threading.Thread(target=run_again, args=(job_id,)) for job_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []
    assert (len(won), len(refused)) == (1, 7)


# Removal -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", OTHER_THAN_RUNNING)
def test_a_job_that_does_not_run_is_removed_with_its_attempts(ready: Database, status: Status) -> None:
    make.add(ready, backoff=Backoff(0.0, fixed=True))
    job_id = make.claim(ready).job
    other = inserted(ready, status)
    with ready.write() as connection:
        connection.execute(
            update(JOBS)
            .where(JOBS.c.id == job_id)
            .values(
                status=status, token=None, lease_until=None, finished_at=make.row(ready, other).finished_at, attempt=1
            )
        )
    changes = remove(ready, job_id)
    assert [(change.title, change.job) for change in changes] == [("Job deleted", job_id)]
    assert [row["id"] for row in make.rows(ready)] == [other]
    assert make.attempts(ready, job_id) == []


def test_a_running_job_is_not_removed(ready: Database, claimed: Claim) -> None:
    before = make.rows(ready)
    with pytest.raises(WrongState, match="is running: it cannot be deleted; cancel it first"):
        remove(ready, claimed.job)
    assert make.rows(ready) == before


@pytest.mark.parametrize("ask", [cancel, retry, remove])
def test_an_unknown_job_is_told_so(ready: Database, ask: Callable[[Database, int], object]) -> None:
    with pytest.raises(UnknownJob, match="there is no job 4711"):
        ask(ready, 4711)


def test_people_can_ask_one_after_the_other_in_one_transaction(ready: Database) -> None:
    kept, running = inserted(ready, Status.FAILED), inserted(ready, Status.RUNNING)
    with ready.write() as connection:
        with pytest.raises(WrongState):
            lifecycle.retry(connection, running, NOW)
        lifecycle.retry(connection, kept, NOW)
    assert make.row(ready, kept).status == "pending"


# What the database refuses -----------------------------------------------------------------------------------

NONSENSE: dict[str, dict[str, Any]] = {
    "an unknown status": {"status": "sleeping"},
    "an unknown reason": {"reason": "bored"},
    "too many retries": {"retries": 101},
    "negative retries": {"retries": -1},
    "too high a priority": {"priority": 101},
    "too low a priority": {"priority": -101},
    "a negative attempt": {"attempt": -1},
    "an attempt past its limit": {"attempt": 5, "attempt_limit": 4},
    "no time at all": {"timeout": 0},
    "an end of what waits": {"finished_at": NOW},
    "no end of what ended": {"status": "failed", "finished_at": None},
    "a token without a runner": {"token": "t"},
    "a lease without a runner": {"lease_until": NOW},
    "running without a token": {"status": "running", "lease_until": NOW},
    "running without a lease": {"status": "running", "token": "t"},
    "no class": {"job_class": None},
}


@pytest.mark.parametrize("what", NONSENSE)
def test_the_database_itself_refuses_a_job_with(ready: Database, what: str) -> None:
    job_id = inserted(ready, Status.PENDING)
    with pytest.raises(IntegrityError), ready.write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(NONSENSE[what]))
    with pytest.raises(IntegrityError), ready.write() as connection:
        connection.execute(insert(JOBS).values({**make.new_job().row(), **NONSENSE[what]}))


ATTEMPT_NONSENSE: dict[str, dict[str, Any]] = {
    "the status of a waiting job": {"status": "pending"},
    "an unknown reason": {"reason": "bored"},
    "an end while it runs": {"finished_at": NOW},
    "no end although it ended": {"status": "failed"},
    "two ways of ending": {"exit_code": 1, "signal": "SIGKILL"},
    "no job": {"job_id": 4711},
    "no node": {"node": None},
}


@pytest.mark.parametrize("what", ATTEMPT_NONSENSE)
def test_the_database_itself_refuses_an_attempt_with(ready: Database, claimed: Claim, what: str) -> None:
    values = {"job_id": claimed.job, "number": 2, "status": "running", "node": "n", "runner_pid": 1, "started_at": NOW}
    with pytest.raises(IntegrityError), ready.write() as connection:
        connection.execute(insert(ATTEMPTS).values(values | ATTEMPT_NONSENSE[what]))
    with ready.write() as connection:
        connection.execute(insert(ATTEMPTS).values(values))
        assert len(connection.execute(select(ATTEMPTS)).all()) == 2


def test_a_rolled_back_edge_leaves_nothing(ready: Database, claimed: Claim) -> None:
    before = make.rows(ready), make.attempts(ready, claimed.job)
    with pytest.raises(RuntimeError, match="undone"), ready.write() as connection:
        lifecycle.settle(connection, claimed, FAILED, NOW)
        lifecycle.add(connection, make.new_job())
        raise RuntimeError("undone")
    assert (make.rows(ready), make.attempts(ready, claimed.job)) == before


@pytest.mark.parametrize("edited", [{"attempt": 10**9, "attempt_limit": 10**9}, {"attempt": 0, "attempt_limit": 1}])
def test_a_row_edited_by_hand_does_not_keep_the_others_from_running(ready: Database, edited: dict[str, int]) -> None:
    """Whoever sets a job back by hand must not stop every runner."""
    make.add(ready, priority=10, retries=0)
    job_id = make.claim(ready).job
    by_hand = {"status": "pending", "token": None, "lease_until": None, **edited}
    with ready.write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(by_hand))
    other = make.add(ready)
    claims = [make.claim(ready), make.claim(ready)]
    assert [one.job for one in claims] == [job_id, other]
    make.settle(ready, claims[0], FAILED)
    assert make.row(ready, job_id).status == "failed"


def test_a_wait_of_days_survives_the_way_through_the_database(ready: Database) -> None:
    run_at = NOW + timedelta(days=365, microseconds=1)
    assert make.row(ready, make.add(ready, run_at=run_at)).run_at == run_at
