"""What the tests of the web share: a stand-alone application, browsers that are signed in, and host applications."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bgapp import BackgroundJobs, accounts, create_app, logins
from bgapp.accounts import User
from bgapp.runtime import Runtime, of
from bgapp.web.standalone_access import COOKIE

PASSWORD = "violet tractor under 7 moons"
ROLES = ("viewer", "operator", "admin")
HTTPS = "https://localhost"


class Browser:
    """A test client that behaves as a browser does: it keeps cookies and sends the token of the page it saw last."""

    def __init__(self, app: Flask, **environ: Any) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()
        self.environ = environ

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **{"environ_overrides": self.environ, "buffered": True, **options})

    def post(self, path: str, *, page: str | None = None, **fields: Any) -> TestResponse:
        """Send a form with the token of the page it stands on (`page`, else any page with a form)."""
        token = self.token(page or "/login")
        return self.send(path, {"csrf_token": token, **fields})

    def send(self, path: str, fields: Any, **options: Any) -> TestResponse:
        """Send a form as it is given."""
        return self.client.post(path, data=fields, **{"environ_overrides": self.environ, **options})

    def token(self, page: str) -> str:
        """Return the form token that a page carries; a page that leads elsewhere is followed there."""
        answer = self.get(page, follow_redirects=True)
        found = re.search(r'name="csrf_token" value="([^"]+)"', answer.text)
        assert found, f"{page} ({answer.status}) carries no token"
        return found[1]

    def sign_in(self, name: str, password: str = PASSWORD, **fields: Any) -> TestResponse:
        return self.post("/login", name=name, password=password, **fields)

    def keep(self, login_id: str) -> None:
        """Hold a login, as if the browser had signed in."""
        self.client.set_cookie(COOKIE, login_id)

    def cookie(self, name: str = COOKIE) -> str | None:
        found = self.client.get_cookie(name)
        return None if found is None else found.value


def is_login_page(answer: TestResponse) -> bool:
    """Return whether an answer leads to the login page."""
    return answer.status_code == 303 and answer.location.partition("?")[0] == "/login"


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied: upgrading an empty one for every test takes far longer."""
    folder = tmp_path_factory.mktemp("tables")
    folder.chmod(0o700)
    app = create_app({"BGAPP_INSTANCE": str(folder)})
    of(app).ready()
    of(app).database.dispose()
    of(app).events.close()
    return folder / "bgapp.sqlite"


@pytest.fixture
def make_web(make_app: Any, tables: Path, tmp_path: Path) -> Callable[..., Flask]:
    """A factory of stand-alone applications with tables and one admin named root, so that set-up is over."""

    def make(**settings: Any) -> Flask:
        instance = tmp_path / "instance"
        if not instance.exists():
            instance.mkdir(mode=0o700)
            shutil.copy(tables, instance / "bgapp.sqlite")
        app: Flask = make_app(**settings)
        app.config["TESTING"] = False  # errors become pages, as for everybody
        of(app).ready()
        with of(app).database.read() as connection:
            is_new = not accounts.has_users(connection)
        if is_new:
            add_user(app, "root", "admin")
        return app

    return make


@pytest.fixture
def web(make_web: Callable[..., Flask]) -> Flask:
    """A stand-alone application."""
    return make_web()


@pytest.fixture
def runtime(web: Flask) -> Runtime:
    """That application's bgapp."""
    return of(web)


@pytest.fixture
def browser(web: Flask) -> Callable[..., Browser]:
    """A factory of browsers, each signed in as a user of that role, or as nobody without one."""

    def make(role: str | None = None, **environ: Any) -> Browser:
        return signed_in(web, role, **environ)

    return make


def add_user(app: Flask, name: str, role: str, password_hash: str | None = "none") -> User:
    """Add a user; by default with a hash that no password fits, which costs no time."""
    database = of(app).database
    with database.write() as connection:
        return accounts.create_user(connection, name, role, database.clock(connection), password_hash)


def signed_in(app: Flask, role: str | None, **environ: Any) -> Browser:
    """Return a browser that is signed in as a new user of that role."""
    made = Browser(app, **environ)
    if role is not None:
        database = of(app).database
        with database.read() as connection:
            name = f"{role}{len(accounts.list_users(connection))}"
        user = add_user(app, name, role)
        with database.write() as connection:
            made.keep(logins.open_login(connection, user, "127.0.0.1", "test", database.clock(connection)))
    return made


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """A factory of host applications with bgapp mounted under /jobs; options of BackgroundJobs by keyword."""
    made: list[Flask] = []

    def make(app: Flask | None = None, **options: Any) -> Flask:
        if app is None:
            app = Flask("shop", instance_path=str(tmp_path / f"shop{len(made)}"))
            app.config["SECRET_KEY"] = "a key of the host's own"
        app.config["BGAPP_ALLOWED_JOBS"] = ["tests.jobcode.Work"]
        BackgroundJobs(app, **options)
        made.append(app)
        return app

    yield make
    for app in made:
        of(app).database.dispose()
        of(app).events.close()
