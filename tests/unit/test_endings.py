"""What is said of an attempt's end: who died of what, what follows, what to do; on the page and in the shell alike."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from bgapp import endings
from bgapp.models import Reason, Status

AT = datetime(2026, 11, 28, 3, 4, 5, tzinfo=UTC)


def row(**values: Any) -> Any:
    usual = {"id": 12, "status": Status.FAILED, "reason": Reason.LOST, "retries": 3, "attempt": 2, "attempt_limit": 4}
    return SimpleNamespace(**{**usual, "run_at": AT, **values})


def attempt(**values: Any) -> Any:
    usual = {"number": 2, "status": Status.FAILED, "reason": Reason.LOST, "finished_at": AT, "error": "it was killed"}
    return SimpleNamespace(**{**usual, "signal": None, "exit_code": None, **values})


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (row(status=Status.SCHEDULED), "It is tried again at 2026-11-28 03:04:05 UTC: attempt 3 of 4."),
        (row(status=Status.PENDING), "It is tried again as soon as a runner is free: attempt 3 of 4."),
        (row(attempt=3), "Attempt 3 followed."),
        (row(status=Status.CANCELLED), "It is not tried again by itself. To run it once more: `jobs retry 12`"),
        (row(attempt_limit=2), "It is not tried again: no retry is left. Find out who ended it"),
        (row(attempt_limit=2, retries=0), "It is not tried again: no retry was asked for. "),
        (row(reason=Reason.POISON), "It is not tried again. It seems to kill whatever runs it: mend that first. Then"),
        (row(reason="by hand"), "It is not tried again. Read its error. Then `jobs retry 12`"),
        (row(status=Status.RUNNING), ""),
    ],
)
def test_what_follows_an_attempt_is_told_with_what_to_do(job: Any, words: str) -> None:
    assert endings.sequel(job, attempt()).startswith(words)
    assert bool(words) == bool(endings.sequel(job, attempt()))


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.CANCELLED])
def test_every_reason_has_its_advice(reason: Reason) -> None:
    told = endings.sequel(row(reason=reason), attempt(reason=reason))
    assert "Read its error" not in told
    assert told.endswith(". Then `jobs retry 12`, or Retry on its page.")
    assert len(told) < 200


def test_advice_goes_by_what_killed_the_process() -> None:
    assert "stack of the crash" in endings.sequel(row(), attempt(signal="SIGSEGV"))
    starved = attempt(signal="SIGKILL", error=f"the process {endings.OUT_OF_MEMORY}")
    assert "more memory" in endings.sequel(row(), starved)


def test_an_attempt_that_was_not_started_says_that_it_cost_nothing() -> None:
    told = endings.sequel(row(status=Status.PENDING), attempt(reason=Reason.NOT_STARTED))
    assert told.endswith("This used no retry.")


@pytest.mark.parametrize("one", [attempt(finished_at=None), attempt(status=Status.COMPLETED)])
def test_nothing_is_said_of_what_runs_or_went_well(one: Any) -> None:
    assert endings.sequel(row(), one) == ""


@pytest.mark.parametrize("name", endings.SIGNALS)
def test_every_signal_that_is_explained_exists_and_is_named_in_its_explanation(name: str) -> None:
    assert hasattr(signal, name)
    assert name in endings.ended_by(name, None, True)


def test_who_killed_is_told_as_far_as_the_kernel_says_it() -> None:
    assert endings.ended_by("SIGKILL", True, False) == (
        "the process was killed by the kernel for lack of memory (SIGKILL) before the method was entered"
    )
    assert endings.ended_by("SIGKILL", False, True) == (
        "the process was killed (SIGKILL) while the method ran, so it may have had effects: "
        "a person or another program did it, and not the kernel for lack of memory"
    )
    assert "or by the kernel" in endings.ended_by("SIGKILL", None, None)
    assert endings.ended_by("SIG62", None, None) == "the process was ended by SIG62"


def test_whether_effects_are_possible_is_told_only_where_it_is_known() -> None:
    assert endings.when(True) == " while the method ran, so it may have had effects"
    assert endings.when(False) == " before the method was entered"
    assert endings.when(None) == ""


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (attempt(signal="SIGKILL"), "SIGKILL"),
        (attempt(exit_code=3), "exit code 3"),
        (attempt(exit_code=0), "exit code 0"),
        (attempt(exit_code=0, status=Status.COMPLETED), ""),
        (attempt(), ""),
    ],
)
def test_how_a_process_ended_is_told_in_two_words(one: Any, words: str) -> None:
    assert endings.process_end(one) == words
