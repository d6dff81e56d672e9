"""How commands end, seen from a shell: exit codes, the two outputs, pipes, Ctrl-C, locales."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.commands.conftest import Flask, Invoke, Start
from tests.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.process


def test_one_command_in_an_empty_folder_makes_everything_and_prints_exactly_the_job(site: Site, flask: Flask) -> None:
    fresh = site.instance / "fresh"
    done = flask("run-job", "Work", "add", "1", "2", "--json", env={"BGAPP_INSTANCE": str(fresh)})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).items() >= {"id": 1, "status": "pending", "attempts": []}.items()
    assert (fresh / "bgapp.sqlite").exists()
    assert not (fresh / "nodes").exists(), "a command is no node and starts no clock"


def test_the_answer_is_on_standard_output_and_the_rest_on_standard_error(flask: Flask) -> None:
    done = flask("run-job", "Work", "echo", "x")
    assert (done.returncode, done.stdout) == (0, "job 1 is pending\n")
    assert "flask --app wsgi run" in done.stderr
    done = flask("jobs", "show", "99999999999999999999")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: there is no job 99999999999999999999\n"
    done = flask("jobs", "show", "one")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_says_where_words_go_and_needs_no_database(flask: Flask) -> None:
    done = flask("run-job", "--help", env={"BGAPP_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    assert done.returncode == 0
    assert "run-job CLASS METHOD [PARAM ...] [OPTIONS]" in done.stdout


@pytest.mark.parametrize("words", [["jobs", "list"], ["run-job", "Work", "add", "1", "2"], ["runners", "stop"]])
def test_a_database_that_does_not_answer_is_exit_code_4_in_one_line(flask: Flask, words: list[str]) -> None:
    done = flask(*words, env={"BGAPP_DATABASE_URL": "postgresql://me:canary@127.0.0.1:1/none"})
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr


def test_a_folder_that_cannot_be_used_is_exit_code_4_in_one_line(site: Site, flask: Flask) -> None:
    done = flask("jobs", "stats", env={"BGAPP_LOG_DIR": "/dev/null/logs"})
    assert (done.returncode, done.stdout) == (4, "")
    assert "/dev/null/logs" in done.stderr
    assert done.stderr.count("\n") == 1


def test_bytes_that_are_no_utf8_are_refused(invoke: Invoke, flask: Flask) -> None:
    done = flask(b"run-job", b"Work", b"echo", b"\xff")
    assert done.returncode == 2
    assert "UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(invoke("jobs", "list", "--json").stdout) == []


def test_output_is_utf8_and_words_are_read_as_utf8_in_a_c_locale(flask: Flask) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = flask("run-job", "Work", "echo", "grüße \N{ROCKET}", "--json", env=locale)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["params"] == {"value": "grüße \N{ROCKET}"}
    assert "grüße \N{ROCKET}" in flask("jobs", "show", "1", env=locale).stdout


@pytest.mark.parametrize(
    "words", [["jobs", "list"], ["jobs", "stats", "--json"], ["run-job", "Work", "nothing", "--json"], ["doctor"]]
)
def test_a_closed_pipe_ends_a_command_without_a_word(site: Site, flask: Flask, words: list[str]) -> None:
    site.enqueue("add", 1, 2)
    reading, writing = os.pipe()
    os.close(reading)
    done = flask(*words, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_told(flask: Flask) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    with open("/dev/full", "w") as full:
        done = flask("jobs", "stats", stdout=full)
    assert done.returncode == 4
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_was_never_open_is_no_error(flask: Flask) -> None:
    assert flask("jobs", "stats", preexec_fn=lambda: os.close(1)).returncode == 0


# Waiting for the end of a job, with a real clock ----------------------------------------------------------------


@pytest.fixture
def clocked(site: Site, start: Start) -> Site:
    """The installation with a `scheduler` command that leads."""
    start("scheduler")
    wait_for(lambda: site.node and site.node.has_leader(), "the scheduler to lead")
    return site


def test_wait_prints_the_result_or_the_error(clocked: Site, flask: Flask) -> None:
    done = flask("run-job", "Work", "add", "1", "2", "--wait")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")

    done = flask("run-job", "Work", "fail", "out of luck", "--retries", "0", "--wait")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "job 2 is failed (error): ValueError: out of luck\n"

    done = flask("run-job", "Work", "fail_until", "2", "--retries", "1", "--wait", "--json")
    job = json.loads(done.stdout)
    assert done.returncode == 0
    assert done.stderr == ""
    assert (job["status"], job["result"], len(job["attempts"])) == ("completed", 2, 2)
    assert job == clocked.job(3)


def test_ctrl_c_ends_the_waiting_and_not_the_job(clocked: Site, start: Start) -> None:
    process = start("run-job", "Work", "note", str(clocked.witness), "60", "--wait")
    wait_for(lambda: clocked.witnessed() or process.poll() is not None, "the job to begin")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, b"")
    assert b"Job 1 goes on" in errors
    assert b"jobs cancel 1" in errors
    assert b"Traceback" not in errors
    assert clocked.job(1)["status"] == "running"


def test_somebody_at_a_terminal_sees_the_progress(clocked: Site, invoke: Invoke, start: Start) -> None:
    pty = pytest.importorskip("pty", reason="this system has no terminals of that kind")
    master, terminal = pty.openpty()
    process = start("run-job", "Work", "progress", str(clocked.witness), "60", "--wait", stderr=terminal)
    os.close(terminal)
    shown = b""
    while process.poll() is None and b"job 1 is running, attempt 1, 50%: half way" not in shown:
        shown += os.read(master, 4096)
    invoke("jobs", "cancel", "1")
    assert process.wait(timeout=60) == 1
    assert os.read(master, 4096).startswith(b"\r\x1b[Kjob 1 is cancelled"), "the progress is wiped at the end"
    os.close(master)
