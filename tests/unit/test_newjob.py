from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bgapp import settings as settings_module
from bgapp.allowlist import AllowList
from bgapp.backoff import Backoff
from bgapp.errors import BadOption, BadParameters, ClassNotAllowed, MethodNotAllowed
from bgapp.models import Status
from bgapp.newjob import build, from_words
from bgapp.records import NewJob
from bgapp.settings import Settings
from tests.jobcode import Work

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIST = AllowList.from_setting(
    {
        "tests.jobcode.Work": {
            "methods": {
                "add": {},
                "echo": {"retries": 9, "priority": 15, "queue": "slow", "timeout": 60, "backoff": 7},
                "secret": {},
            }
        }
    }
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("instance")
    return settings_module.load(folder, environ={"BGAPP_SECRET_KEYS": "iban"})


def built(settings: Settings, method: object = "add", params: object = (1, 2), **options: Any) -> NewJob:
    job_class = options.pop("job_class", Work)
    return build(
        settings, LIST, job_class, method, list(params) if isinstance(params, tuple) else params, now=NOW, **options
    )


def test_a_call_that_says_nothing_gets_the_settings(settings: Settings) -> None:
    assert built(settings) == NewJob(
        job_class="tests.jobcode.Work",
        method="add",
        params='{"first":1,"second":2}',
        secret_params="[]",
        retries=3,
        backoff=Backoff(15),
        timeout=None,
        queue="default",
        priority=0,
        run_at=NOW,
        created_at=NOW,
    )


def test_the_allow_lists_own_options_come_before_the_settings(settings: Settings) -> None:
    job = built(settings, "echo", (1,))
    assert (job.retries, job.priority, job.queue, job.timeout, job.backoff) == (9, 15, "slow", 60.0, Backoff(7))


def test_the_signatures_defaults_count_as_not_said(settings: Settings) -> None:
    """The helper's `priority=0` and `queue="default"` are what a call has that names neither."""
    job = built(settings, "echo", (1,), priority=0, queue="default")
    assert (job.priority, job.queue) == (15, "slow")


@pytest.mark.parametrize(("priority", "number"), [("normal", 0), (1, 1), ("low", -10), (-100, -100)])
def test_a_priority_that_is_said_wins(settings: Settings, priority: object, number: int) -> None:
    assert built(settings, "echo", (1,), priority=priority).priority == number


@pytest.mark.parametrize("priority", [False, 0.0, "0", [0]])
def test_what_only_equals_zero_is_no_priority(settings: Settings, priority: object) -> None:
    with pytest.raises(BadOption) as caught:
        built(settings, priority=priority)
    assert caught.value.argument == "priority"


class Unequal:
    """Like an array: its comparison is no truth value."""

    def __eq__(self, _: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("name", ["retries", "delay", "priority", "queue", "timeout", "backoff", "unique_key"])
def test_an_option_of_any_type_is_refused_by_its_name(settings: Settings, name: str) -> None:
    with pytest.raises(BadOption) as caught:
        built(settings, **{name: Unequal()})
    assert caught.value.argument == name


def test_everything_that_is_said_is_kept(settings: Settings) -> None:
    job = built(
        settings, retries=0, delay=60, timeout=5, backoff="5 fixed", queue="q", unique_key="k", created_by="ann"
    )
    assert (job.retries, job.run_at - NOW, job.timeout) == (0, timedelta(seconds=60), 5.0)
    assert (job.backoff, job.queue, job.unique_key, job.created_by) == (Backoff(5, fixed=True), "q", "k", "ann")
    row = job.row()
    assert (row["status"], row["attempt_limit"], row["backoff"], row["backoff_fixed"]) == (
        Status.SCHEDULED,
        1,
        5.0,
        True,
    )


def test_a_job_without_a_delay_is_pending(settings: Settings) -> None:
    assert built(settings).row()["status"] is Status.PENDING
    assert built(settings, delay=0.001).row()["status"] is Status.SCHEDULED


def test_secret_parameters_are_named(settings: Settings) -> None:
    job = built(settings, "secret", {"password": "p"})
    assert json.loads(job.params) == {"password": "p"}, "the copy that runs is whole"


@pytest.mark.parametrize(
    ("change", "refusal", "argument"),
    [
        ({"job_class": "os.path"}, ClassNotAllowed, "job_class"),
        ({"job_class": None}, ClassNotAllowed, "job_class"),
        ({"method": "fail"}, MethodNotAllowed, "method"),
        ({"params": (1,)}, BadParameters, "params"),
        ({"params": "1 2"}, BadParameters, "params"),
        ({"retries": -1}, BadOption, "retries"),
    ],
)
def test_a_refusal_names_the_argument_at_fault(
    settings: Settings, change: dict[str, Any], refusal: type[BadOption], argument: str
) -> None:
    with pytest.raises(refusal) as caught:
        built(settings, **change)
    assert caught.value.argument.startswith(argument) or argument == "params"


# Words of a command --------------------------------------------------------------------------------------------


def test_words_stand_by_position_and_kwargs_by_name() -> None:
    assert from_words(["1", "b c"], None) == ["1", "b c"]
    assert from_words([], None) == []
    assert from_words([], '{"first": 1}') == {"first": 1}


@pytest.mark.parametrize("named", ["[1]", "5", '"text"', "null", "{broken", "", '{"a": NaN}', "[" * 100_000])
def test_kwargs_take_a_json_object(named: str) -> None:
    with pytest.raises(BadParameters):
        from_words([], named)


def test_words_and_kwargs_do_not_mix() -> None:
    with pytest.raises(BadParameters, match="not both"):
        from_words(["1"], "{}")
