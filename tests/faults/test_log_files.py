"""The log files under many writers, renames, and folders that go away, while real jobs run."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bgapp.eventlog import ERRORS_NAME, MAIN_NAME
from tests.conftest import ROOT
from tests.faults.strangers import Server
from tests.faults.test_sqlite_trouble import can
from tests.site import Site
from tests.waiting import wait_for

PROCESSES, LINES = 20, 200


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be renamed on Windows")
def test_q13_f53_f54_twenty_processes_lose_tear_and_double_no_line_while_files_are_renamed(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    words = [sys.executable, "-m", "tests.faults.logwriter", str(folder)]
    writers = [subprocess.Popen([*words, str(name), str(LINES)], cwd=ROOT) for name in range(PROCESSES)]
    turn = 0
    while any(process.poll() is None for process in writers):
        turn += 1
        for name in (MAIN_NAME, ERRORS_NAME):
            with contextlib.suppress(OSError):
                (folder / name).rename(folder / f"{name}.{turn}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            writers[0].wait(0.2)
    assert [process.returncode for process in writers] == [0] * PROCESSES
    wanted = Counter((name, number) for name in range(PROCESSES) for number in range(LINES))
    for name in (MAIN_NAME, ERRORS_NAME):
        lines = [json.loads(line) for file in folder.glob(f"{name}*") for line in file.read_text().splitlines()]
        found = Counter((line["attempt"], line["job"]) for line in lines)
        assert found == wanted, name


def test_f52_a_log_folder_that_is_removed_is_made_again_and_no_job_fails(site: Site) -> None:
    site.start_app()
    assert site.wait(site.enqueue("echo", 1))["status"] == "completed"
    logs = site.runtime.settings.log_dir
    logs.rename(logs.with_name("rotated"))
    assert site.wait(site.enqueue("echo", 2))["status"] == "completed"
    wait_for(lambda: "Job completed" in site.log(), "the log of the new folder")
    assert stat.S_IMODE((logs / MAIN_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_f52_what_stands_in_the_place_of_the_log_costs_lines_and_no_job(site: Site, tmp_path: Path, kind: str) -> None:
    logs = site.runtime.settings.log_dir
    logs.mkdir(mode=0o700, exist_ok=True)
    place, victim = logs / MAIN_NAME, tmp_path / "victim"
    victim.write_text("not a log\n")
    place.unlink(missing_ok=True)
    if kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(victim)
    site.start_app()
    assert site.wait(site.enqueue("echo", 1))["status"] == "completed"
    assert site.wait(site.enqueue("fail"))["status"] == "failed"
    assert victim.read_text() == "not a log\n"
    wait_for(lambda: f"{place} cannot be written" in site.diagnosis(), "the complaint of whoever writes")
    place.rmdir() if kind == "folder" else place.unlink()
    assert site.wait(site.enqueue("echo", 2))["status"] == "completed"
    wait_for(lambda: "Job completed" in site.log(), "the lines to come again")


@pytest.mark.skipif(not can("prlimit", "--nofile=64", "true"), reason="needs prlimit")
@pytest.mark.long
def test_f55_a_server_without_free_descriptors_recovers(site: Site) -> None:
    server = Server(site)
    wait_for(lambda: server.get("health/ready")[0] == 200, "a server that is ready")
    address = urlsplit(server.address)
    assert address.port is not None
    subprocess.run(["prlimit", f"--pid={server.process.pid}", "--nofile=40:40"], check=True)
    held = []
    for _ in range(60):
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", address.port), timeout=1))
    job = site.enqueue("echo", 1)
    for one in held:
        one.close()
    assert site.wait(job)["status"] == "completed"
    wait_for(lambda: server.get("health/ready")[0] == 200, "the server to recover")
    assert server.get("jobs")[0] == 200
