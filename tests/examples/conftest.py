"""Fixtures for the sample host applications."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.examples.hosting import Host


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[[str], Host]]:
    """A factory of served examples; every process of theirs is killed at the end."""
    made: list[Host] = []

    def make(example: str) -> Host:
        host = Host(example, tmp_path)
        made.append(host)
        return host

    yield make
    for host in made:
        host.end()
