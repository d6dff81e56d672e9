"""What one application's bgapp is made of: settings, allow-list, database, log files, node.

Kept in `app.extensions["bgapp"]`; nothing of it is global, so that two applications can live in one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from types import ModuleType

from flask import Flask, current_app

from bgapp import clock, parameters, queries, repeat, schema
from bgapp.allowlist import AllowList
from bgapp.database import Database
from bgapp.errors import ConfigurationError, JobRejected, shown
from bgapp.eventlog import EventLog, Line
from bgapp.folders import prepare_folders
from bgapp.node import Node
from bgapp.records import Change
from bgapp.settings import Settings

EXTENSION = "bgapp"


class Runtime:
    """One application's bgapp."""

    def __init__(self, settings: Settings, allowlist: AllowList, dbapi: ModuleType | None = None) -> None:
        self.settings = settings
        self.allowlist = allowlist
        self.dbapi = dbapi
        self.database = self.open_database()
        self.events = EventLog(settings.log_dir, settings.log_format, settings.secret_keys)
        self._ready_in: int | None = None

    def open_database(self, *, wait: float | None = None, connections: int = 5) -> Database:
        """Return a new way into the same database; `wait` in seconds, see `Database`."""
        return Database(
            self.settings.database_url,
            sync=self.settings.sqlite_sync,
            wait=wait,
            dbapi=self.dbapi,
            connections=connections,
            accept=schema.require,
        )

    def ready(self) -> None:
        """Make folders and tables ready, once a process. Raises ConfigurationError, DatabaseUnavailable."""
        if not self.is_ready:
            prepare_folders(self.settings)
            repeat.until_done(self.database, lambda: schema.upgrade(self.database))
            self._ready_in = os.getpid()

    @property
    def is_ready(self) -> bool:
        """Whether this process has made folders and tables ready already."""
        return self._ready_in == os.getpid()

    @cached_property
    def node(self) -> Node:
        """This node; the process becomes a member of it. Raises ConfigurationError."""
        prepare_folders(self.settings)
        return Node.join(self.settings.instance)

    def tell(self, changes: Iterable[Change]) -> None:
        """Write committed changes to the log files."""
        for change in changes:
            self.events.write(
                Line(
                    title=change.title,
                    job_class=change.job_class,
                    method=change.method,
                    params=queries.stored(change.params),
                    at=clock.now(),
                    job=change.job,
                    attempt=change.attempt,
                    error=change.error,
                    level="error" if change.is_error else "info",
                    secret_names=queries.secret_names(change.secret_params),
                )
            )

    def tell_refusal(self, job_class: object, method: object, params: object, refusal: JobRejected) -> None:
        """Write one line about a refused call to the errors log; secrets given by position are masked too."""
        self.events.write(
            Line(
                title="Job rejected",
                job_class=_name(job_class),
                method=method if isinstance(method, str) else shown(method),
                params=self._masked(job_class, method, params),
                at=clock.now(),
                job=None,
                attempt=None,
                error=f"{refusal.kind}: {refusal}",
                level="error",
                secret_names=(),
            )
        )

    def _masked(self, job_class: object, method: object, params: object) -> object:
        """Return refused parameters with secrets masked, by the method's signature where class and method are known."""
        words = self.settings.secret_keys
        try:
            allowed = self.allowlist.allowed(self.allowlist.find(job_class), method)  # type: ignore[arg-type] # any value
            cls = self.allowlist.load(allowed.class_key)
        except JobRejected:
            return params
        return parameters.masked_as_given(cls, allowed.method, params, words)


def _name(job_class: object) -> str:
    if isinstance(job_class, type):
        return f"{job_class.__module__}.{job_class.__qualname__}"
    return job_class if isinstance(job_class, str) else shown(job_class)


def of(app: Flask) -> Runtime:
    """Return an application's bgapp. Raises ConfigurationError where it has none."""
    found = app.extensions.get(EXTENSION)
    if not isinstance(found, Runtime):
        raise ConfigurationError(
            f"the application {app.name!r} has no bgapp: call BackgroundJobs(app) or use bgapp.create_app()"
        )
    return found


def current() -> Runtime:
    """Return the bgapp of the current application. Raises ConfigurationError outside an application context."""
    if not current_app:
        raise ConfigurationError(
            "there is no current application: call this in a view, a command, or inside `with app.app_context():`"
        )
    return of(current_app._get_current_object())  # type: ignore[attr-defined] # LocalProxy
