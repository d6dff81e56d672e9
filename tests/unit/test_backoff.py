"""The wait before a retry, as people write it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgapp.backoff import Backoff
from bgapp.errors import ConfigurationError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (15, Backoff(15.0)),
        (15.5, Backoff(15.5)),
        (0, Backoff(0.0)),
        (3600, Backoff(3600.0)),
        ("15", Backoff(15.0)),
        (" 0.5 ", Backoff(0.5)),
        ("15 doubling", Backoff(15.0)),
        ("5 fixed", Backoff(5.0, fixed=True)),
        ("5   FIXED", Backoff(5.0, fixed=True)),
        (Backoff(7.0, fixed=True), Backoff(7.0, fixed=True)),
    ],
)
def test_a_number_and_an_optional_word_are_read(value: object, expected: Backoff) -> None:
    assert Backoff.parse(value) == expected
    assert isinstance(Backoff.parse(value).seconds, float)


@pytest.mark.parametrize(
    "value",
    [
        *(-1, 3600.1, math.nan, math.inf, 10**400, True, None, b"5", [5], {"seconds": 5}),
        *(
            "",
            "-1",
            "3601",
            "nan",
            "inf",
            "1e3",
            "1_0",
            "٣",
            "5fixed",
            "5 slowly",
            "fixed",
            "5 fixed fixed",
            "9" * 5000,
        ),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(value: object) -> None:
    with pytest.raises(ConfigurationError, match="from 0 to 3600") as caught:
        Backoff.parse(value)
    assert len(str(caught.value)) < 300


def test_a_backoff_built_by_hand_is_checked_too() -> None:
    with pytest.raises(ConfigurationError):
        Backoff(math.nan)
    with pytest.raises(ConfigurationError):
        Backoff(-0.1, fixed=True)


@given(st.integers(0, 3_600_000), st.booleans())
def test_its_text_reads_back_as_itself(milliseconds: int, fixed: bool) -> None:
    backoff = Backoff(milliseconds / 1000, fixed)
    assert Backoff.parse(str(backoff)) == backoff
