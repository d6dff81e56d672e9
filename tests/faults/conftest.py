"""Fixtures for fault tests: installations whose processes can be held and killed at named points."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.grid import Blows
from tests.process.conftest import make_site, site
from tests.site import ALLOWED, Site

__all__ = ["make_blows", "make_site", "site"]


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


@pytest.fixture
def patient_site(make_site: Callable[..., Site]) -> Site:
    """An installation that may run the jobs of `faultjobs` too."""
    mine = {"tests.faults.faultjobs.Patient": ["until"], "tests.faults.faultjobs.Copier": ["copy"]}
    return make_site(allowed_jobs=json.dumps({**ALLOWED, **mine}))
