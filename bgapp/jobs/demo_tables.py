"""The tables that the sample jobs fill: named `demo_...`, on metadata of their own, made when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import current_app
from sqlalchemy import Column, Date, Integer, MetaData, String, Table, Text, UniqueConstraint
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session

# Not the application's own metadata: its migrations need not know these tables.
metadata = MetaData()


def _imported(name: str, *columns: Column[Any]) -> Table:
    """Describe a table that CSV files are imported into: its own columns, and where each row came from."""
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        *columns,
        Column("imported_by", Text, nullable=False),
        Column("line", Integer, nullable=False),
        UniqueConstraint("imported_by", "line"),
    )


people = _imported(
    "demo_people",
    Column("email", String(254), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("born", Date),
)

products = _imported(
    "demo_products",
    Column("sku", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("price_cents", Integer),
)

users = Table(
    "demo_users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("email", String(254), nullable=False),
)


def open_session(table: Table) -> scoped_session[Session]:
    """Return the application's own `db.session`, with `table` in the database and no transaction open."""
    session: scoped_session[Session] = current_app.extensions["sqlalchemy"].session
    try:
        _create(session, table)
    except DBAPIError:
        # Two first jobs looked at the same moment and both found nothing: the slower one fails on what the
        # faster one made, and now finds it there. Any other trouble is raised by this second try.
        session.rollback()
        _create(session, table)
    return session


def _create(session: scoped_session[Session], table: Table) -> None:
    metadata.create_all(session.connection(), tables=[table], checkfirst=True)
    session.commit()


def insert_new(session: scoped_session[Session], table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert `rows`, passing over those whose unique key is in the table already. The caller commits."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(postgresql.insert(table).on_conflict_do_nothing(), rows)
    else:
        session.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)
