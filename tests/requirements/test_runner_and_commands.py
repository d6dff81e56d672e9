"""Starting jobs by script and by command: S1, S2, S5, S11, S15, S16, S23, S24, S28, S32, S36, S37, S38."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bgapp.errors import BadParameters, ClassNotAllowed
from tests.conftest import ROOT
from tests.requirements.support import (
    SHOP,
    accepted,
    ask,
    build,
    fields,
    flask,
    python,
    refused,
    refused_command,
    refusing,
    rows,
    runner,
    statuses,
    told,
)
from tests.site import Site
from tests.waiting import wait_for


def test_s1_the_runner_takes_class_method_and_words_runs_and_logs(quiet: Site) -> None:
    before = quiet.log()
    done = runner(quiet, "JobService", "execute", "Hello", "World")
    assert done.returncode == 0, done.stderr
    assert "Hello World" in done.stdout
    lines = [fields(line) for line in quiet.log().removeprefix(before).splitlines()]
    assert statuses(lines) == ["Job running", "Job completed successfully"]
    for line in lines:
        assert line["Class"] == "bgapp.jobs.samples.JobService"
        assert line["Method"] == "execute"
        assert line["Parameters"] == '{"first": "Hello", "second": "World"}'


def test_s1_a_failure_is_logged_with_its_message(quiet: Site) -> None:
    before = quiet.log()
    done = runner(quiet, "Work", "fail", "the roof leaks")
    assert done.returncode == 1
    lines = [fields(line) for line in quiet.log().removeprefix(before).splitlines()]
    assert statuses(lines) == ["Job running", "Job failed"]
    assert lines[1]["Error"] == "ValueError: the roof leaks"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["JobServices", "execute", "Test"], "'JobServices' is not in the allow-list"),
        (["JobService", "execute", "Test"], "second is missing"),
    ],
    ids=["class-not-approved", "parameter-missing"],
)
def test_s2_two_documented_refusals_by_the_script(quiet: Site, words: list[str], says: str) -> None:
    with refusing(quiet) as refusal:
        done = runner(quiet, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert says in refusal.lines[0]


def test_s2_three_documented_outcomes(quiet: Site) -> None:
    refused(quiet, ClassNotAllowed, "job_class", "JobServices", "execute", ["Test"])
    says = refused(quiet, BadParameters, "params.second", "JobService", "execute", ["Test"])
    assert "second is missing" in says
    assert "execute(first: str, second: str)" in says
    assert runner(quiet, "JobService", "execute", "Test", "Test").returncode == 0


def test_s2_three_documented_outcomes_by_command(quiet: Site) -> None:
    refused_command(quiet, "JobServices", "execute", "Test", kind="class_not_allowed", argument="job_class")
    refused_command(quiet, "JobService", "execute", "Test", kind="bad_parameters", argument="params.second")
    job = accepted(flask(quiet, "run-job", "JobService", "execute", "Test", "Test", "--json"))
    assert job["params"] == {"first": "Test", "second": "Test"}


def test_s5_a_job_outlives_the_app_that_started_it(make_site: Callable[..., Site]) -> None:
    site = make_site()
    app = site.start_app()
    job = site.note(1.0)
    site.wait_entered(job)
    site.kill_app(app)
    assert site.wait(job)["status"] == "completed"
    assert len(site.starts(job.id)) == len(site.ends(job.id)) == 1


def test_s5_every_attempt_leads_a_session_of_its_own_apart_from_the_apps(living: Site) -> None:
    for job in [ask(living, "Till", "where") for _ in range(12)]:  # forker and child race for it
        where = living.wait(job)["result"]
        assert where["session"] == where["pid"]
        assert where["session"] not in (where["parent_session"], os.getsid(0))


def test_s5_the_same_job_runs_where_processes_cannot_be_forked_as_on_windows(quiet: Site) -> None:
    done = runner(quiet, "JobService", "execute", "Hello", "World", env={"BGAPP_START_METHOD": "spawn"})
    assert done.returncode == 0, done.stderr
    assert "Hello World" in done.stdout


def test_s11_the_runner_is_apart_from_the_web_process_and_makes_an_instance(living: Site) -> None:
    found = living.wait(ask(living, "Till", "where"))
    where, [attempt] = found["result"], found["attempts"]
    assert where["made"] == where["pid"] == attempt["pid"], "the instance is made in the job's own process"
    assert os.getpid() not in (where["pid"], where["parent"])
    assert found["runner_pid"] not in (where["pid"], os.getpid())


def test_s15_a_command_starts_a_job_by_the_bare_name_of_its_class(living: Site) -> None:
    job = accepted(flask(living, "run-job", "Till", "keep", "param1", "param2", "--wait", "--json"))
    assert job["class"] == f"{SHOP}.Till"
    assert job["status"] == "completed"
    assert job["result"] == ["param1", "param2"]


def test_s15_without_an_app_the_command_says_that_the_job_waits(quiet: Site) -> None:
    done = flask(quiet, "run-job", "Till", "keep", "word")
    assert done.returncode == 0, done.stderr
    assert "wait" in done.stderr.lower()
    assert "run" in done.stderr


def test_s16_the_script_takes_the_full_path_of_a_class(quiet: Site, tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt", "three.csv"):
        (tmp_path / name).write_text("x")
    done = runner(quiet, "bgapp.jobs.folder_scan.FolderScan", "scan", str(tmp_path), "2")
    assert done.returncode == 0, done.stderr
    [newest] = json.loads(flask(quiet, "jobs", "list", "--limit", "1", "--json").stdout)
    assert newest["result"]["files"] == 3
    assert newest["params"] == {"folder": str(tmp_path), "largest": 2}


def test_s23_jobs_run_with_the_interpreter_of_the_application(living: Site) -> None:
    assert living.wait(ask(living, "Till", "where"))["result"]["python"] == sys.executable


def test_s24_one_command_in_an_empty_folder_sets_everything_up(tmp_path: Path) -> None:
    instance = tmp_path / "not" / "there" / "yet"
    environment = {"BGAPP_INSTANCE": str(instance)}
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "run-job", "SampleJob", "process", "first words", "--json"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert accepted(done)["id"] == 1
    assert (instance / "bgapp.sqlite").exists()
    assert (instance / "logs" / "background_jobs.log").exists()


def test_s28_parameters_reach_the_method_and_never_a_shell_or_a_command_line(living: Site, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    nasty = f"$(touch {trap}); touch {trap} & `touch {trap}` | 'x' \"y\" \n %PATH% *"
    found = living.wait(ask(living, "Till", "keep", [nasty]))
    assert found["result"] == [nasty]
    assert not trap.exists()

    marked = f"canary{os.getpid()}"
    job = living.enqueue("note", str(living.witness) + marked, 30.0)
    wait_for(lambda: Path(str(living.witness) + marked).exists(), "the job to start")
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in living.processes()]
    job.cancel("test")
    assert lines
    assert not [line for line in lines if marked.encode() in line]


def test_s32_due_retries_are_found_and_each_runs_in_a_process_of_its_own(living: Site) -> None:
    found = living.wait(living.enqueue("fail_until", 3, retries=3))
    pids = [attempt["pid"] for attempt in found["attempts"]]
    assert found["status"] == "completed"
    assert len(pids) == len(set(pids)) == 3


@pytest.mark.parametrize("name", ["SampleJob", "bgapp.jobs.samples.SampleJob"])
def test_s36_script_forms(quiet: Site, name: str) -> None:
    assert runner(quiet, name, "process", "param1").returncode == 0
    assert runner(quiet, "JobService", "execute", "a,b", "c, d").stdout.splitlines()[0] == "a,b c, d"


def test_s37_what_a_job_returns_is_kept(living: Site) -> None:
    found = living.wait(ask(living, "SampleJob", "process", {"data": "two words"}))
    assert found["result"] == {"processed": True, "characters": 9, "words": 2}


RECIPE = '''
class Greeter:
    """Greets."""

    def greet(self, name: str) -> str:
        if name == "nobody":
            raise LookupError("there is nobody to greet")
        return f"Good morning, {name}"
'''


def test_s38_a_new_job_is_a_class_its_methods_and_a_line_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "greetings.py").write_text(textwrap.dedent(RECIPE))
    site = build(tmp_path / "instance", allowed_jobs='{"greetings.Greeter": ["greet"]}')
    try:
        site.environment["PYTHONPATH"] = str(tmp_path)
        site.start_app()
        good = accepted(flask(site, "run-job", "Greeter", "greet", "Ada", "--wait", "--json"))
        assert good["result"] == "Good morning, Ada"
        done = flask(site, "run-job", "Greeter", "greet", "nobody", "--retries", "1", "--wait", "--json")
        assert done.returncode == 1
        failed = site.job(int(good["id"]) + 1)
        assert failed["status"] == "failed"
        assert failed["error"] == "LookupError: there is nobody to greet"
        assert [attempt["error"] for attempt in failed["attempts"]] == [failed["error"]] * 2, "retried by itself"
        assert "greetings.py" in failed["attempts"][0]["traceback"]
    finally:
        site.end()


def test_s38_every_kind_of_exception_is_caught_and_kept(living: Site) -> None:
    for method, params, error in (
        ("leave", [], "SystemExit: 0"),
        ("exit", [7], "no result: the process ended by itself (exit code 7)"),
        ("kill_self", [], "the process was killed (SIGKILL)"),
    ):
        found = living.wait(ask(living, "Work", method, params, 0))
        assert found["status"] == "failed"
        assert found["error"].startswith(error)
        assert told(living, found["id"], "background_jobs_errors.log")


def test_s10_and_s38_the_helper_loads_neither_runner_nor_another_queue(quiet: Site) -> None:
    code = """
        import sys
        from wsgi import app
        from bgapp import run_background_job
        with app.app_context():
            run_background_job("Till", "keep", ["word"], 2)
        foreign = {"celery", "rq", "redis", "huey", "dramatiq", "kombu", "pika"}
        print(*(name for name in sys.modules if name in foreign or name.startswith("bgapp.runner")))
    """
    before = rows(quiet)
    done = python(quiet, "-c", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"
    assert rows(quiet) == before + 1
