"""Seeing, stopping and starting jobs by command, and what a fresh installation is: S20, S21, S22, S34, S40, S47.

Their pages come with a later issue; what a page will show and do, a command shows and does today.
"""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.requirements.support import accepted, ask, flask, told
from tests.site import Site
from tests.waiting import wait_for


def command(site: Site, *words: str, code: int = 0) -> str:
    """Run a command in this process and return its output."""
    done = site.app.test_cli_runner().invoke(args=list(words))
    assert done.exit_code == code, done.output
    return str(done.stdout)


def shown(site: Site, job: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command(site, "jobs", "show", str(job.id), "--json"))
    return found


def test_s20_the_documentation_shows_the_helper_with_retries_delay_and_priority() -> None:
    text = (ROOT / "docs" / "defining-jobs.md").read_text()
    calls = re.findall(r"run_background_job\((.*)\)", text)
    assert len(calls) >= 3
    assert any(all(f"{name}=" in call for name in ("retries", "delay", "priority")) for call in calls)
    assert len(set(re.findall(r"^class (\w+):", text, re.MULTILINE))) >= 2, "several classes"


def test_s21_an_admin_sees_status_retries_errors_and_the_log(living: Site) -> None:
    job = living.enqueue("fail", "the reason", retries=1)
    living.wait(job)
    found = shown(living, job)
    assert (found["status"], found["retries"], found["attempt"]) == ("failed", 1, 2)
    assert [attempt["error"] for attempt in found["attempts"]] == ["ValueError: the reason"] * 2
    text = command(living, "jobs", "show", str(job.id))
    assert "failed" in text
    assert "ValueError: the reason" in text
    assert "ValueError: the reason" in command(living, "jobs", "log", str(job.id), "--attempt", "1")


def test_s21_an_admin_cancels_a_running_job(living: Site, tmp_path: Path) -> None:
    job = living.enqueue("note", str(tmp_path / "witness"), 60.0, retries=3)
    living.wait(job, "running")
    wait_for((tmp_path / "witness").exists, "the method to be entered")
    command(living, "jobs", "cancel", str(job.id))
    found = living.wait(job)
    assert (found["status"], len(found["attempts"])) == ("cancelled", 1), "and it is not tried again"
    assert (tmp_path / "witness").read_text().count("\n") == 1, "it did not run to its end"
    command(living, "jobs", "cancel", str(job.id), code=1)


def test_s22_a_table_of_jobs_with_status_duration_and_retries(living: Site) -> None:
    job = living.enqueue("fail_until", 2, retries=3)
    living.wait(job)
    assert str(job.id) in command(living, "jobs", "list", "--status", "completed")
    [row] = [one for one in json.loads(command(living, "jobs", "list", "--json")) if one["id"] == job.id]
    assert (row["status"], row["retries"], row["attempt"]) == ("completed", 3, 2)
    text = command(living, "jobs", "show", str(job.id))
    assert re.search(r"\d(\.\d+)? ?(s|ms)\b", text), f"how long each attempt took: {text}"
    for attempt in shown(living, job)["attempts"]:
        assert attempt["started_at"] <= attempt["finished_at"]
        assert attempt["cpu_seconds"] >= 0


def test_s22_and_s34_a_job_is_triggered_again_and_deleted(living: Site) -> None:
    job = living.enqueue("fail", "once more", retries=0)
    living.wait(job)
    command(living, "jobs", "retry", str(job.id))
    wait_for(lambda: living.job(job)["attempt"] == 2, "the second attempt")
    assert living.wait(job, "failed")["attempts"][1]["error"] == "ValueError: once more"
    command(living, "jobs", "delete", str(job.id))
    command(living, "jobs", "show", str(job.id), code=1)
    assert told(living, job)[-1]["Status"] == "Job deleted"


def test_s34_every_job_and_the_numbers_by_status(quiet: Site) -> None:
    done = json.loads(command(quiet, "jobs", "stats", "--json"))
    before = done.get("statuses", done)
    quiet.enqueue("add", 1, 1, delay=900)
    done = json.loads(command(quiet, "jobs", "stats", "--json"))
    after = done.get("statuses", done)
    assert after["scheduled"] == before["scheduled"] + 1
    assert {"scheduled", "pending", "running", "completed", "failed", "cancelled"} <= set(after)


def test_s34_a_waiting_job_is_cancelled_at_once(quiet: Site) -> None:
    job = ask(quiet, "Work", "add", [1, 2], delay=900)
    command(quiet, "jobs", "cancel", str(job.id))
    assert shown(quiet, job)["status"] == "cancelled"


def test_s40_sqlite_is_the_default_and_the_example_of_settings_works(quiet: Site, tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    changed = example.replace("#BGAPP_DATABASE_URL=", "BGAPP_DATABASE_URL=sqlite:///shop.sqlite")
    assert changed != example
    (tmp_path / ".env").write_text(changed)
    (tmp_path / "wsgi.py").write_text("from bgapp import create_app\napp = create_app()\n")
    instance = tmp_path / "instance"
    env = {"BGAPP_INSTANCE": str(instance), "PYTHONPATH": str(ROOT)}
    accepted(flask(quiet, "run-job", "SampleJob", "process", "x", "--json", cwd=tmp_path, env=env))
    with sqlite3.connect(instance / "shop.sqlite") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()
    assert {"bgapp_jobs", "bgapp_attempts"} <= tables
    assert not (instance / "bgapp.sqlite").exists()


def test_s47_priority_is_seen_and_given_by_command(quiet: Site) -> None:
    done = command(quiet, "run-job", "SampleJob", "process", "x", "--priority", "high", "--delay", "900", "--json")
    assert json.loads(done)["priority"] == 10
