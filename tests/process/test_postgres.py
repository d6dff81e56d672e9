"""The same processes on PostgreSQL."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from bgapp import handle
from tests.site import Site

pytestmark = pytest.mark.postgres


@pytest.fixture
def site_on_postgres(make_site: Callable[..., Site], postgres_database: str) -> Site:
    site = make_site(database_url=postgres_database)
    site.start_app()
    return site


def test_jobs_run_fail_and_are_retried(site_on_postgres: Site) -> None:
    site = site_on_postgres
    jobs = [site.enqueue("add", number, 1) for number in range(20)]
    failing = site.enqueue("fail_until", 2, retries=3)
    for number, job in enumerate(jobs):
        assert site.wait(job)["result"] == number + 1
    assert site.wait(failing)["attempt"] == 2


def test_a_running_job_is_cancelled(site_on_postgres: Site) -> None:
    job = site_on_postgres.note(60.0)
    site_on_postgres.wait_entered(job)
    handle.cancel(site_on_postgres.runtime, job.id, "tester")
    assert site_on_postgres.wait(job)["status"] == "cancelled"


def test_a_lost_runner_is_rescued(site_on_postgres: Site) -> None:
    job = site_on_postgres.note(60.0, retries=1)
    site_on_postgres.wait_entered(job)
    os.kill(site_on_postgres.job(job)["runner_pid"], signal.SIGKILL)
    site_on_postgres.wait_entered(job, times=2)
