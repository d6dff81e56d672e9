"""Trying again: S3, S4, S14, S25, S31, S43."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from bgapp import create_app
from bgapp.runtime import of
from bgapp.settings import Backoff
from tests.conftest import ROOT
from tests.requirements.support import ERRORS, accepted, ask, flask, python, statuses, told
from tests.site import Site


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_s3_the_most_retries_come_from_the_environment_or_a_dotenv_file(quiet: Site, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BGAPP_RETRY_ATTEMPTS=7\nMAX_RETRIES=9\n")
    words = ["-m", "flask", "--app", str(ROOT / "wsgi.py"), "run-job", "SampleJob", "process", "x", "--json"]
    job = accepted(python(quiet, *words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}))
    assert job["retries"] == 7, "the setting's own name counts, the seed's old one does not"
    job = accepted(flask(quiet, "run-job", "SampleJob", "process", "x", "--json", env={"BGAPP_RETRY_ATTEMPTS": "2"}))
    assert job["retries"] == 2


@pytest.mark.parametrize("old", ["MAX_RETRIES", "QUEUE_RETRY_ATTEMPTS", "QUEUE_RETRY_BACKOFF"])
def test_s3_and_s4_the_old_names_are_not_settings(quiet: Site, monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    monkeypatch.setenv(old, "1")
    monkeypatch.setenv("BGAPP_INSTANCE", str(quiet.instance))
    settings = of(create_app()).settings
    assert (settings.retry_attempts, settings.retry_backoff) == (3, Backoff(15))
    assert old not in (ROOT / "docs" / "configuration.md").read_text()


def test_s4_attempts_and_backoff_of_the_environment_drive_the_runner(make_site: Callable[..., Site]) -> None:
    site = make_site(retry_attempts=5, retry_backoff="0.05 fixed")
    site.start_app()
    found = site.wait(site.enqueue("fail"))
    assert (found["status"], found["retries"], len(found["attempts"])) == ("failed", 5, 6)
    for before, after in zip(found["attempts"], found["attempts"][1:], strict=False):
        assert (moment(after["started_at"]) - moment(before["finished_at"])).total_seconds() >= 0.05


def test_s14_each_retry_is_logged_and_the_last_error_is_kept(living: Site) -> None:
    job = living.enqueue("fail", "no bread", retries=2)
    found = living.wait(job)
    assert (found["status"], found["error"], len(found["attempts"])) == ("failed", "ValueError: no bread", 3)
    retry = ["Job retry scheduled", "Job pending"]
    assert statuses(told(living, job)) == [
        *["Job pending", "Job running", *retry, "Job running", *retry, "Job running", "Job failed"]
    ]
    assert [line["Attempt"] for line in told(living, job, ERRORS)] == ["1", "2", "3"]


def test_s14_a_retry_that_succeeds_ends_the_story(living: Site) -> None:
    found = living.wait(living.enqueue("fail_until", 2, retries=5))
    assert (found["status"], found["attempt"], found["error"], found["reason"]) == ("completed", 2, None, None)
    assert [attempt["status"] for attempt in found["attempts"]] == ["failed", "completed"]


def test_s25_nothing_runs_before_its_moment(living: Site) -> None:
    """`run_at` is the seed's `next_retry_at`, for a delay and for a retry alike."""
    job = living.wait(living.enqueue("fail_until", 2, retries=1, delay=0.4, backoff="0.5 fixed"))
    first, second = job["attempts"]
    assert (moment(first["started_at"]) - moment(job["created_at"])).total_seconds() >= 0.4
    assert (moment(second["started_at"]) - moment(first["finished_at"])).total_seconds() >= 0.5
    assert moment(job["run_at"]) > moment(first["finished_at"]), "run_at is that of the newest attempt"


def test_s31_a_failure_leaves_a_row_and_puts_the_next_attempt_on_the_clock(living: Site) -> None:
    job = living.enqueue("fail", "try later", retries=3, backoff="3000 fixed")
    found = living.wait(job, "scheduled")
    [attempt] = found["attempts"]
    assert (attempt["status"], attempt["error"]) == ("failed", "ValueError: try later")
    assert (moment(found["run_at"]) - moment(attempt["finished_at"])).total_seconds() == 3000
    assert found["reason"] == "error"
    assert found["finished_at"] is None
    job.cancel("test")


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_s43_retries_are_the_runs_after_the_first(living: Site, retries: int) -> None:
    found = living.wait(ask(living, "Work", "fail", None, retries))
    assert (found["retries"], len(found["attempts"]), found["attempt"]) == (retries, retries + 1, retries + 1)


def test_s43_the_pause_between_retries_is_a_setting_and_an_option(living: Site) -> None:
    job = living.enqueue("fail", retries=5, backoff="5 fixed")
    found = living.wait(job, "scheduled")
    pause = moment(found["run_at"]) - moment(found["attempts"][0]["finished_at"])
    assert pause.total_seconds() == 5
    job.cancel("test")
    words = ["run-job", "Work", "fail", "--retries", "5", "--backoff", "5 fixed", "--delay", "900", "--json"]
    done = living.app.test_cli_runner().invoke(args=words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["retries"] == 5
