"""BackgroundJobs: bind bgapp to a Flask application; and `start`, which marks it as one whose clock may tick."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from flask import Flask, request_started
from flask.helpers import get_debug_flag

from bgapp import cli, scheduler
from bgapp.allowlist import AllowList
from bgapp.errors import ConfigurationError
from bgapp.handover import IN_RUNNER
from bgapp.runtime import EXTENSION, Runtime
from bgapp.settings import load

STARTED = "bgapp_started"
AFTER_LOADING = 0.2  # seconds: under `flask run` the application's own import is still going on


class BackgroundJobs:
    """Gives an application background jobs; keeps no application on itself.

    Reads every setting that begins with `BGAPP_`. The application's own Flask-SQLAlchemy database is used where
    `BGAPP_DATABASE_URL` names no other, so register that first.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        self._options = options
        if app is not None:
            self.init_app(app, **options)

    def init_app(
        self, app: Flask, *, overrides: Mapping[str, Any] | None = None, mounted: bool = True, dbapi: Any = None
    ) -> None:
        """Bind to `app`. Raises ConfigurationError for a bad setting or a second registration."""
        if EXTENSION in app.extensions:
            raise ConfigurationError(f"the application {app.name!r} has bgapp already: register it once")
        config = dict(app.config)
        own = _database_of(app)
        if own is not None and not config.get("BGAPP_DATABASE_URL"):
            config["BGAPP_DATABASE_URL"] = own
        settings = load(
            Path(app.instance_path),
            overrides=overrides,
            config={name: value for name, value in config.items() if name.startswith("BGAPP_")},
            environ=os.environ,
            dotenv=Path.cwd() / ".env",
        )
        for warning in settings.warnings:
            app.logger.warning("bgapp: %s", warning)
        app.extensions[EXTENSION] = Runtime(settings, AllowList.from_setting(settings.allowed_jobs), dbapi)
        cli.register(app, mounted=mounted)


def _database_of(app: Flask) -> str | None:
    """Return the URL of the application's own database, None where it has none."""
    own = app.extensions.get("sqlalchemy")
    if own is None:
        return None
    with app.app_context():
        engine = getattr(own, "engines", {}).get(None)
    return None if engine is None else str(engine.url.render_as_string(hide_password=False))


def start(app: Flask) -> None:
    """Mark the application as one that is served: its clock starts in `flask run`, or at a server's first request.

    Starts nothing at import, in other commands, in a runner, or in the reloader's parent; a server without a
    request yet has no clock, so a server's start hook may call `start_clock(app)` itself.
    Raises ConfigurationError when called twice or before `BackgroundJobs`.
    """
    if EXTENSION not in app.extensions:
        raise ConfigurationError("start(app) comes after BackgroundJobs(app)")
    if app.extensions.get(STARTED):
        raise ConfigurationError(f"start(app) was called already for {app.name!r}")
    app.extensions[STARTED] = True
    if os.environ.get(IN_RUNNER):
        return

    def at_first_request(sender: Flask, **_: object) -> None:
        if scheduler.clock_of(sender) is None:
            scheduler.start_clock(sender)

    request_started.connect(at_first_request, app, weak=False)
    if _is_serving_command():
        scheduler.start_clock(app, after=AFTER_LOADING)


def _is_serving_command() -> bool:
    """Return whether this is `flask run`, and not the reloader's parent, which serves nothing itself."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run" or context.parent is None:
        return False
    reload = context.params.get("reload")
    reloads = get_debug_flag() if reload is None else reload
    return not reloads or os.environ.get("WERKZEUG_RUN_MAIN") == "true"
