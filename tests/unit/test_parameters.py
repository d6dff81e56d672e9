from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr

from bgapp import masking, methods
from bgapp.errors import BadParameters, MethodUnknown
from bgapp.parameters import bind, call_arguments, describe, masked_as_given, signature_text
from tests.unit.job_classes import Address, Colour, Foreign, Level, Login, Parameters, Point, Renamed, Report

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
DAY = date(2026, 11, 22)
KEY = UUID("12345678-1234-5678-1234-567812345678")


def values(method: str, params: Any) -> dict[str, Any]:
    bound = bind(Parameters, method, params)
    assert json.loads(bound.text) == bound.values
    return bound.values


def called(method: str, params: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the call's arguments after storing `params` as JSON and reading them back."""
    return call_arguments(Parameters, method, json.loads(bind(Parameters, method, params).text))


def refusal(method: str, params: Any, argument: str = "params") -> str:
    with pytest.raises(BadParameters) as caught:
        bind(Parameters, method, params)
    assert caught.value.argument == argument
    assert caught.value.__cause__ is None
    message = str(caught.value)
    assert message.startswith("params: ")
    assert "\n" not in message
    assert len(message) < 700
    return message


# Shape


@pytest.mark.parametrize("params", [None, [], (), {}])
def test_no_parameters(params: Any) -> None:
    assert values("nothing", params) == {}
    assert bind(Parameters, "nothing", params).text == "{}"
    assert called("nothing", params) == ([], {})


@pytest.mark.parametrize(
    "params", [["a", "b"], ("a", "b"), {"first": "a", "second": "b"}, {"second": "b", "first": "a"}]
)
def test_positions_and_names_are_bound_alike(params: Any) -> None:
    assert bind(Parameters, "two", params).text == '{"first":"a","second":"b"}'
    assert called("two", params) == (["a", "b"], {})


@pytest.mark.parametrize("params", ["ab", b"ab", 5, {"a"}, iter(["a"]), (one for one in "ab"), object(), True])
def test_other_shapes_are_refused(params: Any) -> None:
    assert "give a list by position or a dict by name" in refusal("two", params)


def test_what_is_missing_is_named_with_the_signature() -> None:
    message = refusal("two", ["Test"], "params.second")
    assert message == "params: second is missing (1 given); the method is two(first: str, second: str)"
    assert "first, second are missing (0 given)" in refusal("two", None, "params.first")
    assert "first is missing" in refusal("two", {"second": "b"}, "params.first")


def test_too_many_are_counted() -> None:
    assert "3 given by position, but 2 is the most" in refusal("two", ["a", "b", "c"])
    assert "1 given by position, but 0 is the most; the method is nothing()" in refusal("nothing", ["a"])


def test_an_unexpected_name_is_named_with_the_nearest() -> None:
    assert "'secnd' is unexpected, did you mean second?" in refusal("two", {"first": "a", "secnd": "b"})
    assert "'x' is unexpected; the method is" in refusal("two", {"x": 1})
    assert "is unexpected" in refusal("two", {"x" * 10_000: 1})


@pytest.mark.parametrize("name", [1, None, True, b"first", ("first",)])
def test_names_are_text(name: Any) -> None:
    assert "is not text" in refusal("two", {name: "a", "second": "b"})


def test_defaults_that_were_not_given_are_not_stored() -> None:
    assert values("simple", []) == {}
    assert values("simple", {"flag": True}) == {"flag": True}
    assert called("simple", {"flag": True}) == ([], {"flag": True})


def test_an_unknown_method_is_unknown() -> None:
    for call in (bind, call_arguments):
        with pytest.raises(MethodUnknown):
            call(Parameters, "missing", {})


def test_static_class_and_async_methods_are_bound_without_their_first_parameter() -> None:
    assert bind(Report, "count", ["3"]).values == {"number": 3}
    assert bind(Report, "name", ["!"]).values == {"ending": "!"}
    assert bind(Report, "fetch", ["a"]).values == {"url": "a"}
    assert bind(Report, "cached", [3]).values == {"number": 3}
    assert methods.find(Report, "build").target()(*call_arguments(Report, "build", {"month": "2026-11-22"})[0]) == (
        "2026-11 False"
    )


# Conversion


def test_values_without_a_hint_stay() -> None:
    for value in ("5", 5, 5.5, True, None, [1, {"a": "b"}], "[1]", "2026-11-22"):
        assert values("plain", [value]) == {"value": value}
        assert called("plain", [value]) == ([value], {})


@pytest.mark.parametrize("value", [DAY, (1, 2), {1}, b"x", Decimal(1), object(), float("nan"), {1: 2}, "\0"])
def test_values_without_a_hint_are_json_values(value: Any) -> None:
    refusal("plain", [value])


@pytest.mark.parametrize(
    ("method", "given_", "stored", "received"),
    [
        ("simple", {"whole": "5"}, {"whole": 5}, {"whole": 5}),
        ("simple", {"whole": 5.0}, {"whole": 5}, {"whole": 5}),
        ("simple", {"whole": "-5"}, {"whole": -5}, {"whole": -5}),
        ("simple", {"whole": 2**63}, {"whole": 2**63}, {"whole": 2**63}),
        ("simple", {"part": "2.5"}, {"part": 2.5}, {"part": 2.5}),
        ("simple", {"part": 2}, {"part": 2.0}, {"part": 2.0}),
        ("simple", {"flag": "true"}, {"flag": True}, {"flag": True}),
        ("simple", {"flag": "no"}, {"flag": False}, {"flag": False}),
        ("simple", {"flag": 1}, {"flag": True}, {"flag": True}),
        ("simple", {"text": "5"}, {"text": "5"}, {"text": "5"}),
        ("simple", {"text": "[1]"}, {"text": "[1]"}, {"text": "[1]"}),
        ("simple", {"text": "null"}, {"text": "null"}, {"text": "null"}),
        ("simple", {"text": Level.__name__}, {"text": "Level"}, {"text": "Level"}),
        ("times", [DAY], {"day": "2026-11-22"}, [DAY]),
        ("times", ["2026-11-22"], {"day": "2026-11-22"}, [DAY]),
        (
            "times",
            [DAY, "2026-11-22T12:00:00Z", 90],
            {"day": "2026-11-22", "moment": "2026-11-22T12:00:00Z", "length": "PT1M30S"},
            [DAY, datetime(2026, 11, 22, 12, tzinfo=UTC), timedelta(seconds=90)],
        ),
        ("times", [DAY, "null"], {"day": "2026-11-22", "moment": None}, [DAY, None]),
        (
            "exact",
            ["1.10", str(KEY), "/tmp/x"],
            {"amount": "1.10", "key": str(KEY), "place": "/tmp/x"},
            [Decimal("1.10"), KEY, Path("/tmp/x")],
        ),
        (
            "exact",
            [Decimal("1.10"), KEY, Path("/tmp/x")],
            {"amount": "1.10", "key": str(KEY), "place": "/tmp/x"},
            [Decimal("1.10"), KEY, Path("/tmp/x")],
        ),
        (
            "chosen",
            ["blue", "2", "1"],
            {"colour": "blue", "level": 2, "size": 1},
            [Colour.BLUE, Level.HIGH, 1],
        ),
        (
            "chosen",
            [Colour.BLUE, Level.HIGH, "s"],
            {"colour": "blue", "level": 2, "size": "s"},
            [Colour.BLUE, Level.HIGH, "s"],
        ),
        ("nested", ["[1, 2]"], {"numbers": [1, 2]}, [[1, 2]]),
        ("nested", [["1", 2]], {"numbers": [1, 2]}, [[1, 2]]),
        ("nested", [(1, 2), '{"a": 1}'], {"numbers": [1, 2], "table": {"a": 1.0}}, [[1, 2], {"a": 1.0}]),
        ("nested", [[], "null"], {"numbers": [], "table": None}, [[], None]),
        (
            "models",
            ['{"street": "Elm", "since": "2026-11-22"}', {"x": "1", "y": 2}],
            {"address": {"street": "Elm", "since": "2026-11-22"}, "point": {"x": 1, "y": 2}},
            [Address(street="Elm", since=DAY), Point(1, 2)],
        ),
        (
            "models",
            [Address(street="Elm"), Point(1, 2)],
            {"address": {"street": "Elm", "since": None}, "point": {"x": 1, "y": 2}},
            [Address(street="Elm"), Point(1, 2)],
        ),
        ("unions", ["5"], {"either": "5"}, ["5"]),
        ("unions", [5, "2026-11-22"], {"either": 5, "day_or_none": "2026-11-22"}, [5, DAY]),
        ("unset", [None], {"day": None}, [None]),
        ("walked", [["1", 2]], {"items": [1, 2]}, [[1, 2]]),
        ("walked", ["[1, 2]"], {"items": [1, 2]}, [[1, 2]]),
        ("groups", [{"a"}, [1, DAY]], {"tags": ["a"], "pair": [1, "2026-11-22"]}, [{"a"}, (1, DAY)]),
        ("octets", [b"abc"], {"data": "abc"}, [b"abc"]),
        ("unresolved", [{"any": 1}, DAY], {"thing": {"any": 1}, "day": "2026-11-22"}, [{"any": 1}, DAY]),
        ("foreign", [[1], DAY], {"thing": [1], "day": "2026-11-22"}, [[1], DAY]),
        ("own_kind", ["a"], {"kind": "a"}, [Parameters.Kind.A]),
        ("shadowed", ["[1]"], {"numbers": [1]}, [[1]]),
    ],
)
def test_hints_convert_what_is_stored_and_what_is_received(
    method: str, given_: Any, stored: Any, received: Any
) -> None:
    names = methods.find(Parameters, method).signature.parameters
    assert values(method, given_) == stored
    arguments, named = called(method, given_)
    by_name = dict(zip(names, arguments, strict=False)) | named
    expected = received if isinstance(received, dict) else dict(zip(names, received, strict=False))
    assert by_name == expected
    assert {name: type(value) for name, value in by_name.items()} == {name: type(expected[name]) for name in by_name}


@pytest.mark.parametrize(
    ("method", "params", "name", "words"),
    [
        (
            "simple",
            {"whole": "five"},
            "whole",
            "whole is 'five', which does not fit its hint int: Input should be a valid",
        ),
        ("simple", {"whole": 5.5}, "whole", "fractional"),
        ("simple", {"whole": '"5"'}, "whole", "valid integer"),
        ("simple", {"whole": None}, "whole", "whole is None"),
        ("simple", {"whole": "9" * 5000}, "whole", "whole is '9999"),
        ("simple", {"part": "much"}, "part", "valid number"),
        ("simple", {"flag": "maybe"}, "flag", "boolean"),
        ("simple", {"text": 5}, "text", "valid string"),
        ("times", ["2026-02-30"], "day", "day is '2026-02-30'"),
        ("chosen", ["green"], "colour", "'red' or 'blue'"),
        ("chosen", {"size": "3"}, "size", "'s', 1 or 2"),
        ("nested", ["[1, "], "numbers", "this is not JSON"),
        ("nested", ['["a"]'], "numbers", "0. Input should be a valid integer"),
        ("nested", [{"a": 1}], "numbers", "valid list"),
        ("nested", [[], '{"a": 1, "a": 2}'], "table", "same key twice"),
        ("nested", [[["a"] for _ in range(9)]], "numbers", "and 6 more"),
        ("nested", ["[" * 5000], "numbers", "32 deep"),
        ("models", [{"street": 5}], "address", "street"),
        ("models", [{}], "address", "street. Field required"),
        ("walked", [["a"]], "items", "valid integer"),
        ("octets", [b"\xff"], "data", "invalid utf-8"),
        ("one_way", [{"in": "x"}], "renamed", "in. Field required"),
    ],
)
def test_what_does_not_fit_is_named_with_its_hint(method: str, params: Any, name: str, words: str) -> None:
    assert words in refusal(method, params, f"params.{name}")


def test_not_a_number_is_refused_behind_a_hint_too() -> None:
    for value in (float("nan"), "nan", float("inf"), "1e400"):
        assert "not a JSON number" in refusal("simple", {"part": value})


def test_the_size_is_limited() -> None:
    room = 65_536 - len('{"value":""}')
    assert len(bind(Parameters, "plain", ["x" * room]).text) == 65_536
    assert "65,537 bytes" in refusal("plain", ["x" * (room + 1)])
    assert len(values("collected", ["x"] * 1000)["rest"]) == 1000


def test_deep_values_are_refused_before_recursion() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    assert "32 deep" in refusal("plain", [value])
    refusal("models", [value], "params.address")


def test_a_value_that_no_longer_fits_is_refused_in_the_child() -> None:
    with pytest.raises(BadParameters, match="day is 'soon', which does not fit its hint date"):
        call_arguments(Parameters, "times", {"day": "soon"})
    with pytest.raises(BadParameters, match="day is missing"):
        call_arguments(Parameters, "times", {})
    with pytest.raises(BadParameters, match="'gone' is unexpected"):
        call_arguments(Parameters, "times", {"day": "2026-11-22", "gone": 1})


@given(
    st.lists(st.dates(), max_size=5),
    st.dictionaries(st.text("abcxyz", min_size=1), st.integers(), max_size=5),
    st.integers(),
    st.none() | st.integers(),
)
def test_any_call_that_fits_arrives_as_it_was_made(rest: Any, names: Any, first: int, second: int | None) -> None:
    params = [first, *([] if second is None else [second, *rest])]
    by_name = {"first": first, **names} | ({} if second is None else {"second": second})
    assert called("surplus", params) == (params, {})
    assert called("surplus", by_name) == ([first] + ([] if second is None else [second]), names)


@given(TEXTS, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_text_that_a_value_prints_as_is_read_as_that_value(text: str, whole: int, part: float, flag: bool) -> None:
    written = {"whole": str(whole), "part": repr(part), "flag": str(flag), "text": text}
    assert values("simple", written) == {"whole": whole, "part": part, "flag": flag, "text": text}


# Kinds of parameters


def test_surplus_values_stand_under_their_names() -> None:
    assert values("surplus", ["1", 2, DAY, "2026-11-23"]) == {
        "first": 1,
        "second": 2,
        "rest": ["2026-11-22", "2026-11-23"],
    }
    assert values("surplus", {"first": 1, "more": "3"}) == {"first": 1, "names": {"more": 3}}
    assert called("surplus", ["1", 2, DAY]) == ([1, 2, DAY], {})
    assert "day" not in values("surplus", {"first": 1})


def test_what_is_stored_can_be_bound_again() -> None:
    for method, params in (
        ("surplus", [1, 2, DAY]),
        ("surplus", {"first": 1, "x": 2}),
        ("only", [1]),
        ("positional_and_names", {"first": 1, "names": {"first": 2}}),
        ("collected", {"rest": ["a"], "names": {"b": "c"}}),
    ):
        stored = values(method, params)
        assert values(method, stored) == stored


def test_gaps_before_surplus_values_are_filled_with_the_defaults() -> None:
    assert call_arguments(Parameters, "surplus", {"first": 1, "rest": ["2026-11-22"]}) == ([1, 2, DAY], {})


def test_positional_only_parameters_may_be_given_by_name() -> None:
    assert called("only", {"first": 1, "named": "2026-11-22"}) == ([1], {"named": DAY})
    assert called("only", {"first": 1, "third": 9}) == ([1], {"third": 9})
    assert called("only", {"first": 1, "second": 5, "third": 9}) == ([1, 5, 9], {})
    assert "3 is the most" in refusal("only", [1, 2, 3, DAY])


def test_a_positional_only_name_may_return_among_the_names() -> None:
    assert called("positional_and_names", {"first": 1, "names": {"first": 2}}) == ([1], {"first": 2})


def test_surplus_names_cannot_stand_for_a_parameter() -> None:
    assert "first is a parameter of its own" in refusal("surplus", {"first": 1, "names": {"first": 2}}, "params.first")
    assert "second is a parameter" in refusal("surplus", {"first": 1, "names": {"second": 2}}, "params.second")


def test_surplus_values_by_name_are_a_list() -> None:
    assert "give a list" in refusal("surplus", {"first": 1, "rest": "2026-11-22"}, "params.rest")
    assert values("collected", {"names": "x"}) == {"names": {"names": "x"}}
    assert "keys of an object" in refusal("collected", {"names": {1: "x"}})


# Secrets


def test_secret_parameters_are_named_and_keep_their_value() -> None:
    bound = bind(Parameters, "secret", ["ann", "hunter2", 1234])
    assert bound.secrets == ("password", "pin")
    assert bound.values == {"user": "ann", "password": "hunter2", "pin": 1234}
    assert bind(Parameters, "secret", ["ann", "x"], extra=["user"]).secrets == ("user", "password")


def test_secret_types_are_stored_with_their_value() -> None:
    bound = bind(Parameters, "secret_types", ["one-1", b"two-2", {"user": "ann", "key": "three-3"}])
    assert bound.values == {"key": "one-1", "raw": "two-2", "login": {"user": "ann", "key": "three-3"}}
    assert bound.secrets == ("key", "raw")
    given_as_types = [SecretStr("one-1"), SecretBytes(b"two-2"), Login(user="ann", key=SecretStr("three-3"))]
    assert bind(Parameters, "secret_types", given_as_types).text == bound.text
    assert called("secret_types", given_as_types) == (given_as_types, {})


def test_refusals_never_show_a_secret() -> None:
    assert refusal("secret", ["ann", ["hunter2"]], "params.password") == "params: password does not fit its hint str"
    assert "hunter2" not in refusal("secret", ["ann", "x", "hunter2"], "params.pin")
    message = refusal("settings", [{"password": "hunter2", "b": "text"}], "params.options")
    assert "hunter2" not in message
    assert "'text'" in message
    with pytest.raises(BadParameters) as caught:
        bind(Parameters, "simple", {"whole": "hunter2"}, extra=["whole"])
    assert "hunter2" not in str(caught.value)


def test_a_rejected_call_is_masked_by_position_too() -> None:
    assert masked_as_given(Parameters, "secret", ["ann", "hunter2", 1, "more"]) == [
        "ann",
        masking.MASK,
        masking.MASK,
        "more",
    ]
    assert masked_as_given(Parameters, "secret", {"password": "hunter2", "x": {"token": 1}}) == {
        "password": masking.MASK,
        "x": {"token": masking.MASK},
    }
    assert masked_as_given(Parameters, "secret_types", ["a", "b", "c"]) == [masking.MASK, masking.MASK, "c"]
    assert masked_as_given(Parameters, "secret_types", {"key": "a"}) == {"key": masking.MASK}
    assert masked_as_given(Parameters, "collected", ["a", "b"], extra=["rest"]) == [masking.MASK] * 2
    assert masked_as_given(Parameters, "two", None) is None
    assert masked_as_given(Parameters, "two", "text") == "text"


# Describing


def test_signatures_are_told_as_in_the_source() -> None:
    assert signature_text(Parameters, "nothing") == "nothing()"
    assert signature_text(Parameters, "plain") == "plain(value, other=None)"
    assert signature_text(Parameters, "only") == (
        "only(first: int, second: int = 2, /, third: int = 3, *, named: date | None = None)"
    )
    assert signature_text(Parameters, "surplus") == "surplus(first: int, second: int = 2, *rest: date, **names: int)"
    assert signature_text(Report, "build") == "build(month: date, draft: bool = False)"
    assert signature_text(Parameters, "unresolved") == "unresolved(thing: Missing, day: date)"


def test_parameters_are_described_for_forms() -> None:
    first, _, rest, names = describe(Parameters, "surplus")
    assert (first.name, first.kind, first.hint, first.required, first.default) == (
        "first",
        "positional_or_keyword",
        "int",
        True,
        None,
    )
    assert (rest.kind, rest.required, names.kind, names.required) == ("var_positional", False, "var_keyword", False)
    user, password, pin = describe(Parameters, "secret")
    assert [user.secret, password.secret, pin.secret] == [False, True, True]
    assert pin.default == masking.MASK
    assert [one.kind for one in describe(Parameters, "only")] == [
        "positional_only",
        "positional_only",
        "positional_or_keyword",
        "keyword_only",
    ]


def test_simple_methods_need_no_pydantic() -> None:
    source = (
        "import sys\n"
        "from bgapp import parameters\n"
        "class Job:\n"
        "    def run(self, name: str, count: int = 1, rest=None): ...\n"
        "parameters.bind(Job, 'run', ['a', 2, [1]])\n"
        "sys.exit('pydantic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


def test_foreign_objects_are_no_parameters() -> None:
    assert "Foreign is not a JSON value" in refusal("foreign", [Foreign(), DAY])
    assert Renamed.model_validate({"in": "x"}).folder == "x"
