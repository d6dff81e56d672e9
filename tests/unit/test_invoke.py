from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest

from bgapp.allowlist import AllowList
from bgapp.errors import BadParameters, ClassNotAllowed, ClassUnknown, JobRejected, MethodNotAllowed, MethodUnknown
from bgapp.invoke import Call, prepare

WORK = "tests.jobcode.Work"
LIST = AllowList.from_setting(
    {
        WORK: ["add", "echo", "day_after", "fail", "later", "static", "of_class"],
        "tests.jobcode.Broken": ["run"],
        "tests.jobcode.Gone": ["run"],
    }
)


def prepared(method: str, /, job_class: str = WORK, **params: Any) -> Call:
    return prepare(LIST, job_class, method, json.dumps(params))


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("add", {"first": 1, "second": 2}, 3),
        ("echo", {}, None),
        ("echo", {"value": {"a": [1]}}, {"a": [1]}),
        ("later", {"value": 5}, 5),
        ("static", {"value": 6}, 6),
        ("of_class", {}, "Work"),
        ("day_after", {"day": "2026-12-31"}, "2027-01-01"),
    ],
)
def test_a_stored_job_is_called(method: str, params: dict[str, Any], result: Any) -> None:
    assert prepared(method, **params)() == result


def test_parameters_are_converted_before_the_call() -> None:
    call = prepared("day_after", day="2026-12-31")
    assert [*call.arguments, *call.named.values()] == [date(2026, 12, 31)]


def test_each_call_is_of_a_fresh_instance() -> None:
    first, second = (prepared("echo").target.__self__ for _ in range(2))  # type: ignore[attr-defined] # bound methods
    assert type(first) is type(second)
    assert first is not second


def test_what_the_method_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="no such luck"):
        prepared("fail")()


def test_what_making_the_instance_raises_is_raised_before_the_call() -> None:
    with pytest.raises(RuntimeError, match="out of order"):
        prepared("run", job_class="tests.jobcode.Broken")


@pytest.mark.parametrize(
    ("job_class", "method", "refusal"),
    [
        ("os.path", "join", ClassNotAllowed),
        ("tests.jobcode.Gone", "run", ClassUnknown),
        (WORK, "nope", MethodUnknown),
        (WORK, "exit", MethodNotAllowed),
    ],
)
def test_the_allow_list_is_asked_once_more(job_class: str, method: str, refusal: type[JobRejected]) -> None:
    with pytest.raises(refusal):
        prepared(method, job_class)


@pytest.mark.parametrize("params", [{"first": 1}, {"first": 1, "second": 2, "third": 3}, {"first": "x", "second": 2}])
def test_parameters_that_no_longer_fit_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(BadParameters):
        prepared("add", **params)


def test_a_coroutine_is_run_also_where_a_loop_runs_already() -> None:
    async def outer() -> Any:
        return prepared("later", value=7)()

    # In a thread of its own: browser tests leave a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: asyncio.run(outer())).result() == 7
