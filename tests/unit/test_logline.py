from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgapp.logline import Line, as_json, as_text, dropped_as_json, dropped_as_text

NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, UTC)
HIDDEN = "\x00\x07\n\r\t\x1b\x7f\x85\x9b\xad\u061c\u200b\u200d\u200f\u2028\u2029\u202e\u2066\u2069\ufeff\U000e0041"


def line(title: str = "Job running", **changes: Any) -> Line:
    facts: dict[str, Any] = {
        "job_class": "shop.jobs.ReportJob",
        "method": "build",
        "params": {"month": "2026-10"},
        "at": NOON,
        "job": 12,
        "attempt": 1,
    }
    return Line(title=title, **(facts | changes))


def rejected(**changes: Any) -> Line:
    return line("Job rejected", job=None, attempt=None, **changes)


def fields(text: str) -> dict[str, str]:
    title, *rest = text.split(" | ")
    return {"title": title, **dict(part.split(": ", 1) for part in rest)}


def test_text_has_the_agreed_shape() -> None:
    assert as_text(line()) == (
        'Job running | Class: shop.jobs.ReportJob | Method: build | Parameters: {"month": "2026-10"}'
        " | Timestamp: 2026-11-22 12:00:00 | Job: 12 | Attempt: 1"
    )


def test_a_failure_ends_with_its_error() -> None:
    assert as_text(line("Job failed", error="ValueError: no")).endswith(
        " | Job: 12 | Attempt: 1 | Error: ValueError: no"
    )


def test_facts_that_are_not_there_are_left_out_of_text() -> None:
    text = as_text(rejected(params=None, error="not in the allow-list"))
    assert text.endswith("| Parameters: {} | Timestamp: 2026-11-22 12:00:00 | Error: not in the allow-list")


def test_times_are_utc_whatever_zone_they_come_in() -> None:
    east = timezone(timedelta(hours=5))
    assert "Timestamp: 2026-11-22 12:00:00 |" in as_text(line(at=NOON.astimezone(east)))
    assert json.loads(as_json(line(at=NOON.astimezone(east))))["ts"] == "2026-11-22T12:00:00.250000Z"


def test_json_has_the_same_facts() -> None:
    assert json.loads(as_json(line("Job failed", error="ValueError: no"))) == {
        "ts": "2026-11-22T12:00:00.250000Z",
        "level": "error",
        "event": "Job failed",
        "class": "shop.jobs.ReportJob",
        "method": "build",
        "params": {"month": "2026-10"},
        "job": 12,
        "attempt": 1,
        "error": "ValueError: no",
    }


def test_json_says_null_for_facts_that_are_not_there() -> None:
    facts = json.loads(as_json(rejected()))
    assert (facts["job"], facts["attempt"], facts["error"]) == (None, None, None)


@pytest.mark.parametrize("title", ["Job failed", "Job lost", "Job rejected"])
def test_some_titles_are_errors_by_themselves(title: str) -> None:
    assert line(title).is_error
    assert json.loads(as_json(line(title)))["level"] == "error"


def test_other_titles_are_errors_when_told_so() -> None:
    assert not line("Job retry scheduled").is_error
    assert line("Job retry scheduled", level="error").is_error


@pytest.mark.parametrize("character", HIDDEN, ids=ascii)
def test_no_control_bidi_or_invisible_character_gets_into_a_line(character: str) -> None:
    value = f"a{character}Job failed"
    hostile = line(params={value: [value]}, error=value, job_class=value, method=value)
    for text in (as_text(hostile), as_json(hostile)):
        assert character not in text
        assert len(text.splitlines()) == 1
    assert json.loads(as_json(hostile))["error"] == value
    assert json.loads(fields(as_text(hostile))["Parameters"]) == {value: [value]}


def test_escapes_are_those_of_json_and_so_can_be_undone() -> None:
    error = 'C:\\new | "x"\r\n\U000e0041'
    text = fields(as_text(line("Job failed", error=error)))["Error"]
    assert text == 'C:\\\\new \\u007c "x"\\r\\n\\udb40\\udc41'
    assert json.loads('"' + text.replace('"', '\\"') + '"') == error


@pytest.mark.parametrize("value", ["a | b", "| b", "a |", "|", " | | | ", "a | Job: 13", "|  |", "\n| x"])
def test_no_value_can_look_like_a_field(value: str) -> None:
    text = as_text(line("Job failed", params={"a": value}, error=value, job_class=value, method=value))
    assert list(fields(text)) == ["title", "Class", "Method", "Parameters", "Timestamp", "Job", "Attempt", "Error"]
    assert json.loads(fields(text)["Parameters"]) == {"a": value}


def test_a_bar_inside_a_word_stays_readable() -> None:
    assert as_text(line("Job failed", error="int|str")).endswith("Error: int|str")


def test_letters_of_other_languages_stay_readable() -> None:
    assert '{"städte": "東京"}' in as_text(line(params={"städte": "東京"}))


def test_a_refused_name_shows_only_name_characters_and_at_most_eighty() -> None:
    found = fields(as_text(rejected(job_class="os;system('x') | Job: 1\n", method="x" * 500)))
    assert found["Class"] == "os?system??x?????Job??1?"
    assert found["Method"] == "x" * 80


def test_an_allowed_name_stays_whole() -> None:
    assert fields(as_text(line(job_class="shop." + "j" * 150)))["Class"] == "shop." + "j" * 150


def test_secrets_are_masked_in_parameters_and_error() -> None:
    params = {"password": "hunter2hunter2", "nested": [{"code": "very-secret"}], "month": "2026-10"}
    secret = line(
        "Job failed",
        params=params,
        secret_names=("code",),
        error="login with hunter2hunter2 at postgres://me:pw-of-db@host failed: very-secret",
    )
    for text in (as_text(secret), as_json(secret)):
        assert "hunter2" not in text
        assert "very-secret" not in text
        assert "pw-of-db" not in text
        assert "2026-10" in text


def test_own_words_mark_secrets_too() -> None:
    card = line(params={"card": "4111111111111111"}, error="bad card 4111111111111111")
    assert "4111" in as_text(card)
    for text in (as_text(card, ("card",)), as_json(card, ("card",))):
        assert "4111" not in text


def test_a_secret_that_the_cut_would_halve_is_masked_before() -> None:
    secret = "s3cret" * 20
    text = as_text(line("Job failed", params={"token": secret}, error="x" * 3000 + secret))
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "filler", ["x", "é", "東", "\n", "\\", '"', " | ", "\u2028", "\U000e0041", "\ud800"], ids=ascii
)
@pytest.mark.parametrize("title", ["Job failed", "Job rejected"])
def test_a_line_never_has_more_than_8_kib(filler: str, title: str) -> None:
    long = filler * 20_000
    huge = line(title, params={long: long}, error=long, job_class=long, method=long, job=2**63, attempt=2**31)
    text, as_object = as_text(huge), as_json(huge)
    for shape in (text, as_object):
        assert len(shape.encode()) < 8192
    facts = json.loads(as_object)
    assert facts["params"].endswith("…")
    assert facts["error"].endswith("…")
    assert fields(text)["Error"].endswith("…")
    json.loads('"' + fields(text)["Error"].replace('"', '\\"') + '"')


def test_parameters_that_fit_stay_an_object_in_json() -> None:
    assert json.loads(as_json(line(params={"text": "x" * 4000})))["params"] == {"text": "x" * 4000}


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class BrokenMapping(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no")


def circle() -> list[Any]:
    found: list[Any] = [1]
    found += [found, found, found]
    return found


ODD: dict[str, object] = {
    "an object": Broken(),
    "an object inside": {"a": Broken()},
    "a circle": circle(),
    "keys of any type": {(1, 2): 3, None: 4, 5: 6},
    "numbers that are none": [float("nan"), float("inf")],
    "a huge number": 10**5000,
    "bytes": b"\xff",
    "a set": {"a": {1, 2}},
    "half a pair": "\ud800",
    "a long text": ["x" * 10_000_000],
    "a long list": list(range(1_000_000)),
}


@pytest.mark.parametrize("params", ODD.values(), ids=ODD.keys())
def test_a_refused_call_is_told_whatever_its_parameters_are(params: object) -> None:
    refused = rejected(params=params, error="BadParameters")
    assert as_text(refused).endswith("| Error: BadParameters")
    assert json.loads(as_json(refused))["error"] == "BadParameters"
    assert "NaN" not in as_json(refused)
    assert len(as_text(refused).encode()) < 8192


def test_where_secrets_cannot_be_looked_for_nothing_that_may_hold_them_is_shown() -> None:
    text = as_text(rejected(params=BrokenMapping(a=1), error="secret"))
    assert fields(text)["Parameters"] == '"<not shown: RuntimeError>"'
    assert fields(text)["Error"] == "<not shown: RuntimeError>"


def test_deep_parameters_of_a_refused_call_are_told_to_some_depth() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "…" in as_text(rejected(params=deep))


def test_dropped_lines_are_told_in_both_forms() -> None:
    assert dropped_as_text(3, NOON) == "Log lines dropped | Count: 3 | Timestamp: 2026-11-22 12:00:00"
    assert json.loads(dropped_as_json(3, NOON)) == {
        "ts": "2026-11-22T12:00:00.250000Z",
        "level": "error",
        "event": "Log lines dropped",
        "count": 3,
    }


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())), st.text(), st.text(), st.text())
def test_any_values_give_one_line_with_its_fields(params: Any, error: str, job_class: str, method: str) -> None:
    text = as_text(line("Job failed", params=params, error=error, job_class=job_class, method=method))
    assert len(text.encode()) < 8192
    assert len(text.splitlines()) == 1
    assert list(fields(text)) == ["title", "Class", "Method", "Parameters", "Timestamp", "Job", "Attempt", "Error"]
    json.loads(as_json(line(params=params, error=error, job_class=job_class, method=method)))
