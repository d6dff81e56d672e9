"""The headers of every answer (X15, X23, X25-X27), and what browsers may keep."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from bgapp import attemptlog
from bgapp.models import Status
from bgapp.runtime import Runtime
from tests import factories
from tests.conftest import ROOT
from tests.web.conftest import HTTPS, Browser, signed_in
from tests.web.support import furnish, places

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
STRANGE = ("/no-such-page", "/jobs/999999", "/jobs?status=nonsense", "/static/none.css", "/invitation/none")


def answers(app: Flask) -> list[tuple[str, TestResponse]]:
    """Ask for everything, as nobody and as admin, right and wrong."""
    values = furnish(app)
    found = []
    for someone in (Browser(app), signed_in(app, "admin")):
        for place in places(app, values, "GET"):
            found.append((place.label, someone.get(place.path)))
            found.append((f"{place.label} as JSON", someone.get(place.path, headers={"Accept": "application/json"})))
        for path in STRANGE:
            found.append((path, someone.get(path)))
        for place in places(app, values, "POST"):
            found.append((place.label, someone.send(place.path, {})))
            found.append((f"{place.label} as text", someone.send(place.path, "x", content_type="text/plain")))
        found.append(("a wrong verb", someone.client.put("/jobs")))
    return found


def test_every_answer_has_the_security_headers(web: Flask) -> None:
    for label, answer in answers(web):
        headers = answer.headers
        assert headers["Content-Security-Policy"] == POLICY, label
        assert headers["X-Content-Type-Options"] == "nosniff", label
        assert headers["X-Frame-Options"] == "DENY", label
        assert headers["Referrer-Policy"] == "same-origin", label
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", label
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", label
        assert "camera=()" in headers["Permissions-Policy"], label
        assert "Strict-Transport-Security" not in headers, label
        assert "Server" not in headers or "bgapp" not in headers["Server"], label
        if answer.status_code >= 400 or "/static/" not in label:
            assert headers["Cache-Control"] == "no-store", (label, headers["Cache-Control"])
            assert "Cookie" in headers["Vary"], label


def test_https_is_remembered_by_browsers(web: Flask) -> None:
    answer = web.test_client().get("/login", base_url=HTTPS)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_x25_no_template_has_script_or_style_in_the_page_or_from_elsewhere() -> None:
    pages = [*ROOT.glob("templates/**/*.html"), *ROOT.glob("bgapp/web/*.py")]
    banned = re.compile(
        r"<style|\sstyle=|<script(?![^>]*\bsrc=)|\son[a-z]+=[\"']|javascript:|\|\s*safe\b|Markup\(", re.IGNORECASE
    )
    assert [(page.name, found[0]) for page in pages if (found := banned.search(page.read_text()))] == []
    foreign = re.compile(r"(?:src|href|action)=[\"']?(?:https?:)?//", re.IGNORECASE)
    assert [page.name for page in pages if foreign.search(page.read_text())] == []


def test_x24_templates_of_every_name_are_escaped(web: Flask) -> None:
    template = web.jinja_env.from_string("{{ text }}")
    assert template.render(text="<script>") == "&lt;script&gt;"
    assert {page.suffix for page in ROOT.glob("templates/**/*") if page.is_file()} - {""} == {".html"}


# What browsers keep --------------------------------------------------------------------------------------------------


@pytest.fixture
def style(browser: Callable[..., Browser]) -> str:
    found = re.search(r'href="(/static/app\.css[^"]*)"', browser().get("/login").text)
    assert found
    return found[1]


def test_a_static_file_is_kept_for_a_year_under_the_address_that_pages_give(
    browser: Callable[..., Browser], style: str
) -> None:
    answer = browser().get(style)
    assert answer.status_code == 200
    assert set(answer.headers["Cache-Control"].split(", ")) == {"public", "max-age=31536000", "immutable"}
    assert "Vary" not in answer.headers
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("query", ["", "?v=0000000000", "?v="])
def test_a_static_file_is_not_kept_long_under_another_address(browser: Callable[..., Browser], query: str) -> None:
    answer = browser().get(f"/static/app.css{query}")
    assert set(answer.headers["Cache-Control"].split(", ")) == {"public", "max-age=3600"}
    again = browser().get(f"/static/app.css{query}", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/pyproject.toml",
        "..\\app.py",
        "/etc/passwd",
        "",
        ".",
        "vendor",
        "%00",
        "x" * 5000,
    ],
)
def test_x29_no_other_file_is_served(browser: Callable[..., Browser], name: str) -> None:
    answer = browser().get(f"/static/{name}?v=1")
    assert answer.status_code in (404, 308)
    assert "import" not in answer.text


def test_x27_a_log_is_downloaded_as_text_whatever_the_job_wrote(
    runtime: Runtime, browser: Callable[..., Browser]
) -> None:
    with runtime.database.write() as connection:
        job = factories.insert_job(connection, Status.PENDING)
        factories.add_node(connection)
    claimed = factories.claim(runtime.database)
    factories.settle(runtime.database, claimed, factories.COMPLETED)
    path = attemptlog.path(runtime.settings.log_dir, job, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<script>alert(1)</script>")
    answer = browser("viewer").get(f"/jobs/{job}/log/download")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    disposition = answer.headers["Content-Disposition"]
    assert re.fullmatch(r'attachment; filename="?[\w.-]+"?', disposition), disposition


def test_an_answer_for_one_user_is_never_kept_for_another(web: Flask) -> None:
    """X26: the pages say so to browsers and proxies alike, with and without a new cookie."""
    admin: Any = signed_in(web, "admin")
    for path in ("/", "/jobs", "/account", "/users", "/jobs/new"):
        answer = admin.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Cookie" in answer.headers["Vary"]
