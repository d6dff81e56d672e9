"""The soak command in short: it measures everything it judges, and its jobs all end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bgapp.testing.processes import can_look
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not can_look(), reason="needs Linux: the processes are measured by /proc"),
]

MEASURES = {
    "zombies", "waiting", "wal", "logs", "entries", "attempt files", "log bytes per job",
    *(f"{role} {what}" for role in ("app", "host", "runner", "forker") for what in ("descriptors", "private", "rss")),
}  # fmt: skip


@pytest.mark.long
def test_a_soak_measures_all_that_it_judges_and_loses_no_job(tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "bgapp.testing.soak", "--seconds", "10", "--seed", "1", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    taken = [json.loads(line) for line in out.read_text().splitlines()]
    assert {name for sample in taken for name in sample} >= MEASURES, f"{done.stdout}\n{done.stderr}"
    # Ten seconds are the time in which an application grows to its size: only a longer run can judge that.
    found = {line.partition(":")[0] for line in done.stdout.splitlines() if ": " in line} - {"grown", "kept"}
    assert (done.returncode, found) in ((0, set()), (1, set())), f"{done.stdout}\n{done.stderr}"
