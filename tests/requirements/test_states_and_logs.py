"""Statuses and log files: S6, S7, S29, S33, S45, S46."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bgapp.errors import ClassNotAllowed
from bgapp.models import Status
from tests.conftest import ROOT
from tests.requirements.support import ERRORS, ask, fields, refused, runner, statuses, told
from tests.site import Site
from tests.waiting import wait_for

LINE = re.compile(
    r"(?P<status>Job [a-z ]+) \| Class: (?P<cls>[\w.]+) \| Method: (?P<method>\w+) \| Parameters: (?P<params>\{.*\})"
    r" \| Timestamp: (?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \| Job: \d+( \| Attempt: \d+)?( \| Error: .*)?"
)


def test_s6_two_files_in_a_folder_that_can_be_chosen(quiet: Site, tmp_path: Path) -> None:
    folder = tmp_path / "storage" / "logs"
    done = runner(quiet, "Work", "fail", "no luck", env={"BGAPP_LOG_DIR": str(folder)})
    assert done.returncode == 1
    main, errors = ((folder / name).read_text().splitlines() for name in ("background_jobs.log", ERRORS))
    assert statuses([fields(line) for line in main]) == ["Job running", "Job failed"]
    assert statuses([fields(line) for line in errors]) == ["Job failed"]


def test_s7_every_status_has_its_time(living: Site) -> None:
    started = datetime.now(UTC).replace(microsecond=0)
    job = living.enqueue("add", 1, 2)
    found = living.wait(job)
    times = [datetime.fromisoformat(found[name]) for name in ("created_at", "run_at", "started_at", "finished_at")]
    assert started <= times[0]
    assert times == sorted(times)
    lines = told(living, job)
    assert statuses(lines) == ["Job pending", "Job running", "Job completed successfully"]
    stamps = [datetime.fromisoformat(line["Timestamp"]).replace(tzinfo=UTC) for line in lines]
    assert started <= stamps[0]
    assert stamps == sorted(stamps)


def test_s29_one_file_has_the_story_and_the_other_every_error(living: Site) -> None:
    job = living.enqueue("fail_until", 2, retries=1)
    living.wait(job)
    story = [
        "Job pending",
        "Job running",
        "Job retry scheduled",
        "Job pending",
        "Job running",
        "Job completed successfully",
    ]
    wait_for(lambda: statuses(told(living, job)) == story, f"the story in the log: {told(living, job)}")
    [error] = told(living, job, ERRORS)
    assert (error["Status"], error["Error"]) == ("Job retry scheduled", "RuntimeError: attempt 1 fails")


def test_s29_a_lost_attempt_is_an_error_too(living: Site) -> None:
    job = living.enqueue("kill_self", retries=0)
    living.wait(job)
    wait_for(lambda: statuses(told(living, job, ERRORS)) == ["Job lost", "Job failed"], "both lines")


def test_s33_the_statuses_and_their_meanings(living: Site, tmp_path: Path) -> None:
    assert [status.value for status in Status] == "scheduled pending running completed failed cancelled".split()
    assert living.job(living.enqueue("add", 1, 1, delay=900))["status"] == "scheduled"
    assert living.wait(living.enqueue("add", 1, 1))["status"] == "completed"
    assert living.wait(living.enqueue("fail", retries=1))["status"] == "failed", "after all attempts"
    running = living.enqueue("note", str(tmp_path / "witness"), 60.0)
    living.wait(running, "running")
    running.cancel("a user")
    assert living.wait(running)["status"] == "cancelled"


def test_s33_a_job_that_is_due_is_pending_until_a_runner_takes_it(quiet: Site) -> None:
    assert quiet.job(quiet.enqueue("add", 1, 1))["status"] == "pending"


def test_s45_the_format_of_a_line(living: Site) -> None:
    job = ask(living, "SampleJob", "execute", ["Hello, Background Job!"])
    living.wait(job)
    written = [line for line in living.log().splitlines() if f"| Job: {job.id}" in line]
    matches = [LINE.fullmatch(line) for line in written]
    assert all(matches), written
    found = [match.groupdict() for match in matches if match]
    assert [one["status"] for one in found] == ["Job pending", "Job running", "Job completed successfully"]
    for one in found:
        assert (one["cls"], one["method"]) == ("bgapp.jobs.samples.SampleJob", "execute")
        assert one["params"] == '{"message": "Hello, Background Job!"}'


def test_s45_a_failure_adds_its_message(living: Site) -> None:
    job = living.enqueue("fail", "a | b\nc", retries=0)
    living.wait(job)
    [line] = told(living, job, ERRORS)
    assert line["Status"] == "Job failed"
    assert line["Error"] == r"ValueError: a \u007c b\nc"
    whole = next(one for one in living.log(ERRORS).splitlines() if f"| Job: {job.id} " in one)
    assert LINE.fullmatch(whole)


def test_s45_the_same_facts_as_json_where_that_is_set(quiet: Site, tmp_path: Path) -> None:
    env = {"BGAPP_LOG_DIR": str(tmp_path), "BGAPP_LOG_FORMAT": "json"}
    assert runner(quiet, "SampleJob", "execute", "Hi", env=env).returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "background_jobs.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["Job running", "Job completed successfully"]
    assert all(line["params"] == {"message": "Hi"} and line["ts"].endswith("Z") for line in lines)


def test_s46_an_approved_job_runs_and_success_is_logged(living: Site) -> None:
    job = ask(living, "SampleJob", "process", ["some text"])
    assert living.wait(job)["status"] == "completed"
    wait_for(lambda: statuses(told(living, job))[-1] == "Job completed successfully", "the line of success")
    assert told(living, job, ERRORS) == []


def test_s46_an_unapproved_job_is_prevented(quiet: Site) -> None:
    refused(quiet, ClassNotAllowed, "job_class", "tests.requirements.shopapp.Unapproved", "run")
    refused(quiet, ClassNotAllowed, "job_class", Path, "unlink")


def test_s46_a_failing_job_is_retried_and_each_attempt_is_logged(living: Site) -> None:
    job = living.enqueue("fail", "again and again", retries=2)
    living.wait(job)
    wait_for(lambda: len(told(living, job, ERRORS)) == 3, "a line for each attempt")
    attempts = [(line["Attempt"], line["Error"]) for line in told(living, job, ERRORS)]
    assert attempts == [(str(number), "ValueError: again and again") for number in (1, 2, 3)]


@pytest.mark.parametrize("status", list(Status))
def test_s33_the_documentation_names_every_status(quiet: Site, status: Status) -> None:
    assert f"`{status}`" in (ROOT / "docs" / "requirements.md").read_text()
    assert flask_statuses(quiet)[status] >= 0


def flask_statuses(site: Site) -> dict[str, int]:
    done = site.app.test_cli_runner().invoke(args=["jobs", "stats", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    counts: dict[str, int] = found.get("statuses", found)
    return counts
