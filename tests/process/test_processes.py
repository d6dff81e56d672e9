"""The processes themselves: who holds what, who wakes whom, who leaves when."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bgapp import stop, system
from bgapp.system import posixtree
from tests.site import Site, open_files
from tests.waiting import wait_for


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    return [pid, *(one for child in posixtree.children(pid) for one in tree(child))]


def holders(site: Site) -> list[int]:
    """Return the runner-side processes that have the database open."""
    database = str(site.runtime.settings.database_file)
    found = []
    host = site.host()
    for pid in tree(host.pid) if host else []:
        if any(name.startswith(database) for name in open_files(pid)):
            found.append(pid)
    return found


def test_only_the_runner_has_a_database_connection_and_the_host_one_thread(site: Site) -> None:
    site.start_app()
    job = site.note(30.0)
    site.wait_entered(job)
    host = site.host()
    assert host is not None
    processes = tree(host.pid)
    assert len(processes) >= 4, "host, runner, forker, child"
    assert all(len(os.listdir(f"/proc/{pid}/task")) == 1 for pid in processes)
    assert len(os.listdir(f"/proc/{host.pid}/fd")) < 16
    runners = {process.pid for process in site.runners()}
    assert site.job(job)["runner_pid"] in runners
    assert set(holders(site)) <= runners


def test_no_lock_or_channel_reaches_the_child(site: Site) -> None:
    site.start_app()
    job = site.note(30.0)
    site.wait_entered(job)
    child = site.starts(job.id)[0][4]
    assert not [name for name in open_files(int(child)) if str(site.node.folder) in name]  # type: ignore[union-attr] # it leads


def test_the_number_of_running_jobs_never_passes_the_limit(make_site: Callable[..., Site]) -> None:
    site = make_site(max_running=2)
    site.start_app()
    jobs = [site.note(0.15) for _ in range(8)]
    for job in jobs:
        site.wait(job)
    events = sorted(site.witnessed(), key=lambda line: int(line[3]))
    running = most = 0
    for mark, *_ in events:
        running += 1 if mark == "S" else -1
        most = max(most, running)
    assert most == 2
    assert len(events) == 16


def test_strict_priority_on_a_full_node(make_site: Callable[..., Site]) -> None:
    site = make_site(max_running=1)
    jobs = [site.note(priority=priority) for priority in (0, -10, 20, "high", 0)]
    site.start_app()
    for job in jobs:
        site.wait(job)
    order = [int(line[1]) for line in site.witnessed() if line[0] == "S"]
    assert order == [jobs[2].id, jobs[3].id, jobs[0].id, jobs[4].id, jobs[1].id]


def test_idle_runners_and_the_host_leave_when_no_app_is_there(make_site: Callable[..., Site]) -> None:
    site = make_site(runner_idle=1)
    app = site.start_app()
    site.wait(site.enqueue("add", 1, 1))
    site.kill_app(app)
    wait_for(lambda: site.processes() == [], "the idle runner and its host to leave")


def test_one_runner_stays_warm_while_an_app_lives(make_site: Callable[..., Site]) -> None:
    site = make_site(runner_idle=1)
    site.start_app()
    jobs = [site.note(0.3) for _ in range(3)]
    for job in jobs:
        site.wait(job)
    wait_for(lambda: len(site.runners()) == 1, "the other runners to leave")
    warm = site.runners()[0]
    site.wait(site.note(delay=1.5))
    assert site.runners() == [warm]


def test_new_code_replaces_host_and_runners(make_site: Callable[..., Site]) -> None:
    site = make_site(version="one")
    app = site.start_app()
    site.wait(site.enqueue("add", 1, 1))
    old_host, old_runners = site.host(), site.runners()
    running = site.note(1.0)
    site.wait_entered(running)
    site.kill_app(app)
    site.environment["BGAPP_VERSION"] = "two"
    site.start_app()
    wait_for(lambda: site.host() not in (None, old_host), "a host of the new code")
    assert site.wait(running)["attempt"] == 1, "a running job is not disturbed by a deploy"
    site.wait(site.enqueue("add", 1, 1))
    wait_for(lambda: not any(system.is_alive(one) for one in old_runners), "the old runners to leave")


def test_a_lead_is_taken_over_when_the_leader_is_killed(site: Site) -> None:
    first, _second = site.start_app(), site.start_app(wait=False)
    site.kill_app(first)
    wait_for(lambda: site.node and site.node.has_leader(), "the other app process to lead")
    assert site.wait(site.enqueue("add", 1, 1))["status"] == "completed"


def test_runners_stop_when_asked_and_start_again_for_work(site: Site) -> None:
    app = site.start_app()
    site.wait(site.enqueue("add", 1, 1))
    site.kill_app(app)
    running = site.note(0.5)
    site.wait_entered(running)
    before = site.runners()
    assert site.node is not None
    stop.ask_to_stop(site.node, now=False)
    assert site.wait(running)["status"] == "completed"
    wait_for(lambda: not any(system.is_alive(one) for one in before), "the runners to leave after their jobs")


def test_a_runner_told_to_stop_now_ends_its_attempt(site: Site) -> None:
    site.start_app()
    job = site.note(60.0, retries=1)
    site.wait_entered(job)
    assert site.node is not None
    stop.ask_to_stop(site.node, now=True)
    site.wait_entered(job, times=2)
    assert "runner was stopped" in site.job(job)["attempts"][0]["error"]


def test_a_runner_leaves_when_its_database_file_is_replaced(site: Site) -> None:
    app = site.start_app()
    site.wait(site.enqueue("add", 1, 1))
    before = site.runners()
    site.kill_app(app)
    file = site.runtime.settings.database_file
    assert file is not None
    file.rename(file.with_suffix(".gone"))
    for process in before:
        os.kill(process.pid, signal.SIGCONT)
    from bgapp import wake

    wake.wake_for_work(site.instance)
    wait_for(lambda: not any(system.is_alive(one) for one in before), "the runners to leave")


def test_a_job_runs_inside_the_applications_context_with_a_working_session(site: Site) -> None:
    site.start_app()
    assert site.wait(site.enqueue("uses_database"))["result"] == 1


def test_a_job_may_enqueue_another(site: Site) -> None:
    site.start_app()
    found = site.wait(site.enqueue("spawn", str(site.witness)))
    assert site.wait(found["result"])["status"] == "completed"


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [("later", (3,), 3), ("static", (4,), 4), ("of_class", (), "Work"), ("day_after", ("2026-02-28",), "2026-03-01")],
)
def test_async_static_class_methods_and_converted_parameters(
    site: Site, method: str, params: tuple[object, ...], result: object
) -> None:
    site.start_app()
    assert site.wait(site.enqueue(method, *params))["result"] == result


def test_a_class_that_cannot_be_made_fails_with_its_own_error(site: Site) -> None:
    site.start_app()
    found = site.wait(site.enqueue("run", job_class="Broken", retries=0))
    assert (found["reason"], found["error"]) == ("error", "RuntimeError: out of order")


def test_a_hundred_threads_enqueue_and_nothing_is_lost(site: Site) -> None:
    site.start_app()
    ids: list[int] = []
    threads = [threading.Thread(target=lambda: ids.append(site.enqueue("add", 1, 1).id)) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 100
    for job_id in ids:
        assert site.wait(job_id)["status"] == "completed"


def test_files_are_private(site: Site) -> None:
    site.start_app()
    site.wait(site.enqueue("talk", "x"))
    open_ones = [
        str(path)
        for path in site.instance.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and path.name != "processes.log"
    ]
    assert open_ones == []


def test_zombies_do_not_gather(site: Site) -> None:
    app = site.start_app()
    for _ in range(20):
        site.enqueue("add", 1, 1)
    site.wait(site.enqueue("add", 1, 1, priority=-100))
    host = site.host()
    assert host is not None
    states = []
    for pid in [*tree(host.pid), *tree(app.pid)]:
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            states.append(stat.read_text().rsplit(")", 1)[1].split()[0])
    assert states.count("Z") <= 1  # a child between its end and its forker's next breath


def test_as_many_runners_as_are_allowed_come_for_jobs_that_last(make_site: Callable[..., Site]) -> None:
    site = make_site(max_running=20)
    site.start_app()
    jobs = [site.note(60.0) for _ in range(20)]
    for job in jobs:
        site.wait_entered(job)
    assert len(site.runners()) == 20
