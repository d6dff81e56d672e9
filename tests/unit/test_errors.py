from __future__ import annotations

import inspect

import pytest

from bgapp import errors
from bgapp.errors import SHOWN_CHARACTERS, BadOption, BgappError, JobRejected, UnknownJob, WrongState, shown

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("value", [1, "a", None, [1, 2], "é\n", b"\xff"])
def test_a_short_value_is_shown_as_its_repr(value: object) -> None:
    assert shown(value) == repr(value)


@pytest.mark.parametrize(
    "value", ["x" * 1000, ["y"] * 1000, 10**4000, "\0" * 500], ids=["text", "list", "number", "nul"]
)
def test_a_long_value_is_cut(value: object) -> None:
    assert len(shown(value)) == SHOWN_CHARACTERS
    assert shown(value).endswith("…")


def test_a_value_exactly_as_long_as_the_limit_is_whole() -> None:
    assert shown("x" * (SHOWN_CHARACTERS - 2)) == repr("x" * (SHOWN_CHARACTERS - 2))


class Hostile:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("no"), RecursionError(), ValueError("x" * 1000)], ids=repr)
def test_a_value_whose_repr_raises_is_shown_all_the_same(error: Exception) -> None:
    assert shown(Hostile(error)) == f"<Hostile whose repr raised {type(error).__name__}>"


def test_everything_that_is_raised_on_purpose_has_one_parent() -> None:
    assert all(issubclass(kind, BgappError) for kind in FAMILY)
    assert all(kind.__doc__ for kind in FAMILY)


def test_each_refusal_has_a_kind_of_its_own() -> None:
    kinds = [kind.kind for kind in FAMILY if issubclass(kind, JobRejected)]
    assert len(set(kinds)) == len(kinds) == 8


def test_a_refusal_tells_its_argument() -> None:
    refusal = BadOption("retries is 101", "retries")
    assert refusal.as_dict() == {"error": "retries is 101", "kind": "bad_option", "argument": "retries"}


def test_errors_about_jobs_name_the_job_and_what_cannot_be_done() -> None:
    assert str(UnknownJob(7)) == "there is no job 7"
    assert len(str(UnknownJob("x" * 1000))) < 120
    error = WrongState(7, "running", "deleted")
    assert (str(error), error.job_id, error.status) == ("job 7 is running: it cannot be deleted", 7, "running")
