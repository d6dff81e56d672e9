"""Outcomes that the database cannot take: they wait in a file, outlive their runner, and land once."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bgapp import handle, spool
from bgapp.handle import JobHandle
from bgapp.models import Reason, Status
from bgapp.node import Node
from bgapp.outcome import Outcome
from bgapp.records import Fence
from bgapp.sqlitelibrary import sqlite_library
from bgapp.system import Ended
from tests.faults.grid import Blows, nothing_is_left
from tests.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.process


@pytest.fixture
def blows(make_blows: Callable[..., Blows]) -> Blows:
    made = make_blows()
    made.site.start_app()
    return made


def ended_job(blows: Blows) -> JobHandle:
    """Let a job without retries run to its end; its runner is held before it records that."""
    blows.arm("outcome", "hold")
    job = blows.site.note(retries=0)
    blows.wait_taken("outcome")
    return job


@contextmanager
def locked(blows: Blows) -> Iterator[None]:
    """Hold SQLite's write lock; by the library that this process uses already, for two lose each other's locks."""
    assert blows.site.runtime.settings.database_file is not None
    stranger = sqlite_library().connect(blows.site.runtime.settings.database_file, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    blows.release("outcome")
    try:
        yield
    finally:
        stranger.execute("ROLLBACK")
        stranger.close()


def waiting(site: Site) -> list[str]:
    assert site.node is not None
    return [path.name for path in site.node.outcomes.glob("*.json")]


def test_an_outcome_waits_in_a_private_file_and_lands_when_the_database_is_back(blows: Blows) -> None:
    site = blows.site
    job = ended_job(blows)
    with locked(blows):
        wait_for(lambda: waiting(site), "an outcome that waits")
        assert site.node is not None
        file = site.node.outcome_path(job.id, 1)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert site.job(job)["status"] == "running"
    assert site.wait(job)["status"] == "completed"
    nothing_is_left(site)
    assert len(site.starts(job.id)) == 1


@pytest.mark.parametrize("kinds", [("runner",), ("app", "host", "runner", "forker")], ids=["runner", "all"])
def test_an_outcome_outlives_its_runner(blows: Blows, kinds: tuple[str, ...]) -> None:
    """Also with no retries: what ran to its end is not called lost because its runner was killed afterwards."""
    site = blows.site
    job = ended_job(blows)
    with locked(blows):
        wait_for(lambda: waiting(site), "an outcome that waits")
        blows.strike(kinds)
    if "app" in kinds:
        site.start_app()
    found = site.wait(job)
    assert (found["status"], found["attempt"]) == ("completed", 1)
    assert found["attempts"][0]["exit_code"] == 0
    nothing_is_left(site)
    assert len(site.starts(job.id)) == 1


@pytest.mark.parametrize("point", ["spool", "spooled"])
def test_a_runner_killed_while_it_writes_the_file_leaves_all_of_it_or_nothing(blows: Blows, point: str) -> None:
    site = blows.site
    job = ended_job(blows)
    blows.arm(point, "kill")
    with locked(blows):
        blows.wait_taken(point)
    found = site.wait(job)
    if point == "spooled":
        assert found["status"] == "completed"
    else:  # nothing was recorded anywhere: it ran, and nobody knows how it ended
        assert (found["status"], found["reason"]) == ("failed", "lost")
    assert len(site.starts(job.id)) == 1
    nothing_is_left(site)


def test_a_runner_that_is_asked_to_leave_leaves_its_outcome_in_the_file(blows: Blows) -> None:
    site = blows.site
    job = ended_job(blows)
    runner = site.job(job)["runner_pid"]
    with locked(blows):
        wait_for(lambda: waiting(site), "an outcome that waits")
        os.kill(runner, signal.SIGTERM)
        wait_for(lambda: runner not in [one.pid for one in site.runners()], "the runner's end")
        assert waiting(site)
    assert site.wait(job)["status"] == "completed"
    nothing_is_left(site)


def test_a_cancel_that_was_stored_first_wins_over_a_failure_that_waited(blows: Blows) -> None:
    site = blows.site
    job = site.enqueue("fail_slowly", str(site.witness), 1.0, retries=3)
    site.wait_entered(job)
    runner = site.job(job)["runner_pid"]
    blows.strike_one(runner, signal.SIGSTOP)  # it cannot act on the cancel
    handle.cancel(site.runtime, job.id, "tester")
    blows.strike_one(runner)
    found = site.wait(job)
    assert (found["status"], found["attempt"]) == ("cancelled", 1)


# The file itself ---------------------------------------------------------------------------------------------------

FENCE = Fence(12, 3, "a" * 32)
OUTCOMES = [
    Outcome(Status.COMPLETED, result='{"n": "ü"}', pid=7, ended=Ended(0, None, 0.25, 4096)),
    Outcome(Status.FAILED, Reason.ERROR, "ValueError: no", "Traceback ...", pid=7, ended=Ended(0, None, 0.1, 1)),
    Outcome(Status.FAILED, Reason.NOT_STARTED, "never entered", may_retry=False),
]


@pytest.fixture
def node(tmp_path: object) -> Node:
    return Node.join(tmp_path)  # type: ignore[arg-type] # a path


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda one: str(one.reason))
def test_what_is_kept_comes_back_whole(node: Node, outcome: Outcome) -> None:
    spool.keep(node, FENCE, outcome)
    assert spool.kept(node, 12, 3) == spool.Kept(FENCE, outcome)
    assert list(spool.each(node)) == [spool.Kept(FENCE, outcome)]
    spool.forget(node, FENCE)
    assert list(spool.each(node)) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job": 12}', json.dumps({"job": 1, "attempt": 1, "token": "t"})])
def test_a_damaged_file_counts_as_none(node: Node, text: str) -> None:
    spool.keep(node, FENCE, OUTCOMES[0])
    node.outcome_path(12, 3).write_text(text)
    assert spool.kept(node, 12, 3) is None
    assert list(spool.each(node)) == []


def test_an_unknown_job_has_none(node: Node) -> None:
    assert spool.kept(node, 1, 1) is None
    spool.forget(node, Fence(1, 1, "b"))
