"""Who would run a job now: an application process that leads, or a runner that still lives. Nothing is started here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from flask.cli import ScriptInfo
from sqlalchemy import Row

from bgapp import node as nodes
from bgapp import queries
from bgapp.models import Status
from bgapp.node import Node
from bgapp.runtime import Runtime

SILENT = timedelta(seconds=30)  # a leader says every 5 s that it lives


def living(instance: Path) -> list[Node]:
    """Return the nodes of this instance that have processes."""
    return [node for node in nodes.each(instance) if not node.is_dead()]


def has_leader(runtime: Runtime) -> bool:
    """Return whether an application process leads in this instance, or on a machine that shares its PostgreSQL."""
    if any(node.has_leader() for node in nodes.each(runtime.settings.instance)):
        return True
    return any(one.lives for one in elsewhere(runtime))


@dataclass(frozen=True)
class Elsewhere:
    """A node of another instance folder, most likely on another machine, as the database shows it."""

    node: str
    hostname: str
    silent_for: timedelta
    running: Sequence[Row[Any]]  # its running jobs

    @property
    def lives(self) -> bool:
        """Whether its leader has been heard of lately."""
        return self.silent_for < SILENT


def elsewhere(runtime: Runtime) -> list[Elsewhere]:
    """Return the nodes that share this PostgreSQL and are heard of, or run jobs, but are not of this instance."""
    if runtime.database.is_sqlite:
        return []
    here = {node.id for node in nodes.each(runtime.settings.instance)}
    with runtime.database.read() as connection:
        now = runtime.database.clock(connection)
        rows = [row for row in queries.nodes(connection) if row.id not in here]
        found = [
            Elsewhere(row.id, row.hostname, now - row.seen_at, queries.running(connection, row.id)) for row in rows
        ]
    return [one for one in found if one.lives or one.running]


def has_runner(runtime: Runtime) -> bool:
    """Return whether a runner lives; it takes what is due when its job has ended."""
    return any(node.held_slots(runtime.settings.max_running) for node in nodes.each(runtime.settings.instance))


def warn_if_alone(runtime: Runtime, row: Row[Any]) -> None:
    """Say on standard error that a job waits until an application process starts, where that is so."""
    soon = row.status == Status.PENDING and has_runner(runtime)
    if row.status in (Status.PENDING, Status.SCHEDULED) and not soon and not has_leader(runtime):
        click.echo(
            f"No application process runs here: job {row.id} is stored and waits until one starts ({how_to_start()}).",
            err=True,
        )


def how_to_start() -> str:
    """Return the command that starts an application process."""
    context = click.get_current_context(silent=True)
    info = context.find_object(ScriptInfo) if context else None
    path = info.app_import_path if info else None
    return f"flask --app {shlex.quote(path)} run" if path else "flask run"
