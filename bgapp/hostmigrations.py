"""For a host application's own migrations: leave bgapp's tables to bgapp."""

from __future__ import annotations

from typing import Any

PREFIX = "bgapp_"
SAMPLES = ("demo_people", "demo_products", "demo_users")  # made by the sample jobs


def include_object(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Return whether Alembic's autogenerate should look at an object of the database: all but what bgapp made.

    For `Migrate(app, db, include_object=bgapp.include_object)`, or `context.configure(include_object=...)` in
    env.py. bgapp upgrades its tables itself, under a version table of its own; without this, autogenerate would
    find them in the database, miss them in your models, and propose to drop them.
    """
    table = name if kind == "table" else getattr(getattr(item, "table", None), "name", None)
    if table is None:
        return True
    is_unknown_to_models = reflected and compare_to is None
    return not (table.startswith(PREFIX) or (table in SAMPLES and is_unknown_to_models))
