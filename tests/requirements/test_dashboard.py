"""The requirements that are met in the browser: the dashboard on the site's root, its login, its buttons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from bgapp import attemptlog
from bgapp.enqueue import enqueue
from bgapp.inline import run_inline
from bgapp.runtime import Runtime, of
from tests.examples.hosting import Host, Visitor
from tests.web.conftest import Browser, browser, make_web, tables

__all__ = ["browser", "make_web", "tables"]

TARGET = "tests.jobcode.Work.fail"


@pytest.fixture
def web(make_web: Callable[..., Flask]) -> Flask:
    return make_web(allowed_jobs={"tests.jobcode.Work": ["add", "fail", "talk"]})


@pytest.fixture
def runtime(web: Flask) -> Runtime:
    return of(web)


@pytest.fixture
def failed(web: Flask, runtime: Runtime) -> int:
    """A job that failed twice, with what its last attempt wrote."""
    with web.app_context():
        handle = enqueue(runtime, "Work", "fail", ["the shop is closed"], {"retries": 1, "backoff": "0 fixed"})
        run_inline(runtime)
        run_inline(runtime)
    path = attemptlog.path(runtime.settings.log_dir, handle.id, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("looking for an open door\n")
    return handle.id


def test_s8_a_button_on_the_home_page_starts_a_job_and_returns_there(
    browser: Callable[..., Browser], runtime: Runtime
) -> None:
    operator = browser("operator")
    assert "tests.jobcode.Work" in operator.get("/").text
    answer = operator.post(
        "/jobs/new",
        page="/",
        target="tests.jobcode.Work.add",
        back="overview",
        nonce="0123456789abcdef",
        **{"p.first": "1", "p.second": "2"},
    )
    assert (answer.status_code, answer.location) == (303, "/")
    assert "is on its way" in operator.get("/").text


def test_s20_the_documentation_tours_users_mounting_and_deploying() -> None:
    pages = Path("docs/README.md").read_text()
    for page in ("mounting.md", "users-and-roles.md", "deploying.md", "security.md"):
        assert page in pages


def test_s21_an_admin_sees_status_errors_retries_and_the_log(browser: Callable[..., Browser], failed: int) -> None:
    admin = browser("admin")
    assert "ValueError: the shop is closed" in admin.get("/").text
    page = admin.get(f"/jobs/{failed}").text
    for words in ("failed", "ValueError: the shop is closed", "2 attempts", "Attempt 1", "Attempt 2"):
        assert words in page
    assert "looking for an open door" in admin.get(f"/jobs/{failed}/log").text


def test_s21_an_admin_cancels_a_job(browser: Callable[..., Browser], web: Flask, runtime: Runtime) -> None:
    with web.app_context():
        handle = enqueue(runtime, "Work", "add", [1, 2], {"delay": 3600})
    admin = browser("admin")
    assert admin.post(f"/jobs/{handle.id}/cancel", page=f"/jobs/{handle.id}/cancel").status_code == 303
    assert handle.refresh().status == "cancelled"


def test_s22_the_table_shows_how_long_and_how_often_and_a_job_is_triggered_again_and_deleted(
    browser: Callable[..., Browser], runtime: Runtime, failed: int
) -> None:
    admin = browser("admin")
    table = admin.get("/jobs").text
    assert "Work.fail" in table
    assert " s" in table
    assert admin.post(f"/jobs/{failed}/retry", page=f"/jobs/{failed}").status_code == 303
    assert "pending" in admin.get(f"/jobs/{failed}").text
    assert admin.post(f"/jobs/{failed}/delete", page=f"/jobs/{failed}/delete").status_code == 303
    assert admin.get(f"/jobs/{failed}").status_code == 404


def test_s34_the_dashboard_on_the_sites_root_shows_all_jobs_and_numbers(
    browser: Callable[..., Browser], failed: int
) -> None:
    viewer = browser("viewer")
    front = viewer.get("/").text
    for status in ("Scheduled", "Pending", "Running", "Completed", "Failed", "Cancelled"):
        assert status in front
    assert f"/jobs/{failed}" in viewer.get("/jobs?status=failed").text


def test_s40_nobody_sees_the_dashboard_without_a_login_and_people_can_register_where_that_is_open(
    browser: Callable[..., Browser], web: Flask
) -> None:
    nobody = browser()
    answer = nobody.get("/")
    assert (answer.status_code, answer.location.partition("?")[0]) == (303, "/login")
    assert nobody.get("/register").status_code == 404  # closed unless ALLOW_REGISTRATION opens it


def test_s40_a_secret_key_is_made_with_the_first_page(browser: Callable[..., Browser], web: Flask) -> None:
    browser().get("/login")
    key = Path(of(web).settings.instance) / "secret_key"
    assert len(key.read_bytes()) >= 32
    assert key.stat().st_mode & 0o777 == 0o600


def test_s42_the_example_route_dispatches_the_job_and_says_so(tmp_path: Path) -> None:
    host = Host("one_file", tmp_path)
    try:
        host.serve("-m", "flask", "--app", "app", "run", "--port", "{port}")
        assert Visitor(host).get("/test-background-job")[:2] == (200, "Background job dispatched!")
    finally:
        host.end()
