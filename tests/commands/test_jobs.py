from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bgapp import attemptlog
from bgapp.attemptwriter import AttemptLogWriter
from bgapp.models import Reason, Status
from bgapp.outcome import Outcome
from bgapp.system import Ended
from tests import factories
from tests.commands.conftest import Invoke, Start
from tests.factories import NOW, add, claim, settle
from tests.site import Site
from tests.waiting import wait_for

CRASHED = Outcome(
    Status.FAILED,
    Reason.LOST,
    "the process was killed\n\x1b[31m",
    traceback="Traceback (most recent call last):\n  line\x1b\nValueError: no",
    pid=77,
    ended=Ended(exit_code=None, signal="SIGKILL", cpu_seconds=1.25, peak_memory_bytes=3 * 1024 * 1024),
)
RETURNED = Outcome(
    Status.COMPLETED, result='{"n": "\\u202e"}', pid=78, ended=Ended(0, None, cpu_seconds=0.5, peak_memory_bytes=None)
)


@pytest.fixture
def claimable(site: Site) -> Site:
    """An installation with a node whose runners can claim."""
    with site.runtime.database.write() as connection:
        factories.add_node(connection)
    return site


def write_log(site: Site, job: int, attempt: int, data: bytes) -> AttemptLogWriter:
    log = AttemptLogWriter(attemptlog.path(site.runtime.settings.log_dir, job, attempt), 65536, 65536)
    log.write(data)
    return log


def listed(invoke: Invoke, *words: str) -> list[Any]:
    result = invoke("jobs", "list", "--json", *words)
    assert result.exit_code == 0, result.output
    found: list[Any] = json.loads(result.stdout)
    return found


# list and stats -----------------------------------------------------------------------------------------------------


def test_the_list_is_newest_first_and_goes_on_before_an_id(site: Site, invoke: Invoke) -> None:
    for _ in range(5):
        add(site.runtime.database)
    assert [job["id"] for job in listed(invoke)] == [5, 4, 3, 2, 1]
    assert [job["id"] for job in listed(invoke, "--limit", "2")] == [5, 4]
    assert [job["id"] for job in listed(invoke, "--limit", "2", "--before", "4")] == [3, 2]
    assert listed(invoke, "--before", "1") == [] == listed(invoke, "--before", "1", "--status", "pending")
    assert len(listed(invoke, "--before", "9" * 30)) == 5


def test_people_see_a_table_and_how_to_go_on(site: Site, invoke: Invoke) -> None:
    for _ in range(3):
        add(site.runtime.database)
    result = invoke("jobs", "list", "--limit", "2")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "3", "2"]
    assert lines[1].split()[1] == "pending"
    assert "tests.jobcode.Work.add" in lines[1]
    assert "--before 2" in result.stderr
    assert invoke("jobs", "list").stderr == ""


def test_the_list_of_one_status(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database, priority=9)
    add(database)
    settle(database, claim(database), factories.COMPLETED)
    assert [job["id"] for job in listed(invoke, "--status", "completed")] == [1]
    assert [job["attempts"][0]["number"] for job in listed(invoke, "--status", "completed")] == [1]
    assert [job["id"] for job in listed(invoke, "--status", "pending")] == [2]
    assert invoke("jobs", "list", "--status", "failed").stdout == "No jobs are failed.\n"
    assert invoke("jobs", "list", "--status", "success").exit_code == 2
    assert invoke("jobs", "list", "--limit", "0").exit_code == 2


def test_an_empty_list_says_so(invoke: Invoke) -> None:
    assert invoke("jobs", "list").stdout == "No jobs.\n"
    assert listed(invoke) == []


def test_stats_count_every_status(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    for _ in range(3):
        add(database)
    claim(database)
    counts = {"scheduled": 0, "pending": 2, "running": 1, "completed": 0, "failed": 0, "cancelled": 0}
    assert json.loads(invoke("jobs", "stats", "--json").stdout) == counts
    told = dict(line.split() for line in invoke("jobs", "stats").stdout.splitlines()[1:])
    assert told == {word: str(count) for word, count in counts.items()}


# show ---------------------------------------------------------------------------------------------------------------


def test_show_tells_each_attempt_in_words(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    job = add(database, priority=5, params='{"value": "\\u202e", "password": "hunter2"}')
    settle(database, claim(database), CRASHED)
    settle(
        database, factories.promote_and_claim(database, NOW.replace(hour=13)), RETURNED, NOW.replace(hour=15, minute=30)
    )
    text = invoke("jobs", "show", str(job)).stdout
    lines = [line.strip() for line in text.splitlines()]
    logs = claimable.runtime.settings.log_dir
    assert "status      completed" in lines
    assert (
        "attempt 1: began 2026-11-22 12:00:00 UTC in process 77, took 1.00 s, failed (lost), ended by SIGKILL" in lines
    )
    assert "used   1.25 s of CPU, at most 3.0 MiB of memory" in lines
    assert f"log    {attemptlog.path(logs, job, 1)}" in lines
    assert "attempt 2: began 2026-11-22 13:00:00 UTC in process 78, took 2 h 30 min, completed" in lines
    assert "used   0.50 s of CPU" in lines
    assert "\\u202e" in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "hunter2" not in text


def test_show_gives_the_newest_traceback_on_lines_of_its_own(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database, retries=0)
    settle(database, claim(database), CRASHED)
    lines = invoke("jobs", "show", "1").stdout.splitlines()
    assert "  error  the process was killed\\n\\x1b[31m" in lines
    assert "    Traceback (most recent call last):" in lines
    assert "    ValueError: no" in lines


@pytest.mark.parametrize(
    ("status", "columns", "says"),
    [
        (Status.SCHEDULED, {}, "runs at     2026-11-22 12:00:00 UTC"),
        (Status.RUNNING, {"cancel_requested_at": NOW, "cancelled_by": "ada"}, "to be cancelled by ada"),
        (Status.CANCELLED, {"reason": "cancelled", "cancelled_by": "ada"}, "cancelled by ada"),
        (Status.COMPLETED, {"result": "[1, 2]", "retry_of": 1}, "result      [1, 2]"),
        (Status.FAILED, {"reason": "poison", "error": "it is"}, "status      failed (poison)"),
    ],
)
def test_show_says_what_matters_in_each_status(
    site: Site, invoke: Invoke, status: Status, columns: dict[str, Any], says: str
) -> None:
    with site.runtime.database.write() as connection:
        job = factories.insert_job(connection, status, **{"attempt": 0, **columns})
    result = invoke("jobs", "show", str(job))
    assert result.exit_code == 0, result.output
    assert says in [line.strip() for line in result.stdout.splitlines()]


def test_show_as_json_is_the_same_as_in_the_list(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database)
    settle(database, claim(database), RETURNED)
    shown = json.loads(invoke("jobs", "show", "1", "--json").stdout)
    assert shown == listed(invoke)[0]
    assert shown["result"] == {"n": "\u202e"}, "escaped on its way, and the same after it"
    assert "\u202e" not in invoke("jobs", "show", "1", "--json").stdout


@pytest.mark.parametrize("command", ["show", "log", "cancel", "retry", "delete"])
@pytest.mark.parametrize("number", ["77777", "0", "9223372036854775808", "9" * 40])
def test_an_unknown_id_is_exit_code_1(ask: Invoke, command: str, number: str) -> None:
    result = ask("jobs", command, number)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: there is no job {number}\n"


@pytest.mark.parametrize("number", ["one", "-1", "1.0", "", "0x1", "٣", "1 OR 1=1", "9" * 41])
def test_what_is_no_id_is_exit_code_2(ask: Invoke, number: str) -> None:
    assert ask("jobs", "show", number).exit_code == 2


# log ----------------------------------------------------------------------------------------------------------------


def test_log_prints_the_newest_attempt_or_the_one_that_is_named(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database)
    assert "no attempt yet" in invoke("jobs", "log", "1").stderr
    settle(database, claim(database), factories.FAILED)
    write_log(claimable, 1, 1, b"first\n").close()
    settle(database, factories.promote_and_claim(database, NOW.replace(hour=13)), factories.COMPLETED)
    write_log(claimable, 1, 2, b"second, \xc3\xbc \xff \x1b[2J\r\nno end").close()
    result = invoke("jobs", "log", "1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "second, ü \ufffd \\x1b[2J\nno end", "")
    assert invoke("jobs", "log", "1", "--attempt", "1").stdout == "first\n"
    result = invoke("jobs", "log", "1", "--attempt", "3")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: job 1 has no attempt 3\n")
    assert invoke("jobs", "log", "1", "--attempt", str(2**70)).exit_code == 1
    assert invoke("jobs", "log", "1", "--attempt", "first").exit_code == 2


def test_an_attempt_without_a_log_is_told_and_no_error(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database)
    settle(database, claim(database), factories.COMPLETED)
    result = invoke("jobs", "log", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Attempt 1 has no output here" in result.stderr


def test_a_long_log_is_printed_whole_but_for_what_was_left_out(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database)
    settle(database, claim(database), factories.COMPLETED)
    path = attemptlog.path(claimable.runtime.settings.log_dir, 1, 1)
    with AttemptLogWriter(path, 4 * 2**20, 4 * 2**20) as log:
        log.write(b"a" * 3 * 2**20 + "\N{ROCKET}".encode() * 2**19)
    assert invoke("jobs", "log", "1").stdout == "a" * 3 * 2**20 + "\N{ROCKET}" * 2**19


@pytest.mark.process
def test_follow_prints_what_is_written_until_the_attempt_ends(claimable: Site, start: Start) -> None:
    database = claimable.runtime.database
    add(database)
    process = start("jobs", "log", "1", "--follow")
    assert process.stdout is not None
    claimed = claim(database)
    with write_log(claimable, 1, 1, b"one\n") as log:
        assert process.stdout.readline() == b"one\n"
        log.write(b"two\r")
        assert process.stdout.read(3) == b"two"
        log.write(b"\nthree")
    settle(database, claimed, factories.COMPLETED)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, b"\nthree", b"")


def test_follow_of_an_ended_job_ends(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database)
    settle(database, claim(database), factories.COMPLETED)
    write_log(claimable, 1, 1, b"that was all\r").close()
    assert invoke("jobs", "log", "1", "--follow").stdout == "that was all\\r"
    assert invoke("jobs", "log", "1", "--follow", "--attempt", "2").exit_code == 1


# cancel, retry, delete ----------------------------------------------------------------------------------------------


def test_each_id_is_cancelled_on_its_own(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    running, waiting, ended = add(database, priority=9), add(database), add(database, priority=8)
    claim(database)
    settle(database, claim(database), factories.COMPLETED)
    result = invoke("jobs", "cancel", str(running), "99", str(ended), str(waiting), str(waiting))
    assert result.exit_code == 1
    assert result.stdout == f"job {running} is asked to stop\njob {waiting} is cancelled\n"
    assert result.stderr == f"Error: there is no job 99\nError: job {ended} is completed: it cannot be cancelled\n"
    assert factories.row(database, running).cancelled_by == "command"
    assert invoke("jobs", "cancel", str(running)).exit_code == 0, "asking twice is asking once"


def test_a_job_is_run_again_with_fresh_retries(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    add(database, retries=0)
    settle(database, claim(database), factories.FAILED)
    result = invoke("jobs", "retry", "1")
    assert (result.exit_code, result.stdout) == (0, "job 1 is pending\n")
    assert "job 1 is stored and waits" in result.stderr
    assert claimable.log().splitlines()[-1].startswith("Job pending")
    result = invoke("jobs", "retry", "1")
    assert (result.exit_code, result.stderr) == (1, "Error: job 1 is pending: it cannot be run again\n")


def test_delete_removes_the_job_its_attempts_and_its_logs(claimable: Site, invoke: Invoke) -> None:
    database = claimable.runtime.database
    gone, running = add(database, priority=9), add(database)
    settle(database, claim(database), factories.COMPLETED)
    claim(database)
    for job in (gone, running):
        write_log(claimable, job, 1, b"x").close()
    result = invoke("jobs", "delete", str(running), str(gone))
    assert (result.exit_code, result.stdout) == (1, f"job {gone} is deleted\n")
    assert "cancel it first" in result.stderr
    logs = claimable.runtime.settings.log_dir
    assert not attemptlog.path(logs, gone, 1).exists()
    assert attemptlog.path(logs, running, 1).exists()
    assert [job["id"] for job in listed(invoke)] == [running]
    assert factories.attempts(database, gone) == []


def test_a_log_that_cannot_be_removed_does_not_keep_others(site: Site, invoke: Invoke) -> None:
    for _ in range(2):
        add(site.runtime.database)
    attemptlog.path(site.runtime.settings.log_dir, 1, 1).mkdir(parents=True)
    result = invoke("jobs", "delete", "1", "2")
    assert (result.exit_code, result.stdout) == (1, "job 2 is deleted\n")
    assert "job 1 is deleted, but" in result.stderr
    wait_for(lambda: listed(invoke) == [], "both to be gone")


# On each database ---------------------------------------------------------------------------------------------------


def test_the_commands_do_the_same_on_each_database(make_site: Callable[..., Site], database_url: str) -> None:
    site = make_site(database_url=database_url)

    def give(*words: str, code: int = 0) -> str:
        result = site.app.test_cli_runner().invoke(args=list(words))
        assert result.exit_code == code, result.output
        return result.stdout

    assert "job 1 is pending" in give("run-job", "Work", "echo", "\N{ROCKET}", "--unique-key", "k")
    assert "asked for before" in give("run-job", "Work", "echo", "x", "--unique-key", "k")
    assert give("jobs", "show", str(2**63 - 1), code=1) == give("jobs", "show", str(2**63), code=1) == ""
    assert give("jobs", "cancel", "1") == "job 1 is cancelled\n"
    assert json.loads(give("jobs", "stats", "--json"))["cancelled"] == 1
    assert [job["params"] for job in json.loads(give("jobs", "list", "--json"))] == [{"value": "\N{ROCKET}"}]
    assert give("jobs", "retry", "1") == "job 1 is pending\n"
    assert give("jobs", "delete", "1") == "job 1 is deleted\n"
    assert give("runners", "list", "--json") == "[]\n"


@pytest.mark.parametrize("database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_a_leader_on_another_machine_counts(make_site: Callable[..., Site], database_url: str) -> None:
    site = make_site(database_url=database_url)
    runner = site.app.test_cli_runner()
    assert "waits" in runner.invoke(args=["run-job", "Work", "echo", "x"]).stderr
    with site.runtime.database.write() as connection:
        factories.add_node(connection, "elsewhere")
        connection.exec_driver_sql("UPDATE bgapp_nodes SET seen_at = now()")
    assert runner.invoke(args=["run-job", "Work", "echo", "x"]).stderr == ""
