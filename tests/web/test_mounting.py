"""bgapp in somebody else's application: closed until it is opened, and nothing of theirs is changed."""

from __future__ import annotations

import re
import sqlite3.dbapi2
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Blueprint, Flask, abort, redirect, session
from flask_login import LoginManager, UserMixin, login_user
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from sqlalchemy import inspect

import bgapp
from bgapp import BackgroundJobs, run_background_job
from bgapp.errors import ConfigurationError
from bgapp.models import Status
from bgapp.runtime import of
from bgapp.web.access import Permission, Role, Viewer
from bgapp.web.blueprint import PAGES
from tests import factories
from tests.web.conftest import Browser
from tests.web.support import places, route_of, state

MakeHost = Callable[..., Flask]


def ready(app: Flask) -> Flask:
    of(app).ready()
    return app


# Who may enter -----------------------------------------------------------------------------------------------------


def test_the_dashboard_is_closed_until_the_application_says_who_may_enter(make_host: MakeHost) -> None:
    browser = Browser(ready(make_host()))
    for path in ("/jobs/", "/jobs/jobs", "/jobs/jobs/1", "/jobs/jobs/new"):
        answer = browser.get(path)
        assert answer.status_code == 403
        assert "access=" in answer.text, "it says how to open it"
        assert browser.get(path, headers={"Accept": "application/json"}).status_code == 401
    assert browser.send("/jobs/jobs/1/delete", {}).status_code == 403
    assert browser.get("/jobs/health/live").text == "ok\n"
    assert browser.get("/jobs/static/app.css").status_code == 200


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (None, 403),
        ("viewer", 200),
        ("operator", 200),
        (Role.ADMIN, 200),
        (Viewer("ann", Role.VIEWER), 200),
        ("owner", 403),
        ("", 403),
        (True, 403),
        (1, 403),
        ({}, 403),
        (["admin"], 403),
        ("ADMIN", 403),
    ],
)
def test_access_says_who_is_asking(make_host: MakeHost, answer: Any, status: int) -> None:
    app = ready(make_host(access=lambda: answer))
    assert Browser(app).get("/jobs/").status_code == status


def test_nobody_is_told_to_sign_in_to_the_application(make_host: MakeHost) -> None:
    answer = Browser(ready(make_host(access=lambda: None))).get("/jobs/")
    assert "Sign in to the application" in answer.text
    assert "access=" not in answer.text


def test_access_may_lead_to_the_applications_own_login_page(make_host: MakeHost) -> None:
    def by_returning() -> Any:
        return redirect("/in")

    def by_aborting() -> Any:
        abort(redirect("/in"))

    for access in (by_returning, by_aborting):
        app = ready(make_host(access=access))
        assert Browser(app).get("/jobs/").location == "/in"
        assert Browser(app).send("/jobs/jobs/1/cancel", {}).location == "/in"


def instance(folder: str) -> dict[str, str]:
    return {"BGAPP_INSTANCE": folder}


@pytest.mark.parametrize("code", [401, 403, 404])
def test_access_may_abort_by_itself(make_host: MakeHost, code: int) -> None:
    answer = Browser(ready(make_host(access=lambda: abort(code)))).get("/jobs/")
    assert answer.status_code == code
    assert "<h1>" in answer.text


def test_access_may_raise_what_the_application_handles(make_host: MakeHost) -> None:
    class MustPay(Exception):
        pass

    def access() -> str:
        raise MustPay

    app = make_host(access=access)
    app.register_error_handler(MustPay, lambda error: ("pay first", 402))
    assert Browser(ready(app)).get("/jobs/").text == "pay first"


def test_access_is_asked_once_a_request_and_not_for_public_addresses(make_host: MakeHost) -> None:
    asked: list[int] = []

    def access() -> str:
        asked.append(1)
        return "admin"

    browser = Browser(ready(make_host(access=access)))
    browser.get("/jobs/")
    assert len(asked) == 1
    for path in ("/jobs/health/live", "/jobs/health/ready", "/jobs/static/app.css"):
        browser.get(path)
    assert len(asked) == 1


@pytest.mark.parametrize("role", [None, "viewer", "operator", "admin"])
def test_x31_each_address_opens_for_the_roles_that_may(make_host: MakeHost, role: str | None) -> None:
    app = ready(make_host(access=lambda: role))
    who = Viewer("someone", Role(role)) if role else None
    values = furnish_mounted(app)
    before = state(of(app).database)
    for place in places(app, values):
        answer = Browser(app).client.open(place.path, method=place.route.methods[0], buffered=True)
        may = place.route.permission is Permission.PUBLIC or (who is not None and who.may(place.route.permission))
        assert (answer.status_code == 403) != may, (place.label, answer.status)
    assert state(of(app).database) == before, "without the token nothing changes"


def furnish_mounted(app: Flask) -> dict[str, Any]:
    with of(app).database.write() as connection:
        job = factories.insert_job(connection, Status.FAILED, error="ValueError: no", reason="error")
    return {"job_id": job, "filename": "app.css"}


def test_what_a_user_does_is_noted_under_the_applications_name_for_them(make_host: MakeHost) -> None:
    app = ready(make_host(access=lambda: Viewer("ann@shop", Role.ADMIN)))
    with of(app).database.write() as connection:
        job = factories.insert_job(connection, Status.PENDING)
    browser = Browser(app)
    page = f"/jobs/jobs/{job}/cancel"
    assert browser.send(page, {"csrf_token": browser.token(page)}).status_code == 303
    assert factories.row(of(app).database, job).cancelled_by == "ann@shop"


class Member(UserMixin):  # type: ignore[misc] # Flask-Login has no types
    def __init__(self, name: str) -> None:
        self.id = name


def test_the_applications_own_login_is_used_and_stays_as_it_is(make_host: MakeHost, tmp_path: Path) -> None:
    from flask_login import current_user

    app = Flask("shop")
    app.secret_key = "the host's"
    manager = LoginManager(app)
    manager.user_loader(Member)
    app.add_url_rule("/in/<name>", "in", lambda name: str(login_user(Member(name))))
    asked_after = (vars(app)["login_manager"], manager.login_view, manager._request_callback, app.session_interface)
    make_host(
        app, access=lambda: "operator" if current_user.is_authenticated else None, overrides=instance(str(tmp_path))
    )
    ready(app)
    assert (
        vars(app)["login_manager"],
        manager.login_view,
        manager._request_callback,
        app.session_interface,
    ) == asked_after
    browser = Browser(app)
    assert browser.get("/jobs/").status_code == 403
    browser.get("/in/ann")
    page = browser.get("/jobs/")
    assert page.status_code == 200
    assert "ann" in page.text
    assert "/users" not in page.text
    assert "Sign out" not in page.text


# Nothing of the host's is changed ------------------------------------------------------------------------------------


def furnished_host() -> Flask:
    """Return an application with something of everything."""
    app = Flask("shop")
    app.config.update(SECRET_KEY="the host's", MAX_CONTENT_LENGTH=7_000_000)
    app.jinja_env.globals["shop"] = "the host's"
    app.add_url_rule("/", "home", lambda: "home")
    app.add_url_rule("/big", "big", lambda: str(len(__import__("flask").request.get_data())), methods=["POST"])
    app.add_url_rule("/fault", "fault", lambda: str(1 / 0))
    app.register_error_handler(404, lambda error: ("the host's 404", 404))
    app.register_error_handler(403, lambda error: ("the host's 403", 403))
    app.register_error_handler(500, lambda error: ("the host's 500", 500))
    app.register_blueprint(Blueprint("users", __name__))
    app.cli.add_command(click.Command("run-job", help="the host's"))
    app.cli.add_command(click.Command("users", help="the host's"))
    return app


def test_nothing_of_the_host_is_overwritten(make_host: MakeHost, tmp_path: Path) -> None:
    app = furnished_host()
    kept = ("session_interface", "json", "request_class", "response_class", "url_build_error_handlers")
    before = {name: getattr(app, name) for name in kept}
    config = dict(app.config)
    rules = {rule.rule: rule.endpoint for rule in app.url_map.iter_rules()}
    globals_before = dict(app.jinja_env.globals)
    functions = {name: len(getattr(app, name).get(None, ())) for name in HOOKS}
    commands = {name: app.cli.commands[name] for name in app.cli.commands}
    make_host(app, access=lambda: "viewer", overrides=instance(str(tmp_path / "i")))
    assert {name: getattr(app, name) for name in kept} == before
    assert dict(app.config) == {**config, "BGAPP_ALLOWED_JOBS": ["tests.jobcode.Work"]}
    assert {rule.rule: rule.endpoint for rule in app.url_map.iter_rules() if route_of(app, rule) is None} == rules
    assert set(app.jinja_env.globals) - set(globals_before) == {"bgapp"}
    assert all(app.jinja_env.globals[name] is value for name, value in globals_before.items())
    assert {name: len(getattr(app, name).get(None, ())) for name in HOOKS} == functions
    assert {name: app.cli.commands[name] for name in commands} == commands
    assert set(app.cli.commands) - set(commands) == {"bgapp"}
    assert not hasattr(app, "login_manager")
    assert "csrf" not in app.extensions


HOOKS = (
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "url_value_preprocessors",
    "url_default_functions",
)


def test_the_hosts_own_pages_answer_as_before(make_host: MakeHost, tmp_path: Path) -> None:
    app = furnished_host()
    make_host(app, access=lambda: "viewer", overrides=instance(str(tmp_path / "i")))
    client = Browser(ready(app)).client
    assert client.get("/").text == "home"
    assert "Content-Security-Policy" not in client.get("/").headers
    assert "Cache-Control" not in client.get("/").headers
    assert client.post("/big", data=b"x" * 2_000_000).text == "2000000"
    assert client.post("/big", data=b"x", headers={"Origin": "https://evil.example"}).text == "1"
    assert client.get("/none").text == "the host's 404"
    assert client.get("/jobs/none").text == "the host's 404"
    assert client.get("/fault").text == "the host's 500"
    assert client.options("/").status_code == 200
    assert "<h1>" in client.get("/jobs/jobs/99").text, "within its pages, bgapp's own"
    assert (
        client.post("/jobs/theme", data=b"x" * 2_000_000, content_type="application/x-www-form-urlencoded").status_code
        == 413
    )


def test_the_host_is_not_told_to_be_https_for_ever(make_host: MakeHost) -> None:
    app = ready(make_host(access=lambda: "viewer"))
    assert "Strict-Transport-Security" not in app.test_client().get("/jobs/", base_url="https://localhost").headers


def test_the_hosts_templates_win_only_by_the_same_name(make_host: MakeHost, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "base.html").write_text("the host's base")
    app = Flask("shop", template_folder=str(tmp_path / "templates"))
    make_host(app, access=lambda: "viewer", overrides=instance(str(tmp_path / "i")))
    assert "the host's base" not in Browser(ready(app)).get("/jobs/").text
    with app.app_context():
        assert app.jinja_env.get_template("base.html").render() == "the host's base"


def test_the_hosts_session_keeps_what_is_in_it(make_host: MakeHost) -> None:
    app = make_host(access=lambda: "admin")
    app.add_url_rule("/put", "put", lambda: session.update(cart=[1, 2]) or "ok")
    app.add_url_rule("/look", "look", lambda: str(session.get("cart")))
    browser = Browser(ready(app))
    browser.get("/put")
    browser.send("/jobs/theme", {"csrf_token": browser.token("/jobs/"), "theme": "dark"})
    assert browser.get("/look").text == "[1, 2]"


# The host's CSRF protection, or ours ---------------------------------------------------------------------------------


def test_without_protection_of_the_hosts_ours_guards_our_forms_alone(make_host: MakeHost) -> None:
    app = make_host(access=lambda: "admin")
    app.add_url_rule("/own", "own", lambda: "done", methods=["POST"])
    browser = Browser(ready(app))
    assert browser.send("/own", {}).text == "done"
    assert browser.send("/jobs/theme", {"theme": "dark"}).status_code == 400
    assert browser.send("/jobs/theme", {"theme": "dark", "csrf_token": browser.token("/jobs/")}).status_code == 303


@pytest.mark.parametrize(
    "config",
    [{}, {"WTF_CSRF_CHECK_DEFAULT": False}, {"WTF_CSRF_FIELD_NAME": "its_token"}, {"WTF_CSRF_TIME_LIMIT": None}],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_the_hosts_protection_is_used_where_there_is_one(
    make_host: MakeHost, tmp_path: Path, config: dict[str, Any], is_late: bool
) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY="the host's", **config)
    if not is_late:
        protection = CSRFProtect(app)
    make_host(app, access=lambda: "admin", overrides=instance(str(tmp_path / "i")))
    if is_late:
        protection = CSRFProtect(app)
    assert app.extensions["csrf"] is protection
    browser = Browser(ready(app))
    name = config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
    found = re.search(rf'name="{name}" value="([^"]+)"', browser.get("/jobs/").text)
    assert found
    old = browser.send("/jobs/theme", {"theme": "dark", name: "old"}, headers={"Sec-Fetch-Site": "same-origin"})
    assert old.status_code == 400
    assert "Send the form again" in old.text
    assert browser.send("/jobs/theme", {"theme": "dark", name: found[1]}).status_code == 303
    evil = browser.send("/jobs/theme", {"theme": "dark", name: found[1]}, headers={"Origin": "https://evil.example"})
    assert evil.status_code == 403


def test_without_a_secret_key_the_page_fails_with_a_number_and_the_log_says_why(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    app = ready(make_host(access=lambda: "admin"))
    app.config["SECRET_KEY"] = None
    browser = Browser(app)
    for answer in (browser.get("/jobs/"), browser.send("/jobs/theme", {"theme": "dark"})):
        assert answer.status_code == 500
        number = re.search(r">([A-Z2-9]{8})<", answer.text)
        assert number
        assert f"reference {number[1]}" in caplog.text
    assert "SECRET_KEY" in caplog.text


# Registering -------------------------------------------------------------------------------------------------------


def test_it_works_in_a_factory_and_in_two_applications_at_once(make_host: MakeHost, tmp_path: Path) -> None:
    jobs = BackgroundJobs(access=lambda: "viewer", url_prefix="/background")
    apps = []
    for name in ("one", "two"):
        app = Flask(name)
        app.config.update(SECRET_KEY=name, BGAPP_ALLOWED_JOBS=["tests.jobcode.Work"])
        jobs.init_app(app, overrides=instance(str(tmp_path / name)))
        apps.append(ready(app))
    try:
        with apps[0].app_context():
            run_background_job("tests.jobcode.Work", "add", [1, 2])
        first, second = (Browser(app).get("/background/jobs").text for app in apps)
        assert "Work.add" in first
        assert "Work.add" not in second
        assert not any(isinstance(value, Flask) for value in vars(jobs).values())
    finally:
        for app in apps:
            of(app).database.dispose()
            of(app).events.close()


def test_what_init_app_is_given_wins(tmp_path: Path) -> None:
    jobs = BackgroundJobs(access=lambda: None, url_prefix="/a")
    app = Flask("shop")
    app.secret_key = "x"
    jobs.init_app(app, access=lambda: "viewer", url_prefix="/b", overrides=instance(str(tmp_path)))
    ready(app)
    assert Browser(app).get("/b/").status_code == 200
    assert Browser(app).get("/a/").status_code == 404
    of(app).database.dispose()
    of(app).events.close()


def test_a_second_registration_is_refused(make_host: MakeHost) -> None:
    app = make_host()
    with pytest.raises(ConfigurationError, match="register it once"):
        BackgroundJobs(app)


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="acces"):
        BackgroundJobs(Flask("shop"), acces=lambda: "viewer")


@pytest.mark.parametrize("prefix", ["jobs", "", "/jobs/", 5, "jobs/"])
def test_a_prefix_that_is_no_path_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="url_prefix"):
        BackgroundJobs(Flask("shop"), url_prefix=prefix)


def test_what_is_no_function_is_refused_as_access() -> None:
    with pytest.raises(ConfigurationError, match="access"):
        BackgroundJobs(Flask("shop"), access="admin")  # type: ignore[arg-type] # that is the point


def test_a_prefix_that_the_host_uses_itself_is_refused() -> None:
    app = Flask("shop")
    app.add_url_rule("/jobs/jobs", "vacancies", lambda: "we are hiring")
    with pytest.raises(ConfigurationError, match="/jobs/jobs already"):
        BackgroundJobs(app)


def test_a_blueprint_of_the_same_name_is_refused() -> None:
    app = Flask("shop")
    app.register_blueprint(Blueprint("bgapp", __name__))
    with pytest.raises(ConfigurationError, match="blueprint"):
        BackgroundJobs(app)


def test_the_dashboard_can_be_left_out(make_host: MakeHost) -> None:
    app = ready(make_host(url_prefix=None))
    assert [rule.rule for rule in app.url_map.iter_rules()] == ["/static/<path:filename>"]
    with app.app_context():
        assert run_background_job("tests.jobcode.Work", "add", [1, 2]).status == "pending"


def test_mounted_there_are_no_accounts_of_bgapps_own(make_host: MakeHost) -> None:
    app = make_host()
    found = {route for rule in app.url_map.iter_rules() if (route := route_of(app, rule)) is not None}
    assert found == set(PAGES)


def test_it_works_below_the_prefix_of_a_proxy(make_host: MakeHost) -> None:
    app = ready(make_host(access=lambda: "admin"))
    page = app.test_client().get("/jobs/", base_url="http://localhost/intern").text
    targets = set(re.findall(r'(?:href|src|action)="([^"#]+)', page))
    assert targets
    assert all(target.startswith(("/intern/", "?")) for target in targets), targets


# The host's database -------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(make_host: MakeHost, tmp_path: Path) -> Flask:
    """A host with a database of its own, on Python's own SQLite, and one model."""
    app = Flask("shop", instance_path=str(tmp_path / "shop"))
    (tmp_path / "shop").mkdir(mode=0o700)
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite:///shop.sqlite", SECRET_KEY="x")
    database = SQLAlchemy(app)

    class Order(database.Model):  # type: ignore[name-defined,misc] # its base is made at run time
        id = database.Column(database.Integer, primary_key=True)
        note = database.Column(database.Text)

    make_host(app, access=lambda: "admin")
    with app.app_context():
        database.create_all()
    ready(app)
    return app


def test_the_hosts_database_is_used_through_the_same_sqlite_library(shop: Flask, tmp_path: Path) -> None:
    runtime = of(shop)
    assert runtime.settings.database_file == tmp_path / "shop" / "shop.sqlite"
    assert str(runtime.database.engine.dialect.dbapi) == str(sqlite3.dbapi2)
    with shop.app_context():
        assert shop.extensions["sqlalchemy"].engine.dialect.dbapi is runtime.database.engine.dialect.dbapi
        names = set(inspect(shop.extensions["sqlalchemy"].engine).get_table_names())
        shop.extensions["sqlalchemy"].engine.dispose()
    assert {"order", "bgapp_jobs", "bgapp_users"} <= names


def test_a_host_on_another_file_leaves_bgapp_its_own_sqlite_library(make_host: MakeHost, tmp_path: Path) -> None:
    from bgapp.sqlitelibrary import sqlite_library

    app = Flask("shop", instance_path=str(tmp_path / "shop"))
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'other.sqlite'}", SECRET_KEY="x")
    SQLAlchemy(app)
    make_host(app, overrides={"BGAPP_DATABASE_URL": "sqlite:///own.sqlite"})
    assert of(ready(app)).database.engine.dialect.dbapi is sqlite_library()


def test_the_hosts_migrations_pass_over_bgapps_tables(shop: Flask) -> None:
    """What `flask db migrate` would propose, with the recipe and without it."""
    database = shop.extensions["sqlalchemy"]
    with shop.app_context(), database.engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE demo_people (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE forgotten (id INTEGER PRIMARY KEY)")
        proposed = {
            recipe: {
                change[1].name
                for change in compare_metadata(
                    MigrationContext.configure(connection, opts={"include_object": recipe} if recipe else {}),
                    database.metadata,
                )
                if change[0] == "remove_table"
            }
            for recipe in (None, bgapp.include_object)
        }
        connection.rollback()
    with shop.app_context():
        database.engine.dispose()
    assert {"bgapp_jobs", "bgapp_schema_version", "demo_people", "forgotten"} <= proposed[None]
    assert proposed[bgapp.include_object] == {"forgotten"}
