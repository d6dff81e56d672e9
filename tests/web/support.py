"""Walking the URL table: a real address for every line, and the state of the whole database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import select
from werkzeug.routing import Rule

from bgapp import invitations
from bgapp.database import Database
from bgapp.models import Base, Status
from bgapp.runtime import of
from bgapp.web.blueprint import Route
from tests import factories


@dataclass(frozen=True)
class Place:
    """One line of the URL table with a real address."""

    path: str
    route: Route

    @property
    def label(self) -> str:
        return f"{self.route.methods[0]} {self.path}"


def furnish(app: Flask) -> dict[str, Any]:
    """Add a job and an invitation; return values for the parts of paths that name rows."""
    database = of(app).database
    with database.write() as connection:
        job = factories.insert_job(connection, Status.FAILED, error="ValueError: no", reason="error")
        code = invitations.invite(connection, "viewer", 1, database.clock(connection))
        open_ones = invitations.list_open(connection, database.clock(connection))
    return {
        "job_id": job,
        "user_id": 1,
        "invitation_id": open_ones[0].id,
        "code": code,
        "filename": "app.css",
    }


def route_of(app: Flask, rule: Rule) -> Route | None:
    """Return the line of the URL table behind a rule."""
    found: Route | None = getattr(app.view_functions[rule.endpoint], "bgapp_route", None)
    return found


def places(app: Flask, values: dict[str, Any], method: str | None = None) -> list[Place]:
    """Return every address of bgapp's in an application."""
    adapter = app.url_map.bind("localhost")
    found = []
    for rule in app.url_map.iter_rules():
        route = route_of(app, rule)
        if route is not None and (method is None or method in route.methods):
            found.append(Place(adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments}), route))
    return found


def state(database: Database) -> dict[str, list[Any]]:
    """Return all that every table holds, but for when logins and users were last seen."""
    with database.read() as connection:
        return {
            table.name: sorted(
                repr(tuple(value for name, value in row._mapping.items() if "seen_at" not in name))
                for row in connection.execute(select(table))
            )
            for table in Base.metadata.sorted_tables
        }
