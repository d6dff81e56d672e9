"""The whole URL table: every path, its view, what it demands; and the blueprint made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, cast

from flask import Blueprint, Flask
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from bgapp import assets
from bgapp.errors import BgappError
from bgapp.runtime import current
from bgapp.web import (
    access,
    account,
    auth,
    csrf,
    errors,
    filters,
    headers,
    health,
    inputs,
    jobs,
    logs,
    overview,
    run,
    setup,
    static,
    users,
)
from bgapp.web.access import Permission

NAME = "bgapp"


@dataclass(frozen=True)
class Route:
    """One line of the table: its path may hold `<bgapp_id:NAME>`, a whole number above 0. POST changes something.

    `fields` names what the form may send beside the token; one that ends in `*` stands for every name that
    begins so; None where the view itself looks for strange ones. `repeats` names those of form and address that
    may come more than once. `in_read_only` marks a write that concerns only the visitor's own session.
    """

    path: str
    view: Callable[..., Any]
    permission: Permission
    methods: tuple[str, ...] = ("GET",)
    fields: tuple[str, ...] | None = ()
    repeats: tuple[str, ...] = ()
    in_read_only: bool = False
    name: str = ""  # of the endpoint, where it is not the module's and the function's

    @property
    def endpoint(self) -> str:
        return self.name or f"{self.view.__module__.rpartition('.')[2]}_{self.view.__name__}"

    @property
    def writes(self) -> bool:
        return "POST" in self.methods


SEE, RUN, MANAGE, PUBLIC = Permission.SEE, Permission.RUN, Permission.MANAGE, Permission.PUBLIC
POST = ("POST",)

PAGES = (
    Route("/", overview.page, SEE),
    Route("/theme", overview.theme, SEE, POST, fields=("theme",), in_read_only=True),
    Route("/jobs", jobs.index, SEE),
    Route("/jobs/new", run.form, RUN),
    Route("/jobs/new", run.submit, RUN, POST, fields=None),
    Route("/jobs/<bgapp_id:job_id>", jobs.detail, SEE),
    Route("/jobs/<bgapp_id:job_id>/cancel", jobs.confirm_cancel, RUN),
    Route("/jobs/<bgapp_id:job_id>/cancel", jobs.cancel, RUN, POST),
    Route("/jobs/<bgapp_id:job_id>/retry", jobs.retry, RUN, POST),
    Route("/jobs/<bgapp_id:job_id>/delete", jobs.confirm_delete, MANAGE),
    Route("/jobs/<bgapp_id:job_id>/delete", jobs.delete, MANAGE, POST),
    Route("/jobs/<bgapp_id:job_id>/log", logs.page, SEE),
    Route("/jobs/<bgapp_id:job_id>/log/tail", logs.tail, SEE),
    Route("/jobs/<bgapp_id:job_id>/log/download", logs.download, SEE),
    Route("/health/live", health.live, PUBLIC),
    Route("/health/ready", health.ready, PUBLIC),
    Route("/static/<path:filename>", static.serve, PUBLIC, name="static"),
)

NEW_ACCOUNT = ("name", "password", "again")

# What the stand-alone application has besides: users of its own.
ACCOUNTS = (
    Route("/setup", setup.form, PUBLIC),
    Route("/setup", setup.create, PUBLIC, POST, fields=("code", *NEW_ACCOUNT)),
    Route("/login", auth.form, PUBLIC),
    Route("/login", auth.login, PUBLIC, POST, fields=("name", "password"), in_read_only=True),
    Route("/logout", auth.logout, PUBLIC, POST, in_read_only=True),
    Route("/invitation/<code>", auth.invitation, PUBLIC),
    Route("/invitation/<code>", auth.accept, PUBLIC, POST, fields=NEW_ACCOUNT),
    Route("/register", auth.registration, PUBLIC),
    Route("/register", auth.register, PUBLIC, POST, fields=NEW_ACCOUNT),
    Route("/account", account.page, SEE),
    Route("/account/password", account.password, SEE, POST, fields=("old", "new", "again")),
    Route("/account/logins/end", account.end_login, SEE, POST, fields=("key",), in_read_only=True),
    Route("/account/logins/end-others", account.end_others, SEE, POST, in_read_only=True),
    Route("/users", users.index, MANAGE),
    Route("/users/invite", users.invite, MANAGE, POST, fields=("role",)),
    Route("/users/invitations/<bgapp_id:invitation_id>/withdraw", users.withdraw, MANAGE, POST),
    Route("/users/<bgapp_id:user_id>", users.detail, MANAGE),
    Route("/users/<bgapp_id:user_id>/role", users.role, MANAGE, POST, fields=("role",)),
    Route("/users/<bgapp_id:user_id>/disable", users.disable, MANAGE, POST),
    Route("/users/<bgapp_id:user_id>/enable", users.enable, MANAGE, POST),
    Route("/users/<bgapp_id:user_id>/logins/end", users.end_logins, MANAGE, POST),
)


class IdConverter(BaseConverter):
    """A row's number in a path: ASCII digits, above 0, within what both databases can hold."""

    regex = "[1-9][0-9]{0,17}"

    def to_python(self, value: str) -> int:
        return int(value)


def make(routes: tuple[Route, ...] = PAGES) -> Blueprint:
    """Return the blueprint with these routes, every one behind the gate. Raises ConfigurationError."""
    blueprint = Blueprint(NAME, __name__, template_folder=assets.templates())
    blueprint.record_once(_prepare)
    # The page at the address of a write is its form, which read-only mode shuts as well.
    writing = {route.path for route in routes if route.writes and not route.in_read_only}
    for route in routes:
        blueprint.add_url_rule(
            route.path,
            endpoint=route.endpoint,
            view_func=_gated(route, writes=route.path in writing),
            methods=list(route.methods),
            provide_automatic_options=False,  # it would answer without the gate
        )
    # The first thing that runs in a request, before any `before_request` of the host's that reads the body.
    blueprint.url_value_preprocessor(_look_first)
    blueprint.url_defaults(static.add_version)
    blueprint.after_request(headers.add)
    errors.register(blueprint)
    return blueprint


def _prepare(state: BlueprintSetupState) -> None:
    """Give the application what routes and templates need, under names of bgapp's own."""
    state.app.url_map.converters["bgapp_id"] = IdConverter
    filters.register(cast(Flask, state.app))


def _look_first(endpoint: str | None, values: dict[str, Any] | None) -> None:
    inputs.limit_body()
    csrf.check_origin()


def _gated(route: Route, *, writes: bool) -> Callable[..., Any]:
    @wraps(route.view)
    def view(**values: Any) -> Any:
        if route.permission is not Permission.PUBLIC:
            current().ready()
        access.check(route.permission, writes=writes)
        if route.writes:
            csrf.check_token()
            inputs.check_fields(route.fields, csrf.field(), route.repeats)
        inputs.check_query(route.repeats)
        try:
            return route.view(**values)
        except (HTTPException, BgappError):
            raise
        except Exception as error:  # only to give it the number that the error page shows
            errors.mark(error)
            raise

    view.bgapp_route = route  # type: ignore[attr-defined] # a test walks the URL map by it
    return view
