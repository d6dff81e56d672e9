"""Served as it would be in production: gunicorn with several workers, waitress, a systemd unit, a container's parts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bgapp.system import posixtree
from tests.conftest import ROOT
from tests.process.conftest import make_site as make_site
from tests.process.conftest import site as site
from tests.site import Site, open_files
from tests.waiting import wait_for

pytest.importorskip("gunicorn", reason="gunicorn is for Unix")


def start_gunicorn(site: Site) -> subprocess.Popen[bytes]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = str(ROOT / "deploy" / "gunicorn.conf.py")
    return site.run_python("-m", "gunicorn", "--config", config, "--bind", f"127.0.0.1:{port}", "wsgi:app")


def leader(site: Site, master: subprocess.Popen[bytes]) -> int:
    """Return the worker that holds the leader's lock."""
    assert site.node is not None
    lock = str(site.node.folder / "leader.lock")

    def found() -> int:
        for pid in posixtree.children(master.pid):
            if lock in open_files(pid) and site.node is not None and site.node.has_leader():
                return pid
        return 0

    return wait_for(found, "one worker that leads")


def test_of_several_gunicorn_workers_one_has_the_clock_and_another_takes_over(site: Site) -> None:
    master = start_gunicorn(site)
    wait_for(lambda: site.node is not None and site.node.has_leader(), "a worker to lead without a request")
    wait_for(lambda: len(posixtree.children(master.pid)) == 3, "three workers")
    first = leader(site, master)
    job = site.note()
    assert site.wait(job)["status"] == "completed"
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: first not in posixtree.children(master.pid), "the old leader to be gone")
    assert leader(site, master) != first
    assert site.wait(site.note())["status"] == "completed"
    assert len([line for line in site.witnessed() if line[0] == "S"]) == 2


def test_a_deploy_stops_gunicorn_at_once_and_jobs_run_on(site: Site) -> None:
    master = start_gunicorn(site)
    job = site.note(8.0)  # longer than a busy machine takes to end a server
    site.wait_entered(job)
    master.send_signal(signal.SIGTERM)
    master.wait()
    assert site.job(job)["status"] == "running"
    start_gunicorn(site)
    found = site.wait(job)
    assert (found["status"], found["attempt"]) == ("completed", 1)


def test_the_standalone_server_serves_on_the_next_free_port(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ("-m", "bgapp.standalone", "--no-sample", "--port", str(port))
        process = site.run_python(*words, stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        assert f"Port {port} is taken" in first
        assert "serves at http://127.0.0.1:" in process.stdout.readline().decode()
        assert "set-up code" in process.stdout.readline().decode()
        process.stdout.close()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "bgapp.service").read_text()
    assert "KillMode=process" in unit
    command = unit.replace("/srv/shop/.venv/bin/gunicorn", sys.executable)
    (tmp_path / "shop.service").write_text(command)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "shop.service")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_containers_parts_are_what_this_project_has() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    assert (ROOT / "requirements.lock").exists()
    options = subprocess.run(
        [sys.executable, "-m", "bgapp.standalone", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert "--no-sample" in text
    assert "--no-sample" in options
    assert "/health/ready" in text
