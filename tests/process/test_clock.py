"""Where the clock starts, and where it must not."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests.site import Site
from tests.waiting import wait_for


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def leads(site: Site) -> bool:
    return site.node is not None and site.node.has_leader()


@pytest.mark.parametrize("words", [(), ("--debug",)], ids=["plain", "with the reloader"])
def test_flask_run_has_one_clock(site: Site, words: tuple[str, ...]) -> None:
    site.run_python("-m", "flask", "--app", "wsgi", "run", "--port", str(free_port()), *words)
    wait_for(lambda: leads(site), "flask run to lead")
    assert site.wait(site.note())["status"] == "completed"
    assert len([line for line in site.witnessed() if line[0] == "S"]) == 1


def test_a_server_gets_its_clock_with_the_first_request(site: Site) -> None:
    port = free_port()
    site.run_python("-m", "waitress", "--listen", f"127.0.0.1:{port}", "wsgi:app")
    job = site.note()

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listening, "the server to listen")
    assert not leads(site), "no clock at import"
    wait_for(lambda: answers(port), "the server to answer")
    assert site.wait(job)["status"] == "completed"


def test_other_commands_start_no_clock_and_no_host(site: Site) -> None:
    done = site.run_python("-m", "flask", "--app", "wsgi", "routes", stdout=subprocess.DEVNULL)
    assert done.wait() == 0
    assert site.node is None or not site.node.has_host()


def test_several_processes_that_start_at_once_on_nothing_all_come_up(site_without_tables: Site) -> None:
    site = site_without_tables
    processes = [site.start_app(wait=False) for _ in range(6)]
    wait_for(lambda: leads(site), "one of them to lead")
    jobs = [site.note() for _ in range(10)]
    for job in jobs:
        assert site.wait(job)["status"] == "completed"
    assert all(process.poll() is None for process in processes), site.diagnosis()
    assert len([line for line in site.witnessed() if line[0] == "S"]) == 10


@pytest.fixture
def site_without_tables(make_site: Callable[..., Site]) -> Site:
    site = make_site()
    site.runtime.database.dispose()
    file = site.runtime.settings.database_file
    assert file is not None
    for path in file.parent.glob("bgapp.sqlite*"):
        path.unlink()
    return site
