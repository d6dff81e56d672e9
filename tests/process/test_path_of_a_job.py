"""The path of a job, through real processes."""

from __future__ import annotations

from tests.site import Site


def test_a_job_runs_and_its_outcome_is_recorded(site: Site) -> None:
    site.start_app()
    job = site.wait(site.enqueue("add", 2, "3"))
    assert (job["status"], job["result"], job["reason"], job["attempt"]) == ("completed", 5, None, 1)
    [attempt] = job["attempts"]
    assert attempt["exit_code"] == 0
    assert attempt["signal"] is None
    assert attempt["cpu_seconds"] > 0
    assert attempt["peak_memory_bytes"] > 1_000_000


def test_a_failing_job_is_retried_and_every_attempt_is_kept(site: Site) -> None:
    site.start_app()
    job = site.wait(site.enqueue("fail_until", 3, retries=5))
    assert (job["status"], job["result"], job["attempt"]) == ("completed", 3, 3)
    assert [one["error"] for one in job["attempts"]] == [
        "RuntimeError: attempt 1 fails",
        "RuntimeError: attempt 2 fails",
        None,
    ]


def test_a_job_without_retries_left_has_failed_with_its_traceback(site: Site) -> None:
    site.start_app()
    job = site.wait(site.enqueue("fail", "out of luck", retries=1))
    assert (job["status"], job["reason"], job["error"]) == ("failed", "error", "ValueError: out of luck")
    assert len(job["attempts"]) == 2
    trace = job["attempts"][1]["traceback"]
    assert "jobcode.py" in trace
    assert "child.py" not in trace
