from __future__ import annotations

import inspect
from typing import Any

import pytest
from sqlalchemy.orm import Session

import bgapp
from bgapp import enqueue, run_background_job, run_background_jobs
from bgapp.errors import ConfigurationError


def test_the_signature_is_the_contracts() -> None:
    signature = inspect.signature(run_background_job)
    shown = [
        (name, one.kind is one.KEYWORD_ONLY, None if one.default is one.empty else (one.default,))
        for name, one in signature.parameters.items()
    ]
    assert shown == [
        ("job_class", False, None),
        ("method", False, None),
        ("params", False, (None,)),
        ("retries", False, (None,)),
        ("delay", False, (0,)),
        ("priority", False, (0,)),
        ("queue", True, ("default",)),
        ("timeout", True, (None,)),
        ("backoff", True, (None,)),
        ("unique_key", True, (None,)),
        ("session", True, (None,)),
    ]


def test_each_of_many_takes_the_same_arguments_but_the_session() -> None:
    own = {"job_class", "method", "params", "session"}
    assert set(inspect.signature(run_background_job).parameters) - own == enqueue.OPTIONS
    assert list(inspect.signature(run_background_jobs).parameters) == ["jobs", "session"]


def test_the_docstring_explains_every_argument() -> None:
    words = inspect.getdoc(run_background_job) or ""
    for name in inspect.signature(run_background_job).parameters:
        assert name in words, name


def test_the_helpers_are_names_of_the_package() -> None:
    assert bgapp.run_background_job is enqueue.run_background_job
    assert bgapp.run_background_jobs is enqueue.run_background_jobs


@pytest.mark.parametrize(
    "ask",
    [
        lambda: run_background_job("Work", "add", [1, 2]),
        lambda: run_background_jobs([{"job_class": "Work", "method": "add"}]),
        lambda: run_background_job("Work", "add", [1, 2], session=Session()),
    ],
)
def test_outside_an_application_one_is_told_what_is_missing(ask: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no current application.*app\.app_context"):
        ask()
