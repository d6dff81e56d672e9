"""The helper, called in a view: S8, S10, S12, S13, S18, S19, S26, S35, S39, S41, S42, S47."""

from __future__ import annotations

import inspect
import json
import re
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

import bgapp
from bgapp import run_background_job
from bgapp.errors import BadParameters, ClassNotAllowed, JobRejected
from tests.requirements.shopjobs import Till
from tests.requirements.support import SHOP, SHOP_ALLOWED, ask, refused, rows, statuses, told
from tests.site import Site
from tests.waiting import wait_for

ORDER = ["job_class", "method", "params", "retries", "delay", "priority"]


def seconds_between(job: dict[str, str], first: str, second: str) -> float:
    return (datetime.fromisoformat(job[second]) - datetime.fromisoformat(job[first])).total_seconds()


@pytest.fixture
def shop(make_site: Callable[..., Site]) -> tuple[Site, int]:
    """The shop's own application, served by `flask run`, and its port."""
    site = make_site(app="tests.requirements.shopapp:app", allowed_jobs=json.dumps(SHOP_ALLOWED))
    site.run_python("-m", "flask", "--app", "tests.requirements.shopapp", "run", "--port", "0")
    log = site.instance / "processes.log"

    def port() -> int:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        return int(found[1]) if found else 0

    return site, wait_for(port, "the shop to listen")


def test_s8_and_s42_a_button_answers_at_once_and_the_job_goes_on(shop: tuple[Site, int]) -> None:
    site, port = shop
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        "POST",
        "/reports",
        urlencode({"witness": str(site.witness)}),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    answer = connection.getresponse()
    assert answer.status == 302
    connection.close()
    job = int(answer.headers["Location"].removeprefix("/?job="))
    assert site.ends(job) == [], "the answer came before the job had ended"

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/test-background-job", timeout=30) as page:
        assert page.read() == b"Background job dispatched!"
    sample = site.wait(job + 1)
    assert (sample["class"], sample["retries"]) == ("bgapp.jobs.samples.SampleJob", 3)
    assert sample["params"] == {"message": "Hello, Background Job!"}
    assert sample["status"] == "completed"
    assert site.wait(job)["status"] == "completed"
    assert len(site.ends(job)) == 1


def test_s10_the_helper_is_importable_from_the_package_and_apart_from_what_runs_jobs() -> None:
    assert bgapp.run_background_job.__module__ == "bgapp.enqueue"
    source = inspect.getsource(inspect.getmodule(run_background_job))  # type: ignore[arg-type] # it has a module
    assert "bgapp.runner" not in source
    assert "subprocess" not in source


def test_s12_and_s41_the_order_of_the_arguments(quiet: Site) -> None:
    parameters = inspect.signature(run_background_job).parameters
    assert [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD] == ORDER
    job = ask(quiet, f"{SHOP}.Till", "keep", ["param1", "param2"], 3, 10)
    stored = quiet.job(job)
    assert (stored["status"], stored["retries"], stored["priority"]) == ("scheduled", 3, 0)
    assert stored["params"] == {"words": ["param1", "param2"]}
    assert seconds_between(stored, "created_at", "run_at") == 10


def test_s13_a_call_is_checked_before_anything_is_made_and_the_launch_is_logged(quiet: Site) -> None:
    refused(quiet, ClassNotAllowed, "job_class", "NoSuchJob", "execute", ["x"])
    job = ask(quiet, "SampleJob", "execute", ["Hello"])
    [line] = told(quiet, job)
    assert line["Status"] == "Job pending"
    assert line["Parameters"] == '{"message": "Hello"}'


def test_s18_a_delay_puts_the_start_off(living: Site) -> None:
    job = living.wait(ask(living, "Till", "where", None, 0, 0.7))
    assert seconds_between(job, "created_at", "run_at") == 0.7
    assert seconds_between(job, "run_at", "started_at") >= 0


def test_s19_and_s39_larger_priorities_run_first(make_site: Callable[..., Site]) -> None:
    site = make_site(max_running=1)
    jobs = {priority: site.note(priority=priority) for priority in ("low", 0, 5, "critical", "high")}
    site.start_app()
    for job in jobs.values():
        site.wait(job)
    order = [int(line[1]) for line in site.witnessed() if line[0] == "S"]
    assert order == [jobs[priority].id for priority in ("critical", "high", 5, 0, "low")]


def test_s26_a_service_outside_any_folder_for_jobs_with_a_delay_of_a_minute(quiet: Site) -> None:
    job = quiet.job(ask(quiet, "bgapp.jobs.users.UserSeeder", "seed", ["10"], delay=60))
    assert job["params"] == {"count": 10}, "the hint says that it is a number"
    assert seconds_between(job, "created_at", "run_at") == 60
    assert quiet.job(ask(quiet, Till, "where"))["params"] == {}, "parameters may be left out"


def test_s35_the_helper_is_true_when_it_started_a_job_and_raises_when_it_could_not(quiet: Site) -> None:
    job = ask(quiet, "SampleJob", "process", {"data": "example"})
    assert job
    assert job.id
    assert job.created
    assert quiet.job(job)["params"] == {"data": "example"}
    before = rows(quiet)
    with pytest.raises(JobRejected):
        ask(quiet, "SampleJob", "process", {"wrong": "example"})
    assert rows(quiet) == before
    refused(quiet, BadParameters, "params", "SampleJob", "process", {"data": "example", "wrong": 1})


def test_s35_a_view_gets_a_handle_to_wait_with(living: Site) -> None:
    job = ask(living, "SampleJob", "process", {"data": "example"})
    with living.app.app_context():
        assert job.wait(timeout=30)
    assert (job.status, job.error) == ("completed", None)
    assert job.result["processed"] is True


def test_s47_a_delay_is_seconds_or_a_span_or_a_moment(quiet: Site) -> None:
    moment = datetime.now(UTC) + timedelta(hours=3)
    assert quiet.job(ask(quiet, Till, "where", delay=moment))["run_at"] == moment.isoformat().replace("+00:00", "Z")
    for delay, seconds in ((1.5, 1.5), (timedelta(minutes=2), 120.0)):
        job = quiet.job(ask(quiet, Till, "where", delay=delay))
        assert seconds_between(job, "created_at", "run_at") == seconds


def test_s47_status_logs_and_errors_are_there_while_a_job_runs(living: Site, tmp_path: Path) -> None:
    witness = str(tmp_path / "witness")
    job = living.enqueue("progress", witness, 30.0, retries=0)
    wait_for(lambda: Path(witness).exists(), "the job to start")
    wait_for(lambda: (living.job(job)["progress"] or {}).get("fraction") == 0.5, "its progress")
    assert living.job(job)["status"] == "running"
    assert statuses(told(living, job)) == ["Job pending", "Job running"]
    with living.app.app_context():
        job.cancel("test")
    assert living.wait(job)["status"] == "cancelled"
