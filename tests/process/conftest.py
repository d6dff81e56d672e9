"""Fixtures for tests with real processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bgapp import create_app
from tests.site import ALLOWED, Site


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """A factory of installations; settings by keyword. Every process of theirs is killed at the end."""
    made: list[Site] = []

    def make(**settings: object) -> Site:
        instance = tmp_path / f"site{len(made)}"
        instance.mkdir(mode=0o700)
        values = {
            "instance": instance,
            "allowed_jobs": json.dumps(ALLOWED),
            "retry_backoff": "0.05 fixed",
            "kill_grace": 1,
            "tick": 0.2,
            "max_running": 4,
            **settings,
        }
        environment = {f"BGAPP_{name.upper()}": str(value) for name, value in values.items()}
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            app = create_app()
        site = Site(app, environment, instance)
        site.runtime.ready()
        made.append(site)
        return site

    yield make
    for site in made:
        site.end()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """An installation on SQLite with short waits; nothing runs yet."""
    return make_site()
