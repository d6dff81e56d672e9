"""The verdict of a soak: what grew is told from what stays, with room for small numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bgapp.testing import samples
from bgapp.testing.samples import Sample

MIB = 1024 * 1024


def verdict(name: str, values: Sequence[float]) -> str:
    taken: list[Sample] = [{name: value} for value in values]
    (found,) = samples.compare(taken)
    return "grown" if found.grown else "flat"


@pytest.mark.parametrize(
    ("name", "first", "last", "expected"),
    [
        ("app descriptors", 10, 12, "flat"),
        ("app descriptors", 10, 13, "grown"),
        ("runner private", 1 * MIB, 2.9 * MIB, "flat"),
        ("runner private", 100 * MIB, 104 * MIB, "flat"),
        ("runner private", 100 * MIB, 106 * MIB, "grown"),
        ("runner private", 100 * MIB, 50 * MIB, "flat"),
        ("zombies", 0, 4, "grown"),
        ("entries", 40, 43, "flat"),
        ("entries", 40, 44, "grown"),
        ("log bytes per job", 900, 1000, "grown"),
        ("logs", 1_000, 9_000, "flat"),
    ],
)
def test_the_first_quarter_is_held_against_the_last(name: str, first: float, last: float, expected: str) -> None:
    assert verdict(name, [first] * 4 + [0.0] * 8 + [last] * 4) == expected


def test_one_sample_that_stands_out_changes_no_verdict() -> None:
    assert verdict("app rss", [50.0 * MIB] * 15 + [500.0 * MIB]) == "flat"


def test_a_measure_that_is_not_there_at_both_ends_has_no_verdict() -> None:
    assert samples.compare([{"host rss": 1.0}, {}, {}, {"app rss": 1.0}]) == []
