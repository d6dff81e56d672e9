"""`bgapp.testing`: due jobs run here and now, later ones only by the time that is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from bgapp import clock, run_background_job, testing
from bgapp.errors import ClassNotAllowed
from bgapp.runtime import of


@pytest.fixture
def app(make_app: Callable[..., Flask], tmp_path: Path) -> Flask:
    return make_app(database_url=f"sqlite:///{tmp_path / 'jobs.sqlite'}")


def ask(app: Flask, method: str, *params: object, **options: object) -> int:
    with app.app_context():
        return run_background_job("Work", method, list(params), **options).id  # type: ignore[arg-type] # any option


def test_nothing_is_due_in_an_empty_database(app: Flask) -> None:
    assert testing.run_due(app) == 0
    assert testing.jobs(app) == []


def test_a_due_job_runs_in_this_process_and_its_result_is_kept(app: Flask) -> None:
    job = ask(app, "add", 1, 2)
    assert [one["status"] for one in testing.jobs(app)] == ["pending"]
    assert testing.run_due(app) == 1
    (found,) = testing.jobs(app)
    assert (found["id"], found["status"], found["result"], found["pid"]) == (job, "completed", 3, os.getpid())


def test_jobs_are_shown_oldest_first_with_their_attempts(app: Flask) -> None:
    first, second = ask(app, "echo", 1), ask(app, "echo", 2, priority="high")
    testing.run_due(app)
    found = testing.jobs(app)
    assert [one["id"] for one in found] == [first, second]
    assert [len(one["attempts"]) for one in found] == [1, 1]
    assert found[1]["started_at"] <= found[0]["started_at"], "the higher priority runs first"


def test_a_job_that_a_job_asks_for_runs_too(app: Flask, tmp_path: Path) -> None:
    ask(app, "spawn", str(tmp_path / "witness"))
    assert testing.run_due(app) == 2


def test_a_failure_is_stored_and_not_raised(app: Flask) -> None:
    ask(app, "fail", "no paper", retries=0)
    assert testing.run_due(app) == 1
    (found,) = testing.jobs(app)
    assert (found["status"], found["reason"], found["error"]) == ("failed", "error", "ValueError: no paper")
    assert "no paper" in found["attempts"][0]["traceback"]


def test_a_delayed_job_waits_for_its_time_and_runs_when_the_test_says_so(app: Flask) -> None:
    ask(app, "echo", 1, delay=3600)
    now = clock.now()
    assert testing.run_due(app) == 0
    assert testing.run_due(app, until=now + timedelta(minutes=50)) == 0
    assert testing.run_due(app, until=now + timedelta(hours=2)) == 1
    assert testing.jobs(app)[0]["status"] == "completed"


def test_retries_run_by_the_time_that_is_named(app: Flask) -> None:
    ask(app, "fail_until", 3, retries=2, backoff="60 fixed")
    assert testing.run_due(app) == 1
    assert testing.jobs(app)[0]["status"] == "scheduled"
    assert testing.run_due(app, until=clock.now() + timedelta(hours=1)) == 2
    (found,) = testing.jobs(app)
    assert (found["status"], found["result"], found["attempt"]) == ("completed", 3, 3)
    assert [one["status"] for one in found["attempts"]] == ["failed", "failed", "completed"]


def test_many_delayed_jobs_run_in_one_call(app: Flask) -> None:
    with app.app_context():
        for _ in range(3):
            run_background_job("Work", "echo", [1], delay=10)
    assert testing.run_due(app, until=clock.now() + timedelta(minutes=1)) == 3


def test_a_naive_time_is_refused(app: Flask) -> None:
    with pytest.raises(ValueError, match="time zone"):
        testing.run_due(app, until=datetime(2030, 1, 1))  # noqa: DTZ001  the mistake itself


class Again:
    def run(self) -> None:
        run_background_job("Again", "run")


def test_a_job_that_asks_for_itself_is_told_and_not_followed_for_ever(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "MOST", 5)
    app = make_app(allowed_jobs=[f"{__name__}.Again"])
    with app.app_context():
        run_background_job("Again", "run")
    with pytest.raises(RuntimeError, match="ask for itself"):
        testing.run_due(app)
    assert len(testing.jobs(app)) == 7


def test_a_refused_call_leaves_no_job(app: Flask) -> None:
    with app.app_context(), pytest.raises(ClassNotAllowed):
        run_background_job("Nobody", "run")
    assert testing.jobs(app) == []


def test_secret_parameters_are_masked(app: Flask) -> None:
    ask(app, "secret", "open sesame")
    assert testing.jobs(app)[0]["params"] == {"password": "***"}


def test_inline_runs_a_job_inside_the_call(make_app: Callable[..., Flask]) -> None:
    app = make_app(inline=True)
    with app.app_context():
        assert run_background_job("Work", "add", [1, 2]).result == 3
    assert testing.run_due(app) == 0
    assert of(app).settings.inline
