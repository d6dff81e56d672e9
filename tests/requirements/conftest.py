"""Installations for the tests of requirements: one that is alive, one in which nothing runs by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.conftest import make_site, site
from tests.requirements.support import build
from tests.site import Site

__all__ = ["make_site", "site"]


@pytest.fixture(scope="session")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation with an app process and runners, shared: a test looks only at jobs of its own."""
    found = build(tmp_path_factory.mktemp("living") / "instance")
    found.start_app()
    yield found
    found.end()


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation without an app process, shared: what is asked for waits, and every slot is free."""
    found = build(tmp_path_factory.mktemp("quiet") / "instance")
    yield found
    found.end()
