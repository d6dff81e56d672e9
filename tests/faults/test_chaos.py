"""Chaos in short: an installation whose processes are killed at random still keeps every promise about its jobs."""

from __future__ import annotations

import secrets
import subprocess
import sys

import pytest

from bgapp.testing.processes import can_look
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not can_look(), reason="needs Linux: the processes are found by /proc"),
]


def chaos(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bgapp.testing.chaos", *words], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, f"chaos {' '.join(words)}\n{done.stdout[-8000:]}\n{done.stderr[-4000:]}"


def test_every_job_is_accounted_for_after_blows_that_were_drawn_before() -> None:
    chaos("--jobs", "60", "--kills", "8", "--seed", "7")


def test_every_job_is_accounted_for_after_fresh_blows() -> None:
    chaos("--jobs", "60", "--kills", "8", "--seed", str(secrets.randbelow(1_000_000)))


def test_every_job_is_accounted_for_where_processes_run_several() -> None:
    chaos("--jobs", "60", "--kills", "8", "--reuse", "5")


@pytest.mark.postgres
@pytest.mark.long
def test_every_job_is_accounted_for_on_postgresql(postgres_database: str) -> None:
    chaos("--jobs", "60", "--kills", "6", "--database", postgres_database)
