"""One process for several jobs, where the allow-list says so: faster, and otherwise as if each had its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from bgapp import handle, system
from bgapp.handle import JobHandle
from tests.site import ALLOWED, Site
from tests.waiting import wait_for

pytestmark = pytest.mark.process

REUSED = "tests.process.reusedjobs.Reused"
METHODS = "pid other say change fail leave fill note close_all".split()
ENTRY = {"methods": {**{name: {"reuse": 3} for name in METHODS}, "burn": {"reuse": 10, "cpu": 1}}}


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A living installation with one runner."""
    made = make_site(allowed_jobs=json.dumps({**ALLOWED, REUSED: ENTRY}), max_running=1, retry_attempts=0)
    made.start_app()
    return made


def ask(site: Site, method: str, *params: Any, **options: Any) -> JobHandle:
    return site.enqueue(method, *params, job_class=REUSED, **options)


def result(site: Site, method: str, *params: Any) -> Any:
    """Run a job to its end; return what it returned."""
    found = site.wait(ask(site, method, *params))
    assert found["status"] == "completed", found
    return found["result"]


def test_a_process_runs_as_many_jobs_as_its_entry_says(site: Site) -> None:
    pids = [result(site, "pid") for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_each_attempt_has_its_own_record_and_the_process_is_named_in_it(site: Site) -> None:
    first, second = ask(site, "say", "one"), ask(site, "say", "two")
    pids = [site.wait(job)["result"] for job in (first, second)]
    assert pids[0] == pids[1]
    assert [site.output(job).strip() for job in (first, second)] == ["one", "two"]
    for job in (first, second):
        (attempt,) = site.job(job)["attempts"]
        assert attempt["pid"] == pids[0]
        assert (attempt["exit_code"], attempt["signal"]) == (None, None)


def test_an_order_of_the_largest_size_reaches_a_kept_process_whole(site: Site) -> None:
    text = "ä\n" * 10_000
    first, second = ask(site, "say", "x"), ask(site, "say", text)
    assert site.wait(first)["result"] == site.wait(second)["result"]
    assert site.output(second) == text + "\n"


def test_another_method_gets_another_process(site: Site) -> None:
    first, other, again = result(site, "pid"), result(site, "other"), result(site, "pid")
    assert len({first, other, again}) == 3
    wait_for(lambda: system.identify(first) is None, "the end of the process that nobody needs")


def test_an_attempt_finds_its_surroundings_as_new(site: Site) -> None:
    first, second = result(site, "change"), result(site, "change")
    assert first.pop("pid") == second.pop("pid")
    assert first.pop("job") + 1 == second.pop("job")
    assert first == second
    assert second["files"] == []
    assert not second["marked"]


def test_a_failed_job_does_not_cost_its_process(site: Site) -> None:
    failed = site.wait(ask(site, "fail"))
    assert failed["reason"] == "error"
    assert failed["error"] == f"ValueError: {failed['attempts'][0]['pid']}"
    again = site.wait(ask(site, "fail"))
    assert again["attempts"][0]["pid"] == failed["attempts"][0]["pid"]


@pytest.mark.parametrize("what", ["thread", "program"])
def test_a_process_with_something_left_over_is_replaced(site: Site, what: str) -> None:
    first, second = result(site, "leave", what), result(site, "leave", "nothing")
    assert first != second
    assert system.identify(first) is None
    assert second == result(site, "leave", "nothing")


def test_a_job_that_closes_what_its_process_needs_costs_that_process_and_no_job(site: Site) -> None:
    first, second = (site.wait(ask(site, "close_all")) for _ in range(2))
    assert first["attempts"][0]["pid"] != second["attempts"][0]["pid"]
    assert result(site, "pid")


def test_a_cancelled_job_ends_with_its_process_and_the_next_gets_a_new_one(site: Site) -> None:
    path = str(site.witness)
    first = result(site, "note", path, 0)
    job = ask(site, "note", path, 60)
    site.wait_entered(job)
    handle.cancel(site.runtime, job.id, "tester")
    assert site.wait(job)["attempts"][0]["signal"] == "SIGTERM"
    assert site.job(job)["attempts"][0]["pid"] == first
    assert result(site, "note", path, 0) != first


def test_a_time_limit_counts_for_each_job(site: Site) -> None:
    path = str(site.witness)
    assert {site.wait(ask(site, "note", path, 0.4, timeout=1))["status"] for _ in range(3)} == {"completed"}
    assert site.wait(ask(site, "note", path, 60, timeout=0.3))["reason"] == "timeout"


@pytest.mark.parametrize("retries", [0, 1])
def test_a_process_that_is_killed_loses_one_job_at_most(site: Site, retries: int) -> None:
    path = str(site.witness)
    pid = result(site, "note", path, 0)
    job = ask(site, "note", path, 0.5, retries=retries)
    site.wait_entered(job)
    os.kill(pid, signal.SIGKILL)
    found = site.wait(job)
    assert found["attempts"][0]["reason"] == "lost"
    assert found["status"] == ("completed" if retries else "failed")
    assert len(site.starts(job.id)) == 1 + retries


def test_a_process_that_is_killed_while_it_waits_costs_nothing(site: Site) -> None:
    pid = result(site, "pid")
    os.kill(pid, signal.SIGKILL)
    found = site.wait(ask(site, "pid"))
    assert found["status"] == "completed"
    assert found["result"] != pid


def test_a_runner_that_is_killed_takes_the_kept_process_with_it(site: Site) -> None:
    pid = result(site, "pid")
    (runner,) = site.runners()
    os.kill(runner.pid, signal.SIGKILL)
    wait_for(lambda: system.identify(pid) is None, "the end of the kept process")
    assert result(site, "pid") != pid


def test_use_is_told_of_each_job_and_the_cpu_limit_counts_for_each(site: Site) -> None:
    jobs = [ask(site, "burn", 0.6) for _ in range(3)]
    found = [site.wait(job)["attempts"][0] for job in jobs]
    assert len({attempt["pid"] for attempt in found}) == 1
    for attempt in found:
        assert 0.6 <= attempt["cpu_seconds"] < 1.0
    over = site.wait(ask(site, "burn", 30))
    assert (over["reason"], over["attempts"][0]["pid"]) == ("limit", found[0]["pid"])


def test_the_peak_of_memory_is_the_attempts_own(site: Site) -> None:
    large, small = (site.wait(ask(site, "fill", megabytes))["attempts"][0] for megabytes in (200, 1))
    assert large["pid"] == small["pid"]
    assert large["peak_memory_bytes"] > small["peak_memory_bytes"] + (100 << 20)
