"""What a job writes: captured at the descriptor, live, capped, masked, and there after a crash."""

from __future__ import annotations

from tests.site import Site
from tests.waiting import wait_for


def test_every_way_of_writing_lands_in_the_attempts_log(site: Site) -> None:
    site.start_app()
    job = site.enqueue("talk_all_ways")
    site.wait(job, "completed")
    output = site.output(job)
    for words in (
        "by print",
        "by stderr",
        "by descriptor",
        "by subprocess",
        "by logging",
        "by the application's logger",
    ):
        assert words in output, output


def test_output_is_there_before_a_crash_and_the_stack_of_the_crash_after_it(site: Site) -> None:
    site.start_app()
    job = site.enqueue("talk_then_crash", retries=0)
    site.wait(job, "failed")
    assert "the last words" in site.output(job)
    assert "Segmentation fault" in site.output(job)
    assert "talk_then_crash" in site.output(job)


def test_output_is_live(site: Site) -> None:
    site.start_app()
    job = site.enqueue("progress", str(site.witness), 30.0)
    site.wait_entered(job)
    talking = site.enqueue("talk", "early", 1)
    site.wait(talking)
    assert "early" in site.output(talking)
    wait_for(lambda: (site.job(job)["progress"] or {}).get("fraction") == 0.5, "progress of a running job")
    assert site.job(job)["status"] == "running"
    assert site.job(job)["progress"]["message"] == "half way"


def test_too_much_output_keeps_head_and_tail_and_never_ends_the_job(make_site: object) -> None:
    site: Site = make_site(output_head_bytes=2048, output_tail_bytes=2048)  # type: ignore[operator] # the fixture's factory
    site.start_app()
    job = site.enqueue("talk", "x" * 99, 5000)
    assert site.wait(job)["status"] == "completed"
    output = site.output(job)
    assert len(output) < 10_000
    assert output.startswith("x" * 99)
    assert output.endswith("x\n")
    assert "left out" in output


def test_secrets_are_cut_from_output_errors_results_and_logs(site: Site) -> None:
    site.start_app()
    good, bad = site.enqueue("secret", "hunter2secret"), site.enqueue("secret", "bad-canary-42", retries=0)
    site.wait(good), site.wait(bad)
    for job, word in ((good, "hunter2secret"), (bad, "bad-canary-42")):
        assert word not in site.output(job)
        assert "logging in with ***" in site.output(job)
        assert word not in str(site.job(job))
        assert word not in site.log() + site.log("background_jobs_errors.log")


def test_a_result_that_is_not_json_leaves_the_job_completed(site: Site) -> None:
    site.start_app()
    found = site.wait(site.enqueue("not_json"))
    assert (found["status"], found["result"]) == ("completed", None)


def test_both_log_files_tell_the_story_in_order(site: Site) -> None:
    site.start_app()
    job = site.enqueue("fail", "bad luck", retries=1)
    site.wait(job)
    told = [line.split(" | ")[0] for line in site.log().splitlines()]
    assert [one for one in told if one != "Job pending"] == [
        "Job running",
        "Job retry scheduled",
        "Job running",
        "Job failed",
    ]
    errors = site.log("background_jobs_errors.log").splitlines()
    assert [line.split(" | ")[0] for line in errors] == ["Job retry scheduled", "Job failed"]
    assert all("ValueError: bad luck" in line for line in errors)
