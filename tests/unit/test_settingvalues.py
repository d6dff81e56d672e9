"""The readers of setting values: what each accepts, and that it raises nothing but ValueError for the rest."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from bgapp import settingvalues as values
from bgapp.backoff import Backoff

STRANGE: list[object] = [
    None,
    True,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    "9" * 5000,
    "",
    "x",
    "٣",
    "1_0",
    "0x10",
    b"1",
    [1],
    {},
]


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (100, 100), ("0", 0), ("100", 100), ("+7", 7), ("007", 7)])
def test_whole_numbers_within_the_range_are_read(value: object, expected: int) -> None:
    assert values.whole(0, 100)(value) == expected


@pytest.mark.parametrize("value", [*STRANGE, -1, 101, "-1", "101", 1.0, "1.0", "1e1"])
def test_whole_numbers_refuse_the_rest(value: object) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        values.whole(0, 100)(value)


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (0.1, 0.1), ("60", 60.0), ("0.5", 0.5)])
def test_seconds_within_the_range_are_read(value: object, expected: float) -> None:
    assert values.seconds(0.1, 60)(value) == expected


@pytest.mark.parametrize("value", [*STRANGE, 0.09, 60.01, "0", "61", "1e1", ".", "1.", "nan", "inf", "0,5", "1 s"])
def test_seconds_refuse_the_rest(value: object) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        values.seconds(0.1, 60)(value)


def test_seconds_may_exclude_the_lower_end() -> None:
    assert values.seconds(0, 10, above=True)("0.001") == 0.001
    for zero in (0, 0.0, "0", "0.0", "-0"):
        with pytest.raises(ValueError, match=r"^$"):
            values.seconds(0, 10, above=True)(zero)


def test_the_word_none_can_be_added_to_a_reader() -> None:
    read = values.or_none(values.whole(1, 9))
    assert read("none") is None
    assert read("None") is None
    assert read("3") == 3
    with pytest.raises(ValueError, match=r"^$"):
        read("nothing")


@pytest.mark.parametrize("value", [True, 1, "true", "TRUE", "1", "yes", "on"])
def test_switches_turn_on(value: object) -> None:
    assert values.switch(value) is True


@pytest.mark.parametrize("value", [False, 0, "false", "False", "0", "no", "off"])
def test_switches_turn_off(value: object) -> None:
    assert values.switch(value) is False


@pytest.mark.parametrize("value", [None, 2, 1.0, "", "y", "maybe", "10", [], b"yes"])
def test_switches_refuse_the_rest(value: object) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        values.switch(value)


def test_a_choice_takes_its_words_in_any_case() -> None:
    assert values.choice("text", "json")("JSON") == "json"
    for value in ("yaml", "", None, 1, ["text"]):
        with pytest.raises(ValueError, match=r"^$"):
            values.choice("text", "json")(value)


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\x1b[31m", "a\u202eb", "\udc80", "x" * 1025, 7, None, b"x"])
def test_text_refuses_what_cannot_be_shown(value: object) -> None:
    with pytest.raises(ValueError, match=r"^(this has .*)?$"):
        values.text(value)


@pytest.mark.parametrize(
    "value", ["wsgi:app", "wsgi", "shop.web:create_app()", "shop:make('test')", "shop.web:site.app"]
)
def test_applications_are_named_as_flask_does(value: str) -> None:
    assert values.application(value) == value


@pytest.mark.parametrize(
    "value", ["wsgi.py", "wsgi.py:app", "./wsgi", "a b", ":app", "wsgi:", "a..b", "os;evil", "a-b"]
)
def test_other_names_of_applications_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="dotted module name"):
        values.application(value)


def test_paths_know_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert values.path("~/logs") == tmp_path / "logs"
    assert values.path(Path("logs")) == Path("logs")


@pytest.mark.parametrize("value", ["a\0b", "a\nb", b"logs", 7])
def test_other_paths_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^(this has .*|the home .*)?$"):
        values.path(value)


@pytest.mark.skipif(os.name == "nt", reason="Windows derives a home folder for any name")
def test_the_home_folder_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="home folder is not known"):
        values.path("~nobody-of-this-name/logs")


def test_a_backoff_is_read() -> None:
    assert values.backoff("5 fixed") == Backoff(5.0, fixed=True)
    with pytest.raises(ValueError, match=r"^$"):
        values.backoff("soon")


@pytest.mark.parametrize("value", ["PIN, iban,pin", ["pin", " IBAN "], ("pin", "iban", "PIN")])
def test_words_are_lower_case_and_once(value: object) -> None:
    assert values.words(value) == ("pin", "iban")


@pytest.mark.parametrize(
    "value", ["a", "pin,,iban", "pin,", "two words", "x" * 65, ["pin", 7], 7, None, {"pin": 1}, "é!"]
)
def test_other_words_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        values.words(value)


def test_jobs_stay_as_they_are_in_python() -> None:
    for value in ({"a.B": ["c"]}, ["a.B"], (Path,), {}):
        assert values.jobs(value) is value


def test_jobs_in_text_are_json() -> None:
    assert values.jobs('{"a.B": ["c"]}') == {"a.B": ["c"]}
    assert values.jobs('["a.B"]') == ["a.B"]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("a.B", "line 1, column 1"),
        ('{"a.B": ["c"]', "JSON"),
        ('{"a.B": [1], "a.B": [2]}', "'a.B' stands in it twice"),
        ('{"a.B": [NaN]}', "NaN is not a JSON number"),
        ('{"a.B": [1e400]}', "1e400 is not a JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ('"a.B"', "^$"),
        ("7", "^$"),
        (7, "^$"),
        (None, "^$"),
        ({"a.B"}, "^$"),
    ],
)
def test_other_jobs_are_refused(value: object, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        values.jobs(value)
