"""Fixtures for the store's tests."""

from __future__ import annotations

import pytest

from bgapp.database import Database
from tests import factories


@pytest.fixture
def ready(database: Database) -> Database:
    """A database with its tables and one node, on which jobs can be claimed."""
    with database.write() as connection:
        factories.add_node(connection)
    return database
