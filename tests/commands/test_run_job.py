from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from bgapp import system
from bgapp.node import Node
from tests.commands.conftest import Invoke
from tests.requirements.support import ERRORS
from tests.site import Site


def accepted(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    job: dict[str, Any] = json.loads(result.stdout)
    return job


@pytest.mark.parametrize(
    "words",
    [
        ["--retries", "7", "--json", "--priority", "-10", "Work", "add", "1", "2"],
        ["Work", "--retries=7", "add", "--priority", "-10", "1", "--json", "2"],
        ["Work", "add", "1", "2", "--json", "--priority=-10", "--retries", "7"],
        ["--json", "--retries", "7", "--priority=-10", "--", "Work", "add", "1", "2"],
    ],
    ids=["before", "between", "after", "dashes"],
)
def test_options_stand_anywhere_among_the_words(ask: Invoke, words: list[str]) -> None:
    job = accepted(ask("run-job", *words))
    assert job["params"] == {"first": 1, "second": 2}
    assert (job["retries"], job["priority"], job["class"], job["method"]) == (7, -10, "tests.jobcode.Work", "add")


@pytest.mark.parametrize("word", ["-5", "-0.5", "-.5", "-1e3", "-", "", "a,b", "@/etc/passwd", "\N{SNOWMAN}", "a\nb"])
def test_such_a_word_is_a_parameter(ask: Invoke, word: str) -> None:
    assert accepted(ask("run-job", "Work", "echo", word, "--json"))["params"] == {"value": word}


def test_after_two_dashes_every_word_is_a_parameter(ask: Invoke) -> None:
    assert accepted(ask("run-job", "--json", "Work", "echo", "--", "--wait"))["params"] == {"value": "--wait"}


@pytest.mark.parametrize(
    "words",
    [
        ["Work", "echo", "-x"],
        ["Work", "echo", "--retrys", "1"],
        ["Work", "echo", "-5x"],
        ["Work", "echo", "--wait=1"],
        ["Work", "echo", "x", "--retries"],
        ["Work"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_and_nothing_is_stored(ask: Invoke, words: list[str]) -> None:
    before = ask("jobs", "stats").stdout
    result = ask("run-job", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert ask("jobs", "stats").stdout == before


def test_words_are_converted_by_the_methods_hints(ask: Invoke) -> None:
    assert accepted(ask("run-job", "Work", "day_after", "2026-02-28", "--json"))["params"] == {"day": "2026-02-28"}
    assert accepted(ask("run-job", "Work", "echo", "7", "--json"))["params"] == {"value": "7"}, "no hint: text"


def test_parameters_by_name(ask: Invoke) -> None:
    job = accepted(ask("run-job", "Work", "echo", "--kwargs", '{"value": {"a": [1, null]}}', "--json"))
    assert job["params"] == {"value": {"a": [1, None]}}


REFUSALS = [
    (["Nothing", "at-all"], "class_not_allowed", "job_class"),
    (["Work", "nothing"], "method_unknown", "method"),
    (["Work", "__init__"], "method_not_allowed", "method"),
    (["Work", "add", "1"], "bad_parameters", "params.second"),
    (["Work", "add", "1", "two"], "bad_parameters", "params.second"),
    (["Work", "echo", "x", "--kwargs", "{}"], "bad_parameters", "params"),
    (["Work", "echo", "--kwargs", "[1]"], "bad_parameters", "params"),
    (["Work", "echo", "--kwargs", "@file"], "bad_parameters", "params"),
    (["Work", "echo", "--retries", "101"], "bad_option", "retries"),
    (["Work", "echo", "--retries", "1.5"], "bad_option", "retries"),
    (["Work", "echo", "--retries", "--wait"], "bad_option", "retries"),
    (["Work", "echo", "--delay", "-1"], "bad_option", "delay"),
    (["Work", "echo", "--delay", "1e3"], "bad_option", "delay"),
    (["Work", "echo", "--priority", "urgent"], "bad_option", "priority"),
    (["Work", "echo", "--priority", "0.0"], "bad_option", "priority"),
    (["Work", "echo", "--timeout", "0"], "bad_option", "timeout"),
    (["Work", "echo", "--timeout", "9" * 5000], "bad_option", "timeout"),
    (["Work", "echo", "--backoff", "5 minutes"], "bad_option", "backoff"),
    (["Work", "echo", "--queue", "a b"], "bad_option", "queue"),
    (["Work", "echo", "--unique-key", ""], "bad_option", "unique_key"),
]


@pytest.mark.parametrize(("words", "kind", "argument"), REFUSALS)
def test_a_refusal_is_json_on_standard_output_or_one_line_on_standard_error(
    quiet: Site, ask: Invoke, words: list[str], kind: str, argument: str
) -> None:
    before, refusals = ask("jobs", "stats").stdout, quiet.log(ERRORS).count("Job rejected")
    result = ask("run-job", *words, "--json")
    assert (result.exit_code, result.stderr) == (2, "")
    said = json.loads(result.stdout)
    assert (set(said), said["kind"], said["argument"]) == ({"error", "kind", "argument"}, kind, argument)

    result = ask("run-job", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {said['error']}\n"
    assert quiet.log(ERRORS).count("Job rejected") == refusals + 2
    assert ask("jobs", "stats").stdout == before


def test_a_refusal_cannot_play_with_the_terminal(ask: Invoke) -> None:
    result = ask("run-job", "Work\x1b[2J\n\u202e", "echo")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr
    assert "\u202e" not in result.stderr


@pytest.mark.parametrize(("given", "stored"), [("low", -10), ("normal", 0), ("0", 0), ("critical", 20), ("-100", -100)])
def test_a_priority_is_a_number_or_a_word_and_wins_over_the_allow_lists(
    make_site: Callable[..., Site], given: str, stored: int
) -> None:
    site = make_site(allowed_jobs='{"tests.jobcode.Work": {"methods": {"echo": {"priority": 7}}}}')
    result = site.app.test_cli_runner().invoke(args=["run-job", "Work", "echo", "--priority", given, "--json"])
    assert accepted(result)["priority"] == stored


def test_every_option_is_stored(site: Site, invoke: Invoke) -> None:
    words = ["--backoff", "5 fixed", "--delay", "90.5", "--queue", "slow", "--timeout", "0.5", "--unique-key", "k 1"]
    job = accepted(invoke("run-job", "Work", "echo", *words, "--json"))
    waits = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["created_at"])
    assert (job["status"], job["queue"], waits) == ("scheduled", "slow", timedelta(seconds=90.5))
    text = invoke("jobs", "show", str(job["id"])).stdout
    assert "backoff 5 s fixed" in text
    assert "time limit 0.5 s" in text
    assert "unique key k 1" in text
    assert "by command" in text


def test_people_are_told_the_job_and_its_status(invoke: Invoke) -> None:
    assert invoke("run-job", "Work", "add", "1", "2").stdout == "job 1 is pending\n"
    later = invoke("run-job", "Work", "add", "1", "2", "--delay", "900").stdout
    assert later.startswith("job 2 is scheduled to run at 20")
    assert later.endswith(" UTC\n")


def test_an_unfinished_job_with_the_same_unique_key_is_returned(invoke: Invoke) -> None:
    invoke("run-job", "Work", "echo", "first", "--unique-key", "nightly")
    again = invoke("run-job", "Work", "echo", "second", "--unique-key", "nightly")
    assert again.exit_code == 0
    assert again.stdout == "job 1 is pending: it was asked for before with the unique key nightly\n"
    assert accepted(invoke("run-job", "Work", "echo", "third", "--unique-key", "nightly", "--json"))["params"] == {
        "value": "first"
    }


def test_an_inline_job_has_ended_when_the_command_answers(make_site: Callable[..., Site]) -> None:
    runner = make_site(inline="yes").app.test_cli_runner()
    assert runner.invoke(args=["run-job", "Work", "add", "1", "2"]).stdout == "job 1 is completed\n"
    waited = runner.invoke(args=["run-job", "Work", "add", "1", "2", "--wait"])
    assert (waited.exit_code, waited.stdout, waited.stderr) == (0, "3\n", "")


# Who will run it -------------------------------------------------------------------------------------------------


def test_with_no_application_process_the_command_says_that_the_job_waits(invoke: Invoke) -> None:
    result = invoke("run-job", "Work", "add", "1", "2")
    assert result.exit_code == 0
    assert "job 1 is stored and waits until one starts" in result.stderr
    assert "run)" in result.stderr


def test_with_an_application_process_it_says_nothing(site: Site, invoke: Invoke) -> None:
    lock = Node.join(site.instance).leader_lock()
    assert lock.try_exclusive()
    try:
        assert invoke("run-job", "Work", "add", "1", "2").stderr == ""
        assert invoke("run-job", "Work", "add", "1", "2", "--delay", "9").stderr == ""
    finally:
        lock.release()


def test_a_living_runner_takes_what_is_due_and_not_what_is_due_later(site: Site, invoke: Invoke) -> None:
    slot = Node.join(site.instance).take_slot(1)
    assert slot is not None
    try:
        assert invoke("run-job", "Work", "add", "1", "2").stderr == ""
        assert "job 2 is stored and waits" in invoke("run-job", "Work", "add", "1", "2", "--delay", "9").stderr
    finally:
        slot.release()


def test_a_command_wakes_the_leader_and_starts_nothing(site: Site, invoke: Invoke) -> None:
    node = Node.join(site.instance)
    leader = system.Mailbox(node.channel("leader"))
    try:
        invoke("run-job", "Work", "add", "1", "2")
        assert leader.drain() == 1
        assert not node.has_leader()
        assert not node.has_host()
        assert site.processes() == []
    finally:
        leader.close()
