"""Fixtures for tests in a real browser: a furnished installation, and pages that tolerate no error of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright
from werkzeug.serving import make_server

from bgapp import accounts, logins
from bgapp.runtime import of
from bgapp.web.standalone_access import COOKIE
from tests.browser.furnished import ALLOWED, Furniture, furnish, lead
from tests.chromium import executable

DESKTOP, PHONE = (1440, 900), (390, 844)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium of the system's, without a window; not kept for longer than a module needs it.

    Playwright keeps an event loop running in this thread meanwhile, and other modules' tests may want one of their own.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], str]]:
    """Serve applications on free ports; returns the address."""
    servers = []

    def start(app: Flask) -> str:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Installation:
    """A furnished stand-alone application that is served, and a browser's way into it."""

    app: Flask
    address: str
    made: Furniture
    chromium: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def context(self, role: str | None = "admin", **options: Any) -> BrowserContext:
        """Return a fresh browser profile, signed in as a user of that role."""
        found = self.chromium.new_context(base_url=self.address, **{"viewport": size(DESKTOP), **options})
        self.contexts.append(found)
        if role is not None:
            database = of(self.app).database
            with database.write() as connection:
                user = accounts.find(connection, role)
                now = database.clock(connection)
                user = user or accounts.create_user(connection, role, role, now, "none")
                login = logins.open_login(connection, user, "127.0.0.1", "test", now)
            found.add_cookies([{"name": COOKIE, "value": login, "url": self.address}])
        return found

    def page(self, path: str | None = None, **options: Any) -> Page:
        """Open a page in a fresh profile; whatever its console complains about fails the test."""
        return self.watched(self.context(**options).new_page(), path)

    def watched(self, page: Page, path: str | None = None) -> Page:
        page.on("console", lambda message: self._note(page, message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(f"{page.url}: {error}"))
        if path is not None:
            page.goto(path)
        return page

    def _note(self, page: Page, kind: str, text: str) -> None:
        # A page that is itself an error, or a region that is told of one, is what some tests are about.
        if kind == "error" and "Failed to load resource" not in text:
            self.problems.append(f"{page.url}: {text}")

    def job(self, name: str) -> str:
        """Return the path of one of the named jobs."""
        return f"/jobs/{self.made.named[name]}"


@pytest.fixture
def install(make_app: Any, serve: Callable[[Flask], str], chromium: Browser) -> Iterator[Callable[..., Installation]]:
    """A factory of installations, in which every error of a page fails the test at its end."""
    made: list[Installation] = []

    def make(*, furnished: bool = True, **settings: Any) -> Installation:
        app = make_app(**{"allowed_jobs": ALLOWED, "max_running": 4, **settings})
        runtime = of(app)
        runtime.ready()
        furniture = furnish(runtime) if furnished else Furniture(runtime)
        found = Installation(app, serve(app), furniture, chromium, kept=lead(runtime) if furnished else [])
        made.append(found)
        return found

    yield make
    for one in made:
        for context in one.contexts:
            context.close()
    assert [problem for one in made for problem in one.problems] == []


@pytest.fixture
def installation(install: Callable[..., Installation]) -> Installation:
    """An installation with a job in every state."""
    return install()


def size(screen: tuple[int, int]) -> ViewportSize:
    return {"width": screen[0], "height": screen[1]}


def paths(made: Furniture) -> dict[str, str]:
    """Return the path of every page that an admin can see, by a name for it."""
    job = made.named
    shop = "tests.browser.shopjobs"
    return {
        "overview": "/",
        "jobs": "/jobs",
        "jobs-failed": "/jobs?status=failed",
        "jobs-older": "/jobs?before=20",
        "jobs-none": "/jobs?status=scheduled&before=1",
        "run": "/jobs/new",
        "run-form": f"/jobs/new?target={shop}.Reports.build",
        "run-everything": f"/jobs/new?target={shop}.Everything.take",
        "run-json": f"/jobs/new?target={shop}.Reports.build&raw=1",
        **{f"job-{name}": f"/jobs/{number}" for name, number in job.items()},
        "log": f"/jobs/{job['running']}/log",
        "log-attempt": f"/jobs/{job['failed']}/log?attempt=4",
        "cancel": f"/jobs/{job['running']}/cancel",
        "delete": f"/jobs/{job['failed']}/delete",
        "error": "/jobs/999999",
        "account": "/account",
        "users": "/users",
    }
