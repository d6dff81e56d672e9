"""Where forking is not safe, runners and children are spawned as new programs; the behaviour is the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bgapp import handle, system
from tests.site import Site
from tests.waiting import wait_for


@pytest.fixture
def spawning(make_site: Callable[..., Site]) -> Site:
    found = make_site(start_method="spawn")
    found.start_app()
    return found


def test_a_spawned_job_runs_with_output_result_and_cost(spawning: Site) -> None:
    job = spawning.enqueue("talk_all_ways")
    found = spawning.wait(job)
    assert found["status"] == "completed", found
    for words in ("by print", "by subprocess", "by logging"):
        assert words in spawning.output(job)
    assert found["attempts"][0]["exit_code"] == 0
    assert found["attempts"][0]["cpu_seconds"] > 0


def test_a_spawned_job_is_cancelled_with_its_tree(spawning: Site) -> None:
    path = str(spawning.witness)
    job = spawning.enqueue("leave_children", path)
    spawning.wait_entered(job)
    pids = [int(Path(f"{path}.{name}").read_text()) for name in ("plain", "own")]
    handle.cancel(spawning.runtime, job.id, "tester")
    assert spawning.wait(job)["status"] == "cancelled"
    assert [system.identify(pid) for pid in pids] == [None, None]


def test_a_spawned_child_ends_when_its_runner_is_killed_and_the_job_is_rescued(spawning: Site) -> None:
    job = spawning.note(60.0, retries=1)
    spawning.wait_entered(job)
    child = int(spawning.starts(job.id)[0][4])
    os.kill(spawning.job(job)["runner_pid"], signal.SIGKILL)
    wait_for(lambda: system.identify(child) is None, "the child to end without a parent-death signal")
    spawning.wait_entered(job, times=2)


def test_an_application_with_threads_makes_its_children_by_spawning(make_site: Callable[..., Site]) -> None:
    site = make_site(app="tests.threadedapp:app")
    site.start_app()
    assert site.wait(site.enqueue("add", 1, 2))["result"] == 3
