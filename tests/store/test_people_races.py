"""People against runners and against each other: whoever comes first wins, the rest are told, nothing is half done."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from sqlalchemy import text

from bgapp import lifecycle, queries
from bgapp.backoff import Backoff
from bgapp.database import Database
from bgapp.errors import Fenced, UnknownJob, WrongState
from bgapp.models import Status
from bgapp.outcome import Outcome
from bgapp.records import Change, Claim
from tests import factories as make
from tests.factories import NOW
from tests.store.racing import at_once, insisting
from tests.waiting import wait_for

ROUNDS = 10
ENDED = {"Job completed successfully": "completed", "Job cancelled": "cancelled"}


def ask(database: Database, action: str, job_id: int, by: str = "ann") -> list[Change]:
    """Do to a job what a person can: "cancel", "retry" or "remove" it."""
    with database.write() as connection:
        if action == "cancel":
            return lifecycle.cancel(connection, job_id, by, NOW)
        if action == "retry":
            return lifecycle.retry(connection, job_id, NOW)
        return lifecycle.remove(connection, job_id)


def answer(database: Database, action: str, job_id: int, by: str = "ann") -> str:
    """Ask, and return what became of it: the action's name, or the refusal's."""
    try:
        insisting(lambda: ask(database, action, job_id, by))
    except (WrongState, UnknownJob) as error:
        return type(error).__name__
    return action


def counts(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return queries.counts(connection)


def running(database: Database) -> list[int]:
    with database.read() as connection:
        return [row.id for row in queries.running(connection)]


def claim_next(database: Database, number: int) -> Claim | None:
    with database.write() as connection:
        return lifecycle.claim(connection, make.owner(pid=number), NOW)[0]


def run_one(database: Database, claimed: Claim) -> list[Change]:
    """Run a short job as a runner does: look for a cancel a few times, then report."""
    outcome = make.STOPPED if any(cancel_seen(database, claimed) for _ in range(5)) else make.COMPLETED
    return insisting(lambda: make.settle(database, claimed, outcome))


def cancel_seen(database: Database, claimed: Claim) -> bool | None:
    with database.read() as connection:
        return queries.cancel_requested(connection, claimed.job, claimed.token)


# A cancel and the end of a job -------------------------------------------------------------------------------


def test_200_cancels_against_200_short_jobs_leave_each_completed_or_cancelled(ready: Database) -> None:
    with ready.write() as connection:
        ids, _ = lifecycle.add_many(connection, [make.new_job() for _ in range(200)])
    refused: dict[int, str] = {}
    told: list[Change] = []

    def cancel(job_id: int) -> None:
        try:
            told.extend(insisting(lambda: ask(ready, "cancel", job_id)))
        except WrongState as error:
            refused[job_id] = error.status

    def act(number: int) -> None:
        if number == 0:  # from the far end, where jobs still wait
            for job_id in reversed(ids):
                cancel(job_id)
        elif number == 1:  # what runs at the moment
            while counts(ready)["pending"] + counts(ready)["running"]:
                for job_id in running(ready):
                    cancel(job_id)
        else:
            while (claimed := insisting(lambda: claim_next(ready, number))) is not None:
                told.extend(run_one(ready, claimed))

    at_once(4, act)
    rows = {row["id"]: row for row in make.rows(ready)}
    assert {row["status"] for row in rows.values()} <= {"completed", "cancelled"}
    assert {change.job: ENDED[change.title] for change in told} == {job_id: rows[job_id]["status"] for job_id in ids}
    assert len(told) == len(ids), "each end is told once"
    assert refused == {job_id: rows[job_id]["status"] for job_id in refused}
    for job_id, row in rows.items():
        assert (row["cancelled_by"] == "ann") == (row["status"] == "cancelled")
        assert [one.status for one in make.attempts(ready, job_id)] == [row["status"]] * row["attempt"]


@pytest.mark.parametrize("outcome", [make.FAILED, make.LOST, make.NOT_STARTED], ids=lambda one: str(one.reason))
def test_a_cancel_ends_a_job_that_fails_in_the_same_moment(ready: Database, outcome: Outcome) -> None:
    """Before the failure it is stored and wins; after it, it meets a job that waits for its next attempt."""
    for _ in range(ROUNDS):
        make.add(ready)
        claimed = make.claim(ready)

        def act(number: int) -> object:
            if number:
                return insisting(lambda: ask(ready, "cancel", claimed.job))
            return insisting(lambda: make.settle(ready, claimed, outcome))

        at_once(2, act)
        row = make.row(ready, claimed.job)
        assert (row.status, row.reason, row.cancelled_by) == ("cancelled", "cancelled", "ann")
        assert row.cancel_requested_at is None


def test_a_result_and_a_cancel_in_the_same_moment_leave_the_result(ready: Database) -> None:
    for _ in range(ROUNDS):
        make.add(ready)
        claimed = make.claim(ready)

        def act(number: int) -> str:
            if number:
                return answer(ready, "cancel", claimed.job)
            return insisting(lambda: make.settle(ready, claimed, make.COMPLETED))[0].title

        said = set(at_once(2, act))
        assert said in ({"Job completed successfully", "cancel"}, {"Job completed successfully", "WrongState"})
        row = make.row(ready, claimed.job)
        assert (row.status, row.result, row.cancelled_by) == ("completed", '{"n": 1}', None)


@pytest.mark.postgres
@pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled back"])
def test_a_second_report_waits_for_the_first_and_counts_only_without_it(ready: Database, commits: bool) -> None:
    if ready.is_sqlite:
        pytest.skip("SQLite has one writer: the second could not begin")
    make.add(ready, backoff=Backoff(0.0, fixed=True))
    claimed = make.claim(ready)
    said: list[str] = []

    def report() -> None:
        try:
            said.append(make.settle(ready, claimed, make.LOST)[0].title)
        except Fenced:
            said.append("fenced")

    second = threading.Thread(target=report)
    with ready.engine.connect() as connection:
        lifecycle.settle(connection, claimed, make.COMPLETED, NOW)
        second.start()
        wait_for(lambda: waits_for_a_lock(ready), "the second report to meet the first one's lock")
        connection.commit() if commits else connection.rollback()
    second.join()
    assert said == ["fenced" if commits else "Job lost"]
    assert make.row(ready, claimed.job).status == ("completed" if commits else "scheduled")
    assert [one.status for one in make.attempts(ready, claimed.job)] == ["completed" if commits else "failed"]


def waits_for_a_lock(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.read() as connection:
        return bool(connection.execute(text(waiting)).scalar_one())


# People against each other -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "status", "refusal"),
    [
        ("cancel", Status.PENDING, "WrongState"),
        ("cancel", Status.SCHEDULED, "WrongState"),
        ("retry", Status.FAILED, "WrongState"),
        ("remove", Status.FAILED, "UnknownJob"),
        ("remove", Status.PENDING, "UnknownJob"),
    ],
)
def test_of_20_who_ask_for_the_same_one_wins(ready: Database, action: str, status: Status, refusal: str) -> None:
    with ready.write() as connection:
        job_id = make.insert_job(connection, status)
    said = at_once(20, lambda _: answer(ready, action, job_id))
    assert Counter(said) == {action: 1, refusal: 19}


def test_of_many_who_cancel_a_running_job_the_first_is_remembered(ready: Database) -> None:
    make.add(ready)
    claimed = make.claim(ready)
    first: list[str | None] = []

    def act(number: int) -> str:
        said = answer(ready, "cancel", claimed.job, by=f"person {number}")
        first.append(make.row(ready, claimed.job).cancelled_by)
        return said

    assert at_once(20, act) == ["cancel"] * 20
    assert len(set(first)) == 1


def test_cancel_retry_and_delete_at_once_leave_what_some_order_of_them_leaves(ready: Database) -> None:
    """From `failed`, those that are not refused go retry, cancel, retry, cancel ... and a delete ends them."""
    actions = ["retry", "cancel", "remove", "retry", "cancel", "retry", "cancel"]
    for _ in range(ROUNDS):
        make.add(ready, retries=0)
        claimed = make.claim(ready)
        make.settle(ready, claimed, make.FAILED)
        said = Counter(at_once(len(actions), lambda number: answer(ready, actions[number], claimed.job)))
        # A delete is refused by a running job alone, and none runs here.
        assert said["remove"] == 1
        assert said["retry"] - said["cancel"] in (0, 1)
        with ready.read() as connection:
            assert queries.job(connection, claimed.job) is None
        assert make.attempts(ready, claimed.job) == []


def test_cancel_and_retry_at_once_leave_what_some_order_of_them_leaves(ready: Database) -> None:
    for _ in range(ROUNDS):
        make.add(ready, retries=0)
        claimed = make.claim(ready)
        make.settle(ready, claimed, make.FAILED)
        said = Counter(at_once(8, lambda number: answer(ready, "retry" if number % 2 else "cancel", claimed.job)))
        row = make.row(ready, claimed.job)
        assert said["retry"] >= 1
        assert row.status == {0: "cancelled", 1: "pending"}[said["retry"] - said["cancel"]]
        assert (row.finished_at is None, row.cancelled_by is None) == (row.status == "pending", row.status == "pending")
        assert (row.attempt, row.attempt_limit) == (1, 2)
        if row.status == "pending":
            ask(ready, "cancel", claimed.job)  # so that the next round claims its own


@pytest.mark.parametrize("action", ["cancel", "remove"])
def test_a_job_is_claimed_or_taken_away_but_never_both(ready: Database, action: str) -> None:
    ids = [make.add(ready) for _ in range(40)]

    def act(number: int) -> list[int]:
        if number == 0:
            return [job_id for job_id in reversed(ids) if answer(ready, action, job_id) == action]
        mine = []
        while (claimed := insisting(lambda: claim_next(ready, number))) is not None:
            mine.append(claimed.job)
        return mine

    at_once(3, act)
    left = {row["id"]: row for row in make.rows(ready)}
    for job_id in ids:
        row = left.get(job_id)
        ran = [one.status for one in make.attempts(ready, job_id)]
        if row is None or row["status"] == "cancelled":
            assert ran == []
        else:
            assert (row["status"], ran) == ("running", ["running"])
    assert action == "remove" or len(left) == len(ids)
