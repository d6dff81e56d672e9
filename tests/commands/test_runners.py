from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from bgapp import system
from bgapp.handle import JobHandle
from bgapp.node import Node
from tests import factories
from tests.commands.conftest import Invoke, Start
from tests.site import ALLOWED, Site
from tests.waiting import wait_for


def listed(invoke: Invoke) -> list[Any]:
    result = invoke("runners", "list", "--json")
    assert result.exit_code == 0, result.output
    found: list[Any] = json.loads(result.stdout)
    return found


def first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline().decode()
    assert line, f"it ended without a word: {process.stderr.read().decode()}"
    return line


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """An installation in which the job at the gate may run too."""
    return make_site(allowed_jobs=json.dumps({**ALLOWED, "tests.commands.gate.Gate": ["stand"]}))


def at_the_gate(site: Site) -> JobHandle:
    """Return a job that runs until there is a file `open` in the instance folder."""
    job = site.enqueue("stand", str(site.instance), job_class="Gate")
    wait_for((site.instance / "waiting").exists, "the job to stand at the gate")
    return job


def led_by(site: Site, process: subprocess.Popen[bytes]) -> None:
    assert first_line(process).startswith("This process leads node ")
    assert site.node is not None
    assert site.node.has_leader()


def test_nothing_runs_and_nothing_is_made(site: Site, invoke: Invoke) -> None:
    result = invoke("runners", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("No runners, and no application process runs here (start one: flask")
    assert listed(invoke) == []
    result = invoke("runners", "stop")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "No runners.\n", "")
    assert not (site.instance / "nodes").exists()


def test_a_dead_nodes_files_are_not_listed(site: Site, invoke: Invoke) -> None:
    node = Node.join(site.instance)
    assert [one["node"] for one in listed(invoke)] == [node.id]
    node._membership.release()
    assert listed(invoke) == []


@pytest.mark.process
def test_the_list_names_leader_host_runners_and_their_jobs(site: Site, invoke: Invoke, start: Start) -> None:
    led_by(site, start("scheduler"))
    site.wait_entered(site.note(60.0))
    [node] = listed(invoke)
    assert site.node is not None
    assert (node["node"], node["leader"]) == (site.node.id, True)
    host = site.host()
    assert host is not None
    assert node["host"]["pid"] == host.pid
    [busy] = [runner for runner in node["runners"] if runner["job"]]
    assert busy["pid"] == site.job(1)["runner_pid"]
    assert busy["job"] == {
        "id": 1,
        "class": "tests.jobcode.Work",
        "method": "note",
        "attempt": 1,
        "started_at": site.job(1)["started_at"],
    }
    text = invoke("runners", "list").stdout
    assert f"node {node['node']}: an application process leads, runner host {host.pid}\n" in text
    assert "  1 tests.jobcode.Work.note, attempt 1\n" in text


@pytest.mark.process
def test_stop_lets_jobs_finish_and_waits_for_that(site: Site, start: Start) -> None:
    clock = start("scheduler")
    led_by(site, clock)
    job = at_the_gate(site)
    site.kill_app(clock)
    host, runners = site.host(), site.runners()
    process = start("runners", "stop")
    assert process.stderr is not None
    assert b"1 job running. Running jobs finish first; --now ends them." in process.stderr.readline()
    wait_for(lambda: len(site.runners()) == 1, "the idle runners to leave")
    assert process.poll() is None
    (site.instance / "open").touch()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert output.endswith(b" left.\n")
    assert site.job(job)["result"] == "through"
    assert not any(system.is_alive(runner) for runner in runners)
    assert host is not None
    assert not system.is_alive(host)


@pytest.mark.process
def test_stop_now_ends_jobs_and_a_leader_starts_new_runners(site: Site, invoke: Invoke, start: Start) -> None:
    led_by(site, start("scheduler"))
    job = site.note(60.0, retries=0)
    site.wait_entered(job)
    runners = site.runners()
    result = invoke("runners", "stop", "--now")
    assert result.exit_code == 0, result.output
    assert "Running jobs are ended." in result.stderr
    assert "An application process still leads: it starts new runners." in result.stderr
    assert not any(system.is_alive(runner) for runner in runners)
    ended = site.job(job)
    assert (ended["status"], ended["reason"]) == ("failed", "lost")
    assert site.wait(site.enqueue("add", 1, 2))["status"] == "completed", "later runners were not asked to stop"


def test_runners_of_another_container_are_asked_and_not_waited_for(site: Site, invoke: Invoke) -> None:
    node = Node.join(site.instance)
    (node.folder / "node.json").write_text('{"boot_id": "another", "pid_namespace": "1"}')
    slot = node.take_slot(1)
    assert slot is not None
    node.write_runner(slot.number, factories.this_process())
    result = invoke("runners", "stop")
    assert (result.exit_code, result.stdout) == (0, "No runners.\n")
    assert f"node {node.id} are in another container: asked" in result.stderr
    assert (node.folder / "stop").read_text() == "after"
    slot.release()


@pytest.mark.process
def test_ctrl_c_ends_the_waiting_and_the_runners_leave_all_the_same(site: Site, start: Start) -> None:
    clock = start("scheduler")
    led_by(site, clock)
    job = at_the_gate(site)
    site.kill_app(clock)
    process = start("runners", "stop")
    assert process.stderr is not None
    assert b"asked to leave" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, b""), errors
    assert errors == b"The runners still leave when their jobs have ended.\n"
    (site.instance / "open").touch()
    wait_for(lambda: site.runners() == [], "the runners to leave")
    assert site.job(job)["status"] == "completed"


# scheduler -------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_second_scheduler_stands_by_until_it_can_lead(site: Site, start: Start) -> None:
    first = start("scheduler")
    led_by(site, first)
    second = start("scheduler")
    assert first_line(second).startswith("Another process leads node ")
    site.kill_app(first)
    assert first_line(second).startswith("This process leads node ")
    assert site.wait(site.enqueue("add", 1, 2))["result"] == 3


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_scheduler_that_ends_gives_up_the_lead_and_its_jobs_run_on(
    site: Site, start: Start, number: signal.Signals, code: int
) -> None:
    process = start("scheduler")
    led_by(site, process)
    job = at_the_gate(site)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code, errors
    assert b"Traceback" not in errors
    assert site.node is not None
    assert not site.node.has_leader()
    (site.instance / "open").touch()
    ended = site.wait(job)
    assert (ended["status"], ended["attempt"]) == ("completed", 1)
