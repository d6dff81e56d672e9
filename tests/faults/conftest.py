"""Fixtures for fault tests: installations that are held and killed at named points, and one whose jobs misbehave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.grid import Blows
from tests.process.conftest import make_site, site
from tests.requirements.support import build
from tests.site import ALLOWED, Site

__all__ = ["make_blows", "make_site", "site"]


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
