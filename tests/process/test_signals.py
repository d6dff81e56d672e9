"""Signals reach the application's receivers in the very process that runs the job, where error trackers live."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.site import Site

pytestmark = pytest.mark.process


def test_receivers_hear_of_every_attempt_in_the_jobs_process(make_site: Callable[..., Site]) -> None:
    site = make_site(app="tests.listeningapp:app", retry_backoff="0.05 fixed")
    site.start_app()
    good = site.wait(site.enqueue("add", 1, 2))
    bad = site.wait(site.enqueue("fail", retries=1))
    heard = [json.loads(line) for line in (site.instance / "heard").read_text().splitlines()]
    pids = [attempt["pid"] for job in (good, bad) for attempt in job["attempts"]]
    work = "tests.jobcode.Work"
    none = repr(None)
    assert [line[:7] for line in heard] == [
        ["started", True, pids[0], good["id"], 1, work, "add"],
        ["finished", True, pids[0], good["id"], 1, work, "add"],
        ["started", True, pids[1], bad["id"], 1, work, "fail"],
        ["failed", True, pids[1], bad["id"], 1, work, "fail"],
        ["started", True, pids[2], bad["id"], 2, work, "fail"],
        ["failed", True, pids[2], bad["id"], 2, work, "fail"],
    ]
    assert [line[7] == none for line in heard] == [True, True, True, False, True, False]
