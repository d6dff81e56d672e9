from __future__ import annotations

import json

import click
import pytest

from bgapp.cli import show, words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00 s"),
        (59.994, "59.99 s"),
        (60, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_fits(value: float, text: str) -> None:
    assert show.seconds(value) == text


def test_sizes() -> None:
    assert [show.size(1536 * 1024), show.size(3 * 2**30)] == ["1.5 MiB", "3.0 GiB"]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\r", "\u202e", "\x9b", "\ud800", "\U000e0041"])
def test_nothing_that_acts_on_a_terminal_is_printed(text: str) -> None:
    for printed in (show.line(text), show.as_json({"text": text, text: 1}), show.cut(text)):
        assert text not in printed
    assert json.loads(show.as_json({"text": text}))["text"] == text, "as JSON it is the same after all"


def test_json_keeps_letters_readable() -> None:
    assert "grüße \N{ROCKET}" in show.as_json(["grüße \N{ROCKET}"])


def test_columns_are_aligned_whatever_their_colours() -> None:
    rows = [(click.style("ok", fg="green"), "1"), ("problem", "2")]
    assert [len(line) for line in click.unstyle(show.table(("A", "B"), rows)).splitlines()] == [10, 10, 10]


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-5", -5), ("0.5", 0.5), (".5", 0.5), ("5.", 5.0)]
    + [(text, text) for text in ("1e3", "nan", "inf", "+5", "5_0", "0x5", "", " 5", "٣", "9" * 16, "low")],
)
def test_only_decimal_digits_are_a_number(text: str, value: object) -> None:
    found = words.number(text)
    assert found == value
    assert type(found) is type(value)
