"""Jobs outlive the application: they finish, record and retry while no app process runs, and nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import signal

from bgapp import system
from tests.site import Site
from tests.waiting import wait_for


def test_a_running_job_finishes_and_records_while_no_app_runs(site: Site) -> None:
    app = site.start_app()
    job = site.note(1.0)
    site.wait_entered(job)
    site.kill_app(app)
    assert site.wait(job)["status"] == "completed"
    assert len(site.starts(job.id)) == len(site.ends(job.id)) == 1


def test_retries_that_come_due_meanwhile_run_without_an_app(site: Site) -> None:
    app = site.start_app()
    job = site.enqueue("fail_slowly", str(site.witness), 0.5, retries=2, backoff="1 fixed")
    site.wait_entered(job)
    site.kill_app(app)
    found = site.wait(job)
    assert (found["status"], found["attempt"]) == ("failed", 3)
    assert len(site.starts(job.id)) == 3


def test_an_app_that_starts_again_leaves_running_jobs_alone(site: Site) -> None:
    app = site.start_app()
    job = site.note(1.5)
    site.wait_entered(job)
    before = site.job(job)
    app.send_signal(signal.SIGTERM)
    app.wait()
    site.start_app()
    after = site.wait(job)
    assert after["attempt"] == 1
    assert after["status"] == "completed"
    assert after["runner_pid"] == before["runner_pid"]
    assert len(site.starts(job.id)) == 1


def test_the_death_of_the_host_harms_no_runner_and_the_next_tick_starts_another(site: Site) -> None:
    site.start_app()
    job = site.note(1.0)
    site.wait_entered(job)
    host = site.host()
    assert host is not None
    os.kill(host.pid, signal.SIGKILL)
    assert site.wait(job)["status"] == "completed"
    wait_for(lambda: site.host() not in (None, host), "another host")
    assert len(site.starts(job.id)) == 1


def test_a_lost_runner_is_seen_and_the_attempt_tried_again(site: Site) -> None:
    site.start_app()
    job = site.note(30.0, retries=1)
    site.wait_entered(job)
    first = site.starts(job.id)[0]
    os.kill(site.job(job)["runner_pid"], signal.SIGKILL)
    site.wait_entered(job, times=2)
    assert system.identify(int(first[4])) is None, "the first attempt's process must be gone before the second starts"
    attempts = site.job(job)["attempts"]
    assert (attempts[0]["status"], attempts[0]["reason"]) == ("failed", "lost")
    assert "may have had effects" in attempts[0]["error"]


def test_a_lost_runner_without_retries_means_failed_and_says_so(site: Site) -> None:
    site.start_app()
    job = site.note(30.0, retries=0)
    site.wait_entered(job)
    os.kill(site.job(job)["runner_pid"], signal.SIGKILL)
    found = site.wait(job)
    assert (found["status"], found["reason"]) == ("failed", "lost")
    assert "Job lost" in site.log("background_jobs_errors.log")


def test_a_lost_runner_is_rescued_by_another_runner_when_no_app_runs(site: Site) -> None:
    app = site.start_app()
    lost, kept = site.note(30.0, retries=1), site.note(4.0)
    site.wait_entered(lost)
    site.wait_entered(kept)
    site.kill_app(app)
    os.kill(site.job(lost)["runner_pid"], signal.SIGKILL)
    site.wait_entered(lost, times=2)
    assert len(site.starts(kept.id)) == 1


def test_a_killed_forker_ends_the_child_and_the_attempt_is_settled(site: Site) -> None:
    site.start_app()
    job = site.note(30.0, retries=1)
    site.wait_entered(job)
    child = int(site.starts(job.id)[0][4])
    with open(f"/proc/{child}/stat") as stat:
        forker = int(stat.read().rsplit(")", 1)[1].split()[1])
    os.kill(forker, signal.SIGKILL)
    site.wait_entered(job, times=2)
    assert system.identify(child) is None
    assert site.job(job)["attempts"][0]["reason"] == "lost"


def test_everything_killed_at_once_is_settled_at_the_next_start(site: Site) -> None:
    site.start_app()
    jobs = [site.note(30.0, retries=1) for _ in range(3)]
    for job in jobs:
        site.wait_entered(job)
    for pid in site.processes():
        with contextlib.suppress(ProcessLookupError):  # a child that died with its forker a moment ago
            os.kill(pid, signal.SIGKILL)
    site.start_app()
    for job in jobs:
        site.wait_entered(job, times=2)
        assert site.job(job)["attempts"][0]["reason"] == "lost"


def test_an_unfinished_job_that_is_enqueued_without_an_app_waits_for_one(site: Site) -> None:
    job = site.enqueue("add", 1, 1)
    assert site.job(job)["status"] == "pending"
    site.start_app()
    assert site.wait(job)["status"] == "completed"
