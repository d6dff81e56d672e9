from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import update

from bgapp import JobHandle, current_job, run_background_job
from bgapp.inline import run_inline
from bgapp.runtime import Runtime, of
from bgapp.statements import JOBS
from tests import factories as make


@pytest.fixture
def runtime(make_app: Callable[..., Flask], tmp_path: Path) -> Iterator[Runtime]:
    """An application that runs nothing by itself."""
    app = make_app(
        database_url=f"sqlite:///{tmp_path / 'jobs.sqlite'}",
        allowed_jobs=["tests.jobcode.Work", "tests.unit.inline_jobs.Inline", "tests.unit.inline_jobs.Broken"],
    )
    with app.app_context():
        yield of(app)


def run(runtime: Runtime, method: str, *params: object, job_class: str = "Inline", retries: int = 0) -> JobHandle:
    """Enqueue a job, run what is due, and return how it stands then."""
    handle = run_background_job(job_class, method, list(params), retries)
    run_inline(runtime)
    return handle.refresh()


def log(runtime: Runtime, name: str = "background_jobs.log") -> str:
    return (runtime.settings.log_dir / name).read_text()


def test_nothing_due_is_nothing_done(runtime: Runtime) -> None:
    assert run_inline(runtime) == 0


def test_a_job_runs_in_this_process_with_its_converted_parameters(runtime: Runtime) -> None:
    handle = run(runtime, "day_after", "2026-02-28", job_class="Work")
    assert (handle.status, handle.result) == ("completed", "2026-03-01")
    row = make.row(runtime.database, handle.id)
    assert (row.pid, row.runner_pid, row.attempt) == (os.getpid(), os.getpid(), 1)
    assert [one.status for one in make.attempts(runtime.database, handle.id)] == ["completed"]


def test_the_best_runs_first_and_no_more_than_asked(runtime: Runtime) -> None:
    low, high = (run_background_job("Work", "echo", [1], priority=priority) for priority in (0, 10))
    assert run_inline(runtime, most=1) == 1
    assert (low.status, high.status) == ("pending", "completed")
    assert run_inline(runtime, most=0) == 0
    assert run_inline(runtime) == 1


def test_current_job_speaks_of_the_job_and_falls_silent_after_it(runtime: Runtime) -> None:
    handle = run(runtime, "say", retries=2)
    assert handle.result == [handle.id, 1, 2]
    assert not current_job
    assert run(runtime, "report").status == "completed"


def test_a_job_that_asks_for_another_is_followed_by_it(runtime: Runtime, tmp_path: Path) -> None:
    run_background_job("Work", "spawn", [str(tmp_path / "witness")])
    assert run_inline(runtime) == 2
    assert len((tmp_path / "witness").read_text().splitlines()) == 2


@pytest.mark.parametrize("method", ["fail", "later", "static", "of_class"])
def test_every_kind_of_method_runs(runtime: Runtime, method: str) -> None:
    params = {"later": [3], "static": [4]}.get(method, [])
    handle = run(runtime, method, *params, job_class="Work")
    assert handle.result == {"fail": None, "later": 3, "static": 4, "of_class": "Work"}[method]


def test_a_failure_is_kept_with_its_traceback_and_told(runtime: Runtime) -> None:
    handle = run(runtime, "fail", "no luck", job_class="Work")
    assert (handle.status, handle.error) == ("failed", "ValueError: no luck")
    (attempt,) = make.attempts(runtime.database, handle.id)
    assert attempt.reason == "error"
    assert "in fail" in attempt.traceback
    assert "Job failed" in log(runtime, "background_jobs_errors.log")


def test_a_retry_waits_for_its_time(runtime: Runtime) -> None:
    handle = run(runtime, "fail", job_class="Work", retries=1)
    assert handle.status == "scheduled"
    assert run_inline(runtime) == 0


@pytest.mark.parametrize(
    ("job_class", "method", "error"),
    [
        ("Inline", "leave", "SystemExit: 3"),
        ("Broken", "run", "RuntimeError: out of order"),
        ("Inline", "ask_wrongly", "ClassNotAllowed: "),
    ],
)
def test_whatever_job_code_raises_is_its_own_failure(runtime: Runtime, job_class: str, method: str, error: str) -> None:
    """Also an exit, which must not end the application, and a refusal that the job met when it asked for another."""
    handle = run(runtime, method, job_class=job_class)
    assert handle.status == "failed"
    assert str(handle.error).startswith(error)
    assert make.row(runtime.database, handle.id).reason == "error"
    assert not current_job


def test_ctrl_c_ends_the_run_and_not_only_the_job(runtime: Runtime) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(runtime, "interrupt")
    assert not current_job


def test_a_class_that_is_no_longer_allowed_is_refused_for_good(runtime: Runtime) -> None:
    handle = run_background_job("Work", "echo", [1], 3)
    with runtime.database.write() as connection:
        connection.execute(update(JOBS).values(job_class="os.path"))
    run_inline(runtime)
    row = make.row(runtime.database, handle.id)
    assert (row.status, row.reason) == ("failed", "not_allowed")


def test_parameters_that_no_longer_fit_are_an_error(runtime: Runtime) -> None:
    handle = run_background_job("Work", "add", [1, 2], 0)
    with runtime.database.write() as connection:
        connection.execute(update(JOBS).values(params=json.dumps({"first": "many", "second": 2})))
    run_inline(runtime)
    row = make.row(runtime.database, handle.id)
    assert (row.status, row.reason) == ("failed", "error")


@pytest.mark.parametrize("params", ["{broken", "[1]", "null", "5", "[" * 100_000], ids=lambda text: text[:7])
def test_a_row_edited_by_hand_fails_alone(runtime: Runtime, params: str) -> None:
    edited = run_background_job("Work", "echo", [1], 0)
    with runtime.database.write() as connection:
        connection.execute(update(JOBS).values(params=params))
    other = run(runtime, "echo", 2, job_class="Work")
    assert (edited.status, other.status) == ("failed", "completed")


def test_a_result_that_is_no_json_is_left_out(runtime: Runtime) -> None:
    handle = run(runtime, "not_json", job_class="Work")
    assert (handle.status, handle.result) == ("completed", None)


def test_a_secret_stays_out_of_error_traceback_and_log(runtime: Runtime) -> None:
    handle = run(runtime, "sign_in", "hunter22hunter")
    assert handle.error == "PermissionError: the password *** is wrong"
    (attempt,) = make.attempts(runtime.database, handle.id)
    assert "hunter22hunter" not in attempt.error + attempt.traceback
    assert "hunter22hunter" not in log(runtime) + log(runtime, "background_jobs_errors.log")


def test_every_step_is_told_as_with_a_runner(runtime: Runtime) -> None:
    run(runtime, "echo", 1, job_class="Work")
    told = [line.split(" | ")[0] for line in log(runtime).splitlines()]
    assert told == ["Job pending", "Job running", "Job completed successfully"]
