"""Two nodes on one PostgreSQL, each with an instance folder of its own: who may run a job, whatever befalls a node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from glob import glob

import pytest

from bgapp import handle, system
from bgapp.handle import JobHandle
from bgapp.system import ProcessIdentity
from tests.conftest import ROOT
from tests.faults.pgproxy import Proxy
from tests.site import Site
from tests.waiting import wait_for

pytestmark = [pytest.mark.postgres, pytest.mark.process]

LEASE = 9  # seconds: short, and long enough for a busy machine to renew it
FAKETIME = next(iter(glob("/usr/lib/*/faketime/libfaketime.so.1") + glob("/usr/lib/faketime/libfaketime.so.1")), None)
MakeNode = Callable[..., Site]


@pytest.fixture
def make_node(make_site: Callable[..., Site], postgres_database: str) -> MakeNode:
    """A factory of installations that share a database and a witness."""
    made: list[Site] = []

    def make(url: str = postgres_database, **settings: object) -> Site:
        node = make_site(database_url=url, lease=LEASE, **settings)
        made.append(node)
        node.witness = made[0].witness
        return node

    return make


def run_on(node: Site, seconds: float, **options: object) -> JobHandle:
    """Have a job run on a node that is the only one yet; return once its method was entered."""
    node.start_app()
    job = node.note(seconds, **options)
    node.wait_entered(job)
    return job


def child_of(node: Site, job: JobHandle) -> ProcessIdentity:
    """Return the process in which a job's newest attempt runs."""
    found = system.identify(int(node.starts(job.id)[-1][4]))
    assert found is not None
    return found


def was_alone(node: Site, job: JobHandle, dead: ProcessIdentity) -> bool:
    """Return whether the first attempt's process had ended when the second entered the method.

    To be asked at the second's start: a process that lives then was beside it.
    """
    return len(node.starts(job.id)) == 2 and not system.is_alive(dead)


def kill_all(node: Site, number: int) -> list[int]:
    """Signal every process of a node; return them."""
    found = node.processes()
    for pid in found:
        os.kill(pid, number)
    return found


@contextmanager
def stopped(node: Site) -> Iterator[None]:
    """Stop every process of a node, as a machine that freezes, and wake them again."""
    pids = kill_all(node, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# Both live -----------------------------------------------------------------------------------------------------


def test_f33_a_cancel_reaches_a_job_that_runs_on_another_node(make_node: MakeNode) -> None:
    here, there = make_node(), make_node()
    job = run_on(there, 60.0)
    here.start_app()
    handle.cancel(here.runtime, job.id, "tester")
    assert here.wait(job)["status"] == "cancelled"


@pytest.mark.long
def test_f22_of_two_nodes_each_job_is_run_once_by_one_of_them(make_node: MakeNode) -> None:
    one, two = make_node(max_running=2), make_node(max_running=2)
    one.start_app()
    two.start_app()
    jobs = [one.note(0.05) for _ in range(30)]
    found = [one.wait(job) for job in jobs]
    assert {job["attempt"] for job in found} == {1}
    assert len([line for line in one.witnessed() if line[0] == "S"]) == 30
    assert {job["node"] for job in found} <= {one.node and one.node.id, two.node and two.node.id}


@pytest.mark.long
def test_f33_runners_and_doctor_show_the_nodes_of_both(make_node: MakeNode) -> None:
    here, there = make_node(), make_node()
    job = run_on(there, 60.0)
    here.start_app()
    assert here.node is not None
    assert there.node is not None
    wait_for(here.host, "the host here")
    listed = here.app.test_cli_runner().invoke(args=["runners", "list", "--json"])
    nodes = {one["node"]: one for one in json.loads(listed.stdout)}
    assert nodes.keys() == {here.node.id, there.node.id}
    assert [runner["job"]["id"] for runner in nodes[there.node.id]["runners"]] == [job.id]
    told = here.app.test_cli_runner().invoke(args=["doctor"]).stdout
    assert f"node {there.node.id} on" in told
    assert f"node {there.node.id} on" in here.app.test_cli_runner().invoke(args=["runners", "list"]).stdout


# One is lost ---------------------------------------------------------------------------------------------------


def test_f33_jobs_of_a_lost_node_run_again_on_another(make_node: MakeNode) -> None:
    here, there = make_node(), make_node()
    job = run_on(there, 600.0, retries=1)
    child = child_of(there, job)
    here.start_app()
    kill_all(there, signal.SIGKILL)
    here.wait_entered(job, times=2)
    assert was_alone(here, job, child)
    found = here.wait(job, "running")
    assert (found["attempt"], found["attempts"][0]["reason"]) == (2, "lost")
    assert found["node"] == (here.node and here.node.id)


@pytest.mark.long
def test_f13_a_node_that_slept_past_its_lease_is_refused_and_ends_its_child(make_node: MakeNode) -> None:
    here, there = make_node(), make_node()
    job = run_on(there, 600.0, retries=1)
    child = child_of(there, job)
    here.start_app()
    with stopped(there):
        here.wait_entered(job, times=2)
    wait_for(lambda: not system.is_alive(child), "the end of the child that slept")
    found = here.wait(job, "running")
    assert (found["attempt"], found["node"]) == (2, here.node and here.node.id)
    assert there.ends(job.id) == []
    # The woken node is of use again.
    there_again = [there.note() for _ in range(3)]
    assert {there.wait(one)["status"] for one in there_again} == {"completed"}


@pytest.mark.long
def test_f34_a_node_that_is_cut_off_has_ended_its_job_before_another_runs_it(
    make_node: MakeNode, proxy: Proxy, postgres_database: str
) -> None:
    here, there = make_node(), make_node(proxy.url(postgres_database))
    job = run_on(there, 600.0, retries=1)
    child = child_of(there, job)
    here.start_app()
    proxy.drop()
    here.wait_entered(job, times=2)
    assert was_alone(here, job, child)
    proxy.heal()
    assert there.wait(there.note())["status"] == "completed"
    assert len(here.starts(job.id)) == 2


@pytest.mark.long
def test_f34_a_short_cut_is_ridden_out(make_node: MakeNode, proxy: Proxy, postgres_database: str) -> None:
    here, there = make_node(), make_node(proxy.url(postgres_database))
    job = run_on(there, 4.0, retries=1)
    here.start_app()
    proxy.refuse()
    wait_for(lambda: "tick failed" in (there.instance / "processes.log").read_text(), "the cut to be noticed")
    proxy.heal()
    found = here.wait(job)
    assert (found["status"], found["attempt"]) == ("completed", 1)


# Clocks that differ --------------------------------------------------------------------------------------------


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime (Debian: apt install faketime)")
@pytest.mark.long
def test_f35_clocks_that_differ_by_minutes_end_no_lease_and_start_nothing_early(make_node: MakeNode) -> None:
    here, fast, slow = (make_node(max_running=1) for _ in range(3))
    jobs = []
    for node, shift in ((fast, "+300s"), (slow, "-300s")):
        node.environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        jobs.append(run_on(node, 1.5 * LEASE, retries=1))
    here.start_app()
    delayed = [here.wait(ask_later(node)) for node in (fast, slow)]
    for job in delayed:
        assert job["attempt"] == 1
        assert 3.0 <= seconds_between(job["created_at"], job["started_at"]) < 100.0
    found = [here.wait(job) for job in jobs]
    assert [(job["status"], job["attempt"]) for job in found] == [("completed", 1)] * 2
    assert [len(here.starts(job.id)) for job in jobs] == [1, 1]


def ask_later(node: Site) -> int:
    """Ask for a job in three seconds, from a process that has the node's clock; return its id."""
    words = ["run-job", "Work", "echo", "1", "--delay", "3", "--json"]
    environment = {**os.environ, **node.environment}
    said = subprocess.check_output([sys.executable, "-m", "flask", "--app", "wsgi", *words], cwd=ROOT, env=environment)
    return int(json.loads(said)["id"])


def seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()
