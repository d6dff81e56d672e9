"""Error pages: what happened and what to do, in the shell or as JSON; never a traceback (X38, X41)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask, abort
from sqlalchemy.exc import OperationalError

from bgapp.database import Database
from bgapp.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable, QueueFull, UnknownJob, WrongState
from bgapp.web import overview
from bgapp.web.errors import TEXTS
from tests.web.conftest import Browser, signed_in

JSON = {"Accept": "application/json"}


@pytest.fixture
def failing(
    make_web: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> Callable[[BaseException | int], Browser]:
    """A factory of browsers, signed in as viewer, whose overview raises this."""

    def make(error: BaseException | int) -> Browser:
        def fail() -> None:
            if isinstance(error, int):
                abort(error)
            raise error

        fail.__module__, fail.__name__ = overview.page.__module__, overview.page.__name__
        import bgapp.web.blueprint as table

        pages = tuple(
            table.Route(route.path, fail, route.permission) if route.view is overview.page else route
            for route in table.PAGES
        )
        monkeypatch.setattr(table, "PAGES", pages)
        return signed_in(make_web(), "viewer")

    return make


@pytest.mark.parametrize("code", sorted(TEXTS))
def test_every_error_has_a_page_that_says_what_to_do(failing: Callable[[int], Browser], code: int) -> None:
    browser = failing(code)
    answer = browser.get("/")
    kind, heading, advice = TEXTS[code]
    assert answer.status_code == code
    assert f"<title>Error: {heading}" in answer.text
    assert f"<h1>{heading}</h1>" in answer.text
    assert answer.text.count("<h1") == 1
    assert advice.replace("'", "&#39;") in answer.text
    as_json = browser.get("/", headers=JSON)
    assert as_json.status_code == code
    assert as_json.json is not None
    assert as_json.json["kind"] == kind


def test_unknown_addresses_have_the_page_and_the_links_of_whoever_asks(browser: Callable[..., Browser]) -> None:
    answer = browser("viewer").get("/no/such/page")
    assert (answer.status_code, 'href="/jobs"' in answer.text) == (404, True)
    answer = browser().get("/no/such/page")
    assert (answer.status_code, 'href="/jobs"' in answer.text, 'href="/login"' in answer.text) == (404, False, True)


def test_x41_a_fault_shows_a_number_and_the_log_has_its_traceback(
    failing: Callable[[Exception], Browser], caplog: pytest.LogCaptureFixture
) -> None:
    answer = failing(RuntimeError("the password is hunter2")).get("/")
    assert answer.status_code == 500
    number = re.search(r">([A-Z2-9]{8})<", answer.text)
    assert number
    for secret in ("hunter2", "RuntimeError", "Traceback", ".py"):
        assert secret not in answer.text
    assert "hunter2" in caplog.text
    assert f"bgapp: reference {number[1]}" in caplog.text
    assert "Traceback" in caplog.text


def test_x41_the_same_as_json(failing: Callable[[Exception], Browser], caplog: pytest.LogCaptureFixture) -> None:
    answer = failing(RuntimeError("hunter2")).get("/", headers=JSON)
    assert answer.status_code == 500
    assert answer.json is not None
    assert set(answer.json) == {"error", "kind", "reference"}
    assert answer.json["reference"] in caplog.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("error", [DatabaseBusy("host=10.0.0.1 is busy"), DatabaseUnavailable("host=10.0.0.1 is gone")])
def test_f38_without_the_database_there_is_a_page_with_when_to_try_again(
    failing: Callable[[Exception], Browser], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    answer = failing(error).get("/")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "10.0.0.1" not in answer.text
    assert "10.0.0.1" in caplog.text


def test_error_pages_need_no_database(
    web: Flask, browser: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = browser("admin")

    def gone(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(Database, "read", gone)
    monkeypatch.setattr(Database, "write", gone)
    for path, status in (("/", 503), ("/jobs/1", 503), ("/no-such-page", 404), ("/login", 503), ("/health/live", 200)):
        assert admin.get(path).status_code == status, path
        assert Browser(web).get(path).status_code in (status, 303), path


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownJob(7), 404),
        (WrongState(7, "running", "deleted"), 409),
        (QueueFull("full", "job"), 429),
        (ConfigurationError("secret path /srv/x"), 500),
        (OperationalError("SELECT 1", {}, Exception("x")), 500),
    ],
)
def test_errors_of_bgapps_own_have_their_status(
    failing: Callable[[Exception], Browser], error: Exception, status: int
) -> None:
    answer = failing(error).get("/")
    assert answer.status_code == status
    assert "/srv/x" not in answer.text


def test_b26_an_unknown_job_and_no_job_at_all_look_the_same(browser: Callable[..., Browser]) -> None:
    viewer = browser("viewer")
    pages = {
        job: viewer.get(f"/jobs/{job}") for job in ("999", "0x1", "1 OR 1=1", "10" * 20, "-1", "0", "\u0661", "%00")
    }
    assert {page.status_code for page in pages.values()} == {404}
    assert len({page.text.partition("<main")[2] for page in pages.values()}) == 1


def test_a_live_region_gets_no_page_for_an_error(failing: Callable[[int], Browser]) -> None:
    answer = failing(500).get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.data) == (500, b"")


def test_what_an_error_says_is_shown_as_text(web: Flask, browser: Callable[..., Browser]) -> None:
    answer = browser("viewer").get("/jobs?status=<script>alert(1)</script>")
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text


def test_the_page_before_is_offered_only_where_it_is_ours(browser: Callable[..., Browser]) -> None:
    viewer = browser("viewer")
    ours = viewer.get("/jobs/999", headers={"Referer": "http://localhost/jobs?status=failed"})
    assert 'href="/jobs?status=failed"' in ours.text
    for foreign in ("http://evil.example/x", "http://localhost//evil.example", "javascript:alert(1)", "http://[bad"):
        assert "evil" not in viewer.get("/jobs/999", headers={"Referer": foreign}).text
