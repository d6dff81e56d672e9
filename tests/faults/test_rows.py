"""Rows that people edit or delete by hand while everything runs."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import delete

from bgapp.statements import JOBS
from tests.faults.strangers import Server
from tests.site import Site
from tests.waiting import wait_for

EDITED = {
    "params = '{broken'": "failed",
    "job_class = 'no.such.Class'": "failed",
    "attempt = 1000000000, attempt_limit = 1000000001": "completed",
    "status = 'xyz'": "xyz",
}


def test_f60_rows_edited_by_hand_stop_neither_pages_nor_leader_nor_the_other_jobs(site: Site) -> None:
    edited = [site.enqueue("echo", 1, retries=0) for _ in EDITED]
    others = [site.enqueue("echo", 2) for _ in range(5)]
    with site.runtime.database.write() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        for job, change in zip(edited, EDITED, strict=True):
            connection.exec_driver_sql(f"UPDATE bgapp_jobs SET {change} WHERE id = {job.id}")
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    server = Server(site)
    for job in others:
        assert site.wait(job)["status"] == "completed"
    for job, status in zip(edited, EDITED.values(), strict=True):
        assert site.wait(job, status)["status"] == status
    for page in ("", "jobs", *(f"jobs/{job.id}" for job in edited), "health/ready"):
        assert server.get(page)[0] == 200, page


def test_f57_a_running_job_is_not_deleted_and_the_result_of_one_deleted_by_hand_is_refused(
    patient_site: Site, tmp_path: Path
) -> None:
    site = patient_site
    server = Server(site)
    running = site.enqueue("until", str(site.witness), str(tmp_path / "never"), job_class="Patient")
    site.wait_entered(running)
    token = server.token("jobs/new")
    assert server.post(f"jobs/{running.id}/delete", token)[0] == 403, "an operator may not"
    with site.runtime.database.write() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.id == running.id))
    after = site.enqueue("echo", 1)
    assert site.wait(after)["status"] == "completed"
    wait_for(lambda: not any(line[4] in map(str, site.processes()) for line in site.starts(running.id)), "its end")
    with site.runtime.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM bgapp_jobs").scalar() == 1
    assert site.ends(running.id) == []
    assert [line for line in site.log().splitlines() if f"Job: {running.id} " in line and "completed" in line] == []
