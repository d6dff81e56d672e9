"""Ending an attempt: cancel, time limit, and everything that the job started."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgapp import handle, system
from bgapp.errors import WrongState
from tests.site import Site
from tests.waiting import wait_for


def cancel(site: Site, job: handle.JobHandle) -> None:
    handle.cancel(site.runtime, job.id, "tester")


def test_a_waiting_job_is_cancelled_at_once_and_never_starts(site: Site) -> None:
    job = site.note(delay=0.3)
    cancel(site, job)
    assert site.job(job)["status"] == "cancelled"
    site.start_app()
    other = site.note(delay=0.6)
    site.wait(other)
    assert site.starts(job.id) == []


def test_a_running_job_is_cancelled(site: Site) -> None:
    site.start_app()
    job = site.note(60.0, retries=5)
    site.wait_entered(job)
    cancel(site, job)
    found = site.wait(job)
    assert (found["status"], found["reason"], found["attempt"]) == ("cancelled", "cancelled", 1)
    assert found["attempts"][0]["signal"] == "SIGTERM"
    assert system.identify(int(site.starts(job.id)[0][4])) is None


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(site: Site) -> None:
    site.start_app()
    job = site.enqueue("stubborn", str(site.witness))
    site.wait_entered(job)
    cancel(site, job)
    found = site.wait(job)
    assert found["status"] == "cancelled"
    assert found["attempts"][0]["signal"] == "SIGKILL"
    assert "did not end when asked" in found["error"]


@pytest.mark.parametrize("then", [60.0, 0.0], ids=["cancelled", "ended by itself"])
def test_programs_that_a_job_started_end_with_it_also_in_sessions_of_their_own(site: Site, then: float) -> None:
    site.start_app()
    path = str(site.witness)
    job = site.enqueue("leave_children", path, 60.0, then)
    site.wait_entered(job)
    pids = [int(Path(f"{path}.{name}").read_text()) for name in ("plain", "own")]
    if then:
        cancel(site, job)
    assert site.wait(job)["status"] == ("cancelled" if then else "completed")
    assert [system.identify(pid) for pid in pids] == [None, None]


def test_a_time_limit_ends_the_attempt_and_uses_a_retry(site: Site) -> None:
    site.start_app()
    job = site.note(60.0, retries=1, timeout=0.3)
    found = site.wait(job)
    assert (found["status"], found["reason"], found["attempt"]) == ("failed", "timeout", 2)
    assert "time limit of 0.3 s" in found["error"]


def test_a_job_stopped_by_a_signal_is_not_run_on_before_it_ends(site: Site) -> None:
    import os
    import signal

    site.start_app()
    job = site.note(1.0)
    site.wait_entered(job)
    os.kill(int(site.starts(job.id)[0][4]), signal.SIGSTOP)
    cancel(site, job)
    assert site.wait(job)["status"] == "cancelled"
    assert site.ends(job.id) == []


def test_an_ended_job_cannot_be_cancelled(site: Site) -> None:
    site.start_app()
    job = site.enqueue("add", 1, 1)
    site.wait(job)
    with pytest.raises(WrongState, match="completed"):
        cancel(site, job)


def test_a_thread_left_behind_does_not_hold_the_job(site: Site) -> None:
    site.start_app()
    found = site.wait(site.enqueue("thread_left"))
    assert (found["status"], found["result"]) == ("completed", "returned")


@pytest.mark.parametrize(
    ("method", "params", "reason", "word"),
    [
        ("exit", (7,), "no_result", "exit code 7"),
        ("exit", (0,), "no_result", "exit code 0"),
        ("kill_self", (), "lost", "SIGKILL"),
        ("talk_then_crash", (), "lost", "SIGSEGV"),
        ("leave", (), "error", "SystemExit"),
        ("fail", (), "error", "ValueError"),
    ],
)
def test_each_way_to_die_is_told(site: Site, method: str, params: tuple[int, ...], reason: str, word: str) -> None:
    site.start_app()
    found = site.wait(site.enqueue(method, *params, retries=0))
    assert (found["status"], found["reason"]) == ("failed", reason)
    assert word in found["error"]


def test_three_lost_attempts_in_a_row_are_poison(site: Site) -> None:
    site.start_app()
    found = site.wait(site.enqueue("kill_self", retries=10))
    assert (found["status"], found["reason"], found["attempt"]) == ("failed", "poison", 3)


def test_nothing_is_left_when_all_is_done(site: Site) -> None:
    app = site.start_app()
    for _ in range(3):
        site.wait(site.enqueue("add", 1, 1))
    assert list((site.node.folder / "entries").iterdir()) == []  # type: ignore[union-attr] # it led, so it has a node
    site.kill_app(app)
    wait_for(lambda: site.node is not None, "the node")
