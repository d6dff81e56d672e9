"""Load the application and its job classes once, so that every runner and child forked from here has them."""

from __future__ import annotations

import gc
import os
import sys
import traceback

from flask import Flask
from flask.cli import ScriptInfo
from sqlalchemy import Engine

from bgapp import database, parameters, system
from bgapp.errors import BgappError, ConfigurationError, JobRejected
from bgapp.handover import APP, DEFAULT_APP, IN_RUNNER, PYTHONPATH
from bgapp.runtime import Runtime, of


def restore_environment() -> None:
    """Give job code the PYTHONPATH that the application had, and mark this process as the runner's side."""
    original = os.environ.pop(PYTHONPATH, None)
    if original is not None:
        os.environ["PYTHONPATH"] = original
        if not original:
            del os.environ["PYTHONPATH"]
    os.environ[IN_RUNNER] = "1"


def load_application() -> Flask:
    """Import the application that `BGAPP_APP` names. Raises ConfigurationError with the reason."""
    target = os.environ.get(APP) or DEFAULT_APP
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        app = ScriptInfo(app_import_path=target, set_debug_flag=False).load_app()
    except BgappError:
        raise
    except Exception as error:  # an application's import may raise anything
        traceback.print_exc()
        raise ConfigurationError(
            f"the application {target!r} (setting BGAPP_APP) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    of(app)
    return app


def import_job_classes(runtime: Runtime) -> list[str]:
    """Import every allow-listed class and read its methods' signatures and hints; return what is wrong, in words.

    What is read here once, every child has for nothing. A failure is no reason to stop: the job itself tells it
    again, where its owner reads it.
    """
    for allowed in runtime.allowlist.entries():
        try:
            found = runtime.allowlist.function(runtime.allowlist.allowed(allowed.class_key, allowed.method))
            parameters.describe(found.cls, allowed.method)
        except JobRejected:
            continue
    return runtime.allowlist.problems()


def close_connections() -> None:
    """Dispose of every SQLAlchemy engine in this process, whoever made it: no connection may cross a fork."""
    database.dispose_all()
    for candidate in gc.get_objects():
        if issubclass(type(candidate), Engine):
            candidate.dispose()


def can_fork(runtime: Runtime) -> bool:
    """Return whether children may be forked from this process, by the setting and by its threads."""
    if runtime.settings.start_method != "auto":
        return runtime.settings.start_method == "fork" and system.CAN_FORK
    return system.CAN_FORK and system.thread_count() == 1
