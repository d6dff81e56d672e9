"""How fast the number of runners may grow."""

from __future__ import annotations

import pytest

from bgapp import clock
from bgapp.dispatch import GROWTH, Growth


class Moments:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    found = Moments()
    monkeypatch.setattr(clock, "monotonic", found)
    return found


def test_a_burst_gets_a_cores_worth_of_runners_at_once_and_more_while_it_lasts(moments: Moments) -> None:
    growth = Growth(step=2)
    assert growth.take(20) == 2
    assert growth.take(18) == 0, "asked again at once, as each enqueued job does"
    moments.now += GROWTH * 0.6
    assert growth.take(18) == 1
    moments.now += GROWTH
    assert growth.take(17) == 2


def test_what_was_not_used_does_not_pile_up(moments: Moments) -> None:
    growth = Growth(step=2)
    moments.now += 3600
    assert growth.take(20) == 2


def test_no_more_are_taken_than_are_wanted(moments: Moments) -> None:
    growth = Growth(step=4)
    assert [growth.take(1) for _ in range(5)] == [1, 1, 1, 1, 0]


def test_a_machine_with_one_core_may_have_two(moments: Moments) -> None:
    assert Growth().take(100) >= 2
