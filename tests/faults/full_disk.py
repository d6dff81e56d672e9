"""Tests with a small disk of their own; `test_file_trouble` runs them where they may mount one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from bgapp.errors import DatabaseUnavailable
from bgapp.eventlog import MAIN_NAME
from bgapp.logline import DROPPED_TITLE
from tests.faults.test_sqlite_trouble import stored
from tests.site import Site
from tests.waiting import wait_for


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a disk of 3 MiB, made only for this test."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free on a disk."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as opened:
        for size in (64 * 1024, 1):
            try:
                while True:
                    opened.write(bytes(size))
            except OSError:
                continue
    return file


def test_f41_a_full_disk_refuses_jobs_and_delays_outcomes(
    make_site: Callable[..., Site], disk: Path, tmp_path: Path
) -> None:
    allowed = json.dumps({"tests.faults.faultjobs.Patient": ["until"], "tests.jobcode.Work": ["echo"]})
    site = make_site(database_url=f"sqlite:///{disk / 'jobs.sqlite'}", allowed_jobs=allowed)
    site.start_app()
    running = site.enqueue("until", str(site.witness), str(tmp_path / "go"), job_class="Patient")
    site.wait_entered(running)
    acknowledged = {running.id}
    filler = fill(disk)
    with pytest.raises(DatabaseUnavailable, match="the disk of the database is full, nothing was written") as refusal:
        while True:  # the log has a few pages left that are used before
            acknowledged.add(site.enqueue("echo", "x" * 1000, delay=3600).id)
    assert "\n" not in str(refusal.value)
    (tmp_path / "go").touch()
    wait_for(lambda: site.ends(running.id), "the job to end")
    filler.unlink()
    found = site.wait(running)
    assert (found["status"], found["attempt"]) == ("completed", 1)
    assert stored(site.runtime.database) == acknowledged
    with site.runtime.database.read() as connection:
        assert connection.execute(text("PRAGMA quick_check")).scalar() == "ok"


def test_f51_jobs_go_on_while_the_disk_of_the_log_is_full_and_lost_lines_are_told(
    make_site: Callable[..., Site], disk: Path
) -> None:
    site = make_site(log_dir=disk / "logs")
    site.start_app()
    assert site.wait(site.enqueue("echo", 1))["status"] == "completed"
    filler = fill(disk)
    length = -1
    while length != (length := (disk / "logs" / MAIN_NAME).stat().st_size):  # what is left of its last block is used up
        site.wait(site.enqueue("echo", "x" * 300))
    for number in range(5):
        assert site.wait(site.enqueue("echo", number))["status"] == "completed"
    filler.unlink()
    assert site.wait(site.enqueue("echo", "after"))["status"] == "completed"
    wait_for(lambda: DROPPED_TITLE in site.log(), "the count of lost lines")
    assert '"after"' in site.log()
    assert [line for line in site.log().splitlines() if " | " not in line] == [], "none is torn"
