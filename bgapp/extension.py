"""BackgroundJobs: bind bgapp to a Flask application; and `start`, which marks it as one whose clock may tick."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
from flask import Flask, request_started
from flask.helpers import get_debug_flag

from bgapp import cli, mounting
from bgapp.allowlist import AllowList
from bgapp.errors import BgappError, ConfigurationError
from bgapp.handover import IN_RUNNER
from bgapp.runtime import EXTENSION, Runtime
from bgapp.settings import Settings, load
from bgapp.sqlitelibrary import leave_checkpoints_to_bgapp

if TYPE_CHECKING:
    from bgapp.web.access import Access

STARTED = "bgapp_started"
AFTER_LOADING = 0.2  # seconds: under `flask run` the application's own import is still going on


class BackgroundJobs:
    """Gives an application background jobs and, under `url_prefix`, their dashboard; keeps no application on itself.

    `access` is called in a request of the dashboard's and says who is asking: "viewer", "operator" or "admin", a
    `bgapp.Viewer`, or None for nobody; it may redirect or abort by itself. Without it the dashboard is closed.
    `url_prefix=None` leaves the dashboard out.

    Reads every setting that begins with `BGAPP_`. The application's own Flask-SQLAlchemy database is used where
    `BGAPP_DATABASE_URL` names no other, so register that first. Options may be given here or to `init_app`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        access: Access | None = None,
        *,
        url_prefix: str | None = "/jobs",
        **options: Any,
    ) -> None:
        self._options = {"access": access, "url_prefix": url_prefix, **options}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, access: Access | None = None, **options: Any) -> None:
        """Bind to `app`. Raises ConfigurationError for a bad setting or option, or a second registration."""
        _bind(app, **{**self._options, **options, "access": access or self._options["access"]})


def _bind(
    app: Flask,
    *,
    access: Access | None,
    url_prefix: str | None,
    overrides: Mapping[str, Any] | None = None,
    mounted: bool = True,
) -> None:
    if EXTENSION in app.extensions:
        raise ConfigurationError(f"the application {app.name!r} has bgapp already: register it once")
    settings, library = _settings(app, overrides)
    for warning in settings.warnings:
        app.logger.warning("bgapp: %s", warning)
    if mounted:
        mounting.mount(app, access, url_prefix)
    else:
        mounting.stand_alone(app)
    app.extensions[EXTENSION] = Runtime(settings, AllowList.from_setting(settings.allowed_jobs), library)
    cli.register(app, mounted=mounted)


def _settings(app: Flask, overrides: Mapping[str, Any] | None) -> tuple[Settings, ModuleType | None]:
    """Return the settings, with the application's own database as default, and the SQLite library to use with it."""
    config = dict(app.config)
    engines = _engines_of(app)
    own = engines.get(None, engines.get("default"))
    if own is not None and not config.get("BGAPP_DATABASE_URL"):
        config["BGAPP_DATABASE_URL"] = own.url.render_as_string(hide_password=False)
    settings = load(
        Path(app.instance_path),
        overrides=overrides,
        config={name: value for name, value in config.items() if name.startswith("BGAPP_")},
        environ=os.environ,
        dotenv=Path.cwd() / ".env",
    )
    # Two SQLite libraries on one file in one process lose each other's locks, so the application's own is taken.
    on_our_file = [engine for engine in engines.values() if _is_on(engine, settings.database_file)]
    for engine in on_our_file:
        leave_checkpoints_to_bgapp(engine)
    library: ModuleType | None = next((engine.dialect.dbapi for engine in on_our_file), None)
    return settings, library


def _engines_of(app: Flask) -> Mapping[str | None, Any]:
    """Return the engines of the application's Flask-SQLAlchemy, or -Lite, by bind; none where it has neither."""
    own = app.extensions.get("sqlalchemy")
    if own is None:
        return {}
    with app.app_context():
        return dict(getattr(own, "engines", {}))


def _is_on(engine: Any, file: Path | None) -> bool:
    if file is None or engine.dialect.name != "sqlite" or not engine.url.database:
        return False
    same: bool = os.path.realpath(engine.url.database) == os.path.realpath(file)
    return same


def start(app: Flask) -> None:
    """Mark the application as one that is served: its clock starts in `flask run`, or at a server's first request.

    Starts nothing at import, in other commands, in a runner, or in the reloader's parent; a server without a
    request yet has no clock, so a server's start hook may call `start_clock(app)` itself.
    Raises ConfigurationError when called twice or before `BackgroundJobs`, and for what is not safe to serve.
    """
    if EXTENSION not in app.extensions:
        raise ConfigurationError("start(app) comes after BackgroundJobs(app)")
    if app.extensions.get(STARTED):
        raise ConfigurationError(f"start(app) was called already for {app.name!r}")
    app.extensions[STARTED] = True
    if os.environ.get(IN_RUNNER):
        return
    context = _serving_command()
    mounting.refuse_unsafe(app, None if context is None else context.params.get("host"))

    def at_first_request(sender: Flask, **_: object) -> None:
        _start_clock(sender)
        _announce(sender)

    request_started.connect(at_first_request, app, weak=False)
    if context is not None and not _is_reloaders_parent(context):
        _start_clock(app, after=AFTER_LOADING)
        _announce(app)


def _start_clock(app: Flask, after: float = 0.0) -> None:
    # Loaded by what serves alone: a command, a script and a runner do without APScheduler.
    from bgapp import scheduler

    if scheduler.clock_of(app) is None:
        scheduler.start_clock(app, after)


def _announce(app: Flask) -> None:
    """Tell how the first admin is made, where there is none."""
    from bgapp.web import setup

    try:
        setup.announce(app)
    except BgappError as error:  # the pages say it too
        app.logger.error("bgapp: no set-up code can be made: %s", error)


def _serving_command() -> click.Context | None:
    """Return the context of `flask run`, None in every other process."""
    context = click.get_current_context(silent=True)
    return context if context is not None and context.info_name == "run" and context.parent is not None else None


def _is_reloaders_parent(context: click.Context) -> bool:
    """Return whether this process only watches files, and serves nothing itself."""
    reload = context.params.get("reload")
    reloads = get_debug_flag() if reload is None else reload
    return reloads and os.environ.get("WERKZEUG_RUN_MAIN") != "true"
