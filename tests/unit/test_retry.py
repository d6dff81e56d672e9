from __future__ import annotations

import random

import pytest

from bgapp.backoff import Backoff
from bgapp.retry import wait


@pytest.mark.parametrize("failures", [1, 2, 3, 100, 10**6])
def test_a_fixed_wait_is_exact(failures: int) -> None:
    assert wait(Backoff(5, fixed=True), failures, random.Random(1)) == 5


@pytest.mark.parametrize(("failures", "middle"), [(1, 15), (2, 30), (3, 60), (8, 1920)])
def test_a_doubling_wait_doubles_with_each_failure(failures: int, middle: float) -> None:
    backoff = Backoff(15)
    assert wait(backoff, failures, lambda: 0.5) == middle
    assert wait(backoff, failures, lambda: 0.0) == middle * 0.75
    assert wait(backoff, failures, lambda: 1.0) == middle * 1.25


@pytest.mark.parametrize("seconds", [0.001, 15, 3000, 3600])
@pytest.mark.parametrize("failures", [50, 101, 5000, 10**9])
def test_no_wait_is_over_an_hour_and_waits_stay_spread(seconds: float, failures: int) -> None:
    source = random.Random(7)
    waits = [wait(Backoff(seconds), failures, source) for _ in range(200)]
    assert max(waits) <= 3600
    assert min(waits) >= 2700
    assert len(set(waits)) > 150


def test_no_wait_stays_none() -> None:
    assert wait(Backoff(0), 7, random.random) == 0


def test_there_is_no_wait_before_the_first_failure() -> None:
    with pytest.raises(ValueError, match="failures is 0"):
        wait(Backoff(1), 0, random.random)
