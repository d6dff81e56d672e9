"""Many at once: every job is claimed exactly once, and a unique key makes one job, whoever else is at it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter

import pytest
from sqlalchemy import select

from bgapp import lifecycle
from bgapp.backoff import Backoff
from bgapp.database import Database
from bgapp.errors import Fenced
from bgapp.records import Change, Claim
from bgapp.statements import ATTEMPTS
from tests import factories as make
from tests.conftest import ROOT
from tests.factories import NOW, SECOND
from tests.store.racing import at_once, insisting

JOBS, RACERS = 300, 8


def add_jobs(database: Database, count: int = JOBS, *, due: bool = True) -> list[int]:
    """Add jobs that are pending, or scheduled for a time that has come by now."""
    created = NOW if due else NOW - SECOND
    wanted = [make.new_job(method=f"m{n}", priority=n % 3, created_at=created) for n in range(count)]
    with database.write() as connection:
        return lifecycle.add_many(connection, wanted)[0]


@pytest.mark.process
def test_eight_processes_claim_each_of_300_jobs_exactly_once(ready: Database, database_url: str) -> None:
    # Half of them are still scheduled, so that promoting races as well.
    ids = add_jobs(ready, JOBS // 2) + add_jobs(ready, JOBS // 2, due=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.store.claimer", database_url, str(1000 + number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(RACERS)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * RACERS
    claimed = [line for lines in said for line in lines]
    assert Counter(claimed) == Counter(f"{job_id} 1" for job_id in ids)
    rows = make.rows(ready)
    assert {row["status"] for row in rows} == {"completed"}
    with ready.read() as connection:
        attempts = connection.execute(select(ATTEMPTS.c.job_id, ATTEMPTS.c.number, ATTEMPTS.c.runner_pid)).all()
    assert sorted((one.job_id, one.number) for one in attempts) == [(job_id, 1) for job_id in sorted(ids)]
    told = {line.split()[0]: 1000 + number for number, lines in enumerate(said) for line in lines}
    assert {one.job_id: one.runner_pid for one in attempts} == {int(job): pid for job, pid in told.items()}


def test_eight_threads_of_one_process_claim_each_job_exactly_once(ready: Database) -> None:
    ids = add_jobs(ready)

    def claim_all(number: int) -> list[Claim]:
        mine: list[Claim] = []
        while True:
            claimed = insisting(lambda: claim_one(ready, number))
            if claimed is None:
                return mine
            mine.append(claimed)

    claims = [one for mine in at_once(RACERS, claim_all) for one in mine]
    assert sorted(one.job for one in claims) == ids
    assert len({one.token for one in claims}) == JOBS


def claim_one(database: Database, number: int) -> Claim | None:
    with database.write() as connection:
        return lifecycle.claim(connection, make.owner(pid=number), NOW)[0]


def test_promoting_at_once_tells_each_job_once(ready: Database) -> None:
    ids = add_jobs(ready, due=False)

    def promote_all(_: int) -> list[Change]:
        mine: list[Change] = []
        while found := insisting(lambda: promote(ready)):
            mine += found
        return mine

    changes = [one for mine in at_once(4, promote_all) for one in mine]
    # A racer that found every due row locked by others leaves early; the last one out has seen them all.
    assert sorted(one.job for one in changes) == ids
    assert {row["status"] for row in make.rows(ready)} == {"pending"}


def promote(database: Database) -> list[Change]:
    with database.write() as connection:
        return lifecycle.promote(connection, NOW)


def test_of_two_who_settle_one_attempt_one_is_fenced(ready: Database) -> None:
    make.add(ready, backoff=Backoff(0.0, fixed=True))
    claimed = make.claim(ready)

    def settle(number: int) -> str:
        outcome = make.COMPLETED if number % 2 else make.LOST
        try:
            return insisting(lambda: make.settle(ready, claimed, outcome))[0].title
        except Fenced:
            return "fenced"

    said = at_once(RACERS, settle)
    assert said.count("fenced") == RACERS - 1
    attempt = make.attempts(ready, claimed.job)
    assert len(attempt) == 1
    winner = {"Job completed successfully": "completed", "Job lost": "failed"}
    assert attempt[0].status == next(winner[one] for one in said if one != "fenced")


def test_eight_threads_with_one_unique_key_make_one_job(ready: Database) -> None:
    def add(_: int) -> tuple[int, int]:
        return insisting(lambda: add_keyed(ready))

    added = at_once(RACERS, add)
    assert len({job_id for job_id, _ in added}) == 1
    assert sum(told for _, told in added) == 1
    assert len(make.rows(ready)) == 1


def add_keyed(database: Database) -> tuple[int, int]:
    with database.write() as connection:
        job_id, changes = lifecycle.add(connection, make.new_job(unique_key="report"))
    return job_id, len(changes)


def test_a_unique_key_holds_while_its_jobs_come_and_go(ready: Database) -> None:
    """Some add with the key while others run and end its holders: at no time do two unfinished ones have it."""
    rounds = 25
    end = threading.Event()

    def act(number: int) -> int:
        if number == 0:
            while not end.is_set():
                claimed = insisting(lambda: claim_one(ready, 0))
                if claimed is not None:
                    insisting(lambda: make.settle(ready, claimed, make.COMPLETED))
            return 0
        made = sum(insisting(lambda: add_keyed(ready))[1] for _ in range(rounds))
        if number == 1:
            end.set()
        return made

    made = sum(at_once(4, act))
    rows = make.rows(ready)
    assert len(rows) == made >= 1
    # Each holder ended before the next was added, or the unique index would have refused it.
    assert sum(row["status"] != "completed" for row in rows) <= 1


def test_cancel_and_claim_at_once_end_in_one_of_two_orders(ready: Database) -> None:
    ids = [make.add(ready) for _ in range(20)]

    def act(number: int) -> int:
        if number == 0:
            for job_id in ids:
                insisting(lambda job_id=job_id: cancel(ready, job_id))  # type: ignore[misc] # a default binds it now
            return 0
        count = 0
        while insisting(lambda: claim_one(ready, number)) is not None:
            count += 1
        return count

    claimed = sum(at_once(3, act))
    rows = make.rows(ready)
    assert sum(row["status"] == "running" for row in rows) == claimed
    for row in rows:
        assert (row["status"], row["cancel_requested_at"]) in {("cancelled", None), ("running", NOW)}


def cancel(database: Database, job_id: int) -> None:
    with database.write() as connection:
        lifecycle.cancel(connection, job_id, "ann", NOW)
