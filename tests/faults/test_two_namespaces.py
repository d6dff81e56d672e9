"""Two PID namespaces, as two containers, on one instance folder with SQLite: they share jobs, and see no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from bgapp import handle
from bgapp import node as nodes
from bgapp.node import Node
from bgapp.statements import JOBS
from tests.site import Site
from tests.waiting import wait_for


def can_unshare() -> bool:
    """Return whether this process may make PID namespaces."""
    try:
        return (
            subprocess.run(["unshare", "-pf", "--mount-proc", "true"], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux" or not can_unshare(), reason="needs root, to make PID namespaces"),
]

UNSHARE = ["unshare", "-pf", "--kill-child", "--mount-proc", sys.executable, "-m", "tests.clockprocess"]
ENTER = f"import os; os.execvp('unshare', {UNSHARE!r})"


class Namespace:
    """An application process in a PID namespace of its own, and what it starts there."""

    def __init__(self, site: Site) -> None:
        before = {node.id for node in nodes.each(site.instance)}
        self._site = site
        self._unshare = site.run_python("-c", ENTER)
        self.node: Node = wait_for(lambda: self._led(before), "a node that is led")  # type: ignore[assignment] # never None
        self._number = (self.node.identity() or {})["pid_namespace"]

    def _led(self, before: set[str]) -> Node | None:
        return next(
            (node for node in nodes.each(self._site.instance) if node.id not in before and node.has_leader()), None
        )

    def processes(self) -> list[int]:
        """Return its processes, by the pids that they have outside."""
        return [pid for pid in self._site.processes() if self._is_of(pid)]

    def _is_of(self, pid: int) -> bool:
        try:
            return str(os.stat(f"/proc/{pid}/ns/pid").st_ino) == self._number
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Signal all of them."""
        for pid in self.processes():
            os.kill(pid, number)

    def kill(self) -> None:
        """End it at once: its first process takes all others with it."""
        self._unshare.kill()
        wait_for(lambda: not self.processes(), "the namespace's end")


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site(max_running=2)


@pytest.mark.long
def test_f14_two_namespaces_claim_each_job_once(site: Site) -> None:
    one, two = Namespace(site), Namespace(site)
    assert one.node.id != two.node.id
    jobs = [site.note(0.05) for _ in range(20)]
    found = [site.wait(job) for job in jobs]
    assert {job["attempt"] for job in found} == {1}
    assert len([line for line in site.witnessed() if line[0] == "S"]) == 20
    assert {job["node"] for job in found} <= {one.node.id, two.node.id}


@pytest.mark.long
def test_f14_a_cancel_reaches_a_job_in_another_namespace(site: Site) -> None:
    Namespace(site)
    job = site.note(60.0)
    site.wait_entered(job)
    Namespace(site)
    handle.cancel(site.runtime, job.id, "tester")
    assert site.wait(job)["status"] == "cancelled"


def test_f14_jobs_of_a_namespace_that_ended_are_rescued_by_the_other(site: Site) -> None:
    one = Namespace(site)
    job = site.note(60.0, retries=1)
    site.wait_entered(job)
    two = Namespace(site)
    one.kill()
    site.wait_entered(job, times=2)
    found = site.job(job)
    assert (found["attempt"], found["node"], found["attempts"][0]["reason"]) == (2, two.node.id, "lost")
    wait_for(lambda: not one.node.folder.exists(), "the dead node's files to be removed")


@pytest.mark.long
def test_f13_a_namespace_that_is_stopped_is_never_robbed(site: Site) -> None:
    one = Namespace(site)
    job = site.note(5.0, retries=1)
    site.wait_entered(job)
    one.signal(signal.SIGSTOP)
    two = Namespace(site)
    with site.runtime.database.write() as connection:
        long_ago = site.runtime.database.clock(connection) - timedelta(hours=1)
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(lease_until=long_ago))
    others = [site.note() for _ in range(3)]
    assert {site.wait(other)["node"] for other in others} == {two.node.id}
    # Each of them took a tick of the other's leader, and each tick looks for what can be rescued.
    assert site.job(job)["status"] == "running"
    one.signal(signal.SIGCONT)
    found = site.wait(job)
    assert (found["status"], found["attempt"], len(site.starts(job.id))) == ("completed", 1, 1)
