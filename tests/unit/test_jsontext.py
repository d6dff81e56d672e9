from __future__ import annotations

import json
from collections import OrderedDict
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgapp import jsontext
from bgapp.errors import BadParameters

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def refusal(value: Any) -> str:
    with pytest.raises(BadParameters) as caught:
        jsontext.encode(value, "params")
    assert caught.value.argument == "params"
    return str(caught.value)


def decoding_refusal(text: Any, limit: int | None = None) -> str:
    with pytest.raises(BadParameters) as caught:
        jsontext.decode(text, "kwargs", limit=limit)
    assert caught.value.argument == "kwargs"
    return str(caught.value)


@given(VALUES)
def test_what_is_encoded_is_decoded_to_the_same(value: Any) -> None:
    text = jsontext.encode(value, "params")
    assert jsontext.decode(text, "params") == value
    assert json.loads(text) == value


@given(st.text())
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        value = jsontext.decode(text, "params")
    except BadParameters:
        return
    assert value == json.loads(text)


def test_text_is_compact_keeps_letters_and_order() -> None:
    assert jsontext.encode({"b": [1, 2.5, None], "a": "zoë"}, "params") == '{"b":[1,2.5,null],"a":"zoë"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), [{"a": float("nan")}]])
def test_numbers_that_json_has_not_are_refused(value: Any) -> None:
    assert "not a JSON number" in refusal(value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "[1e400]", '{"a": -1e999}'])
def test_numbers_that_json_has_not_are_refused_in_text(text: str) -> None:
    assert "number" in decoding_refusal(text)


def test_integers_keep_every_digit_up_to_the_limit() -> None:
    for number in (2**53 + 1, 2**63, -(10**4300) + 1, 10**4300 - 1):
        assert jsontext.decode(jsontext.encode(number, "params"), "params") == number
    assert "4,300 digits" in refusal(10**4300)
    assert "4,300 digits" in refusal([-(10**4300)])
    assert "4,300 digits" in decoding_refusal("9" * 4301)
    assert "4,300 digits" in decoding_refusal("-" + "9" * 5000)


def test_nesting_is_limited_before_it_can_hurt() -> None:
    assert jsontext.decode(jsontext.encode(nested(32), "params"), "params") == nested(32)
    assert "32 deep" in refusal(nested(33))
    assert "32 deep" in refusal(nested(100_000))
    assert "32 deep" in decoding_refusal("[" * 33 + "]" * 33)
    assert "32 deep" in decoding_refusal("[" * 100_000)
    assert "32 deep" in decoding_refusal('{"a":' * 100_000 + "1" + "}" * 100_000)


def test_brackets_inside_texts_do_not_nest() -> None:
    text = json.dumps(["[" * 1000, '\\"[', "]{"])
    assert jsontext.decode(text, "params") == json.loads(text)
    assert "not JSON" in decoding_refusal('"' + "[" * 100)
    assert "not JSON" in decoding_refusal('"' + '\\"' * 200_000)  # linear: a quadratic scan would take minutes


def test_circular_values_are_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert "32 deep" in refusal(circle)


def test_shared_parts_cannot_explode() -> None:
    value: list[Any] = [1]
    for _ in range(30):
        value = [value] * 10
    assert "bytes" in refusal(value)


@pytest.mark.parametrize("value", ["\ud800", ["a\udfffb"], {"\ud800": 1}])
def test_half_a_surrogate_pair_is_refused(value: Any) -> None:
    assert "surrogate" in refusal(value)
    assert "surrogate" in decoding_refusal(json.dumps(value))


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert jsontext.decode('"\\ud83d\\ude00"', "params") == "😀"


@pytest.mark.parametrize("value", ["a\0b", {"\0": 1}, [["\0"]]])
def test_nul_is_refused(value: Any) -> None:
    assert "NUL" in refusal(value)
    assert "NUL" in decoding_refusal(json.dumps(value))


@pytest.mark.parametrize("value", [(1, 2), {1}, b"x", Decimal(1), object(), 1j, [print], {"a": (1,)}, range(3)])
def test_other_types_are_refused(value: Any) -> None:
    assert "not a JSON value" in refusal(value)


@pytest.mark.parametrize("key", [1, None, True, 1.5, (1,), b"a"])
def test_keys_are_text(key: Any) -> None:
    assert "keys of an object are text" in refusal([{key: 1}])


def test_tuples_become_arrays_on_request() -> None:
    assert jsontext.encode((1, ("a",)), "result", tuples=True) == '[1,["a"]]'


def test_keys_that_are_the_same_text_are_refused() -> None:
    class Key(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            return False

    assert "same text" in refusal({Key("a"): 1, "a": 2})
    assert "same key twice" in decoding_refusal('{"a": 1, "b": {"c": 1, "c": 1}}')


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Plain(Enum):
    A = "a"


class Liar(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "a lie"

    def __repr__(self) -> str:
        return "'a lie'"


class LyingDict(dict[str, Any]):
    def items(self) -> Any:
        return [("a", "lie")]

    def __iter__(self) -> Any:
        return iter(["lie"])


class LyingFloat(float):
    def __repr__(self) -> str:
        return "1e999"


def test_subclasses_count_as_what_they_are_underneath() -> None:
    value = {
        "enum": Colour.RED,
        "number": Number.ONE,
        "text": Liar("truth"),
        "dict": LyingDict(a=1),
        "ordered": OrderedDict(a=1),
        "float": LyingFloat(1.5),
        Liar("key"): [],
    }
    copy = jsontext.plain(value, "params")
    assert copy == {
        "enum": "red",
        "number": 1,
        "text": "truth",
        "dict": {"a": 1},
        "ordered": {"a": 1},
        "float": 1.5,
        "key": [],
    }
    assert {type(item) for item in copy.values()} == {str, int, dict, float, list}
    assert {type(key) for key in copy} == {str}
    assert json.loads(jsontext.encode(value, "params")) == copy
    assert "not a JSON value" in refusal(Plain.A)


def test_a_proxy_that_says_it_is_text_is_refused() -> None:
    class Proxy:
        __class__ = str  # type: ignore[assignment]

    assert "not a JSON value" in refusal(Proxy())


def test_the_limit_is_in_bytes_and_inclusive() -> None:
    assert len(jsontext.encode("x" * (65_536 - 2), "params")) == 65_536
    assert "65,537 bytes as JSON; at most 65,536" in refusal("x" * (65_536 - 1))
    assert "at most 65,536" in refusal("é" * 40_000)
    assert jsontext.encode("é", "params", limit=4) == '"é"'
    with pytest.raises(BadParameters, match="at most 3"):
        jsontext.encode("é", "params", limit=3)
    assert len(json.loads(jsontext.encode(list(range(1000)), "params"))) == 1000


def test_decoding_has_no_limit_unless_given() -> None:
    assert jsontext.decode(json.dumps("x" * 100_000), "kwargs") == "x" * 100_000
    assert jsontext.decode('"é"', "kwargs", limit=4) == "é"
    assert "at most 3" in decoding_refusal('"é"', limit=3)


@pytest.mark.parametrize("text", ["", "{", "[1] trailing", "'a'", "\ufeff1", "[1,]", "{1: 2}"])
def test_what_is_not_json_is_refused_with_its_place(text: str) -> None:
    assert "this is not JSON" in decoding_refusal(text)
    assert "line 1, column" in decoding_refusal(text)


def test_only_text_is_decoded() -> None:
    assert "not from" in decoding_refusal(b"1")


def test_refused_texts_are_never_quoted() -> None:
    assert "hunter2" not in refusal({"password": "hunter2\0"})
    assert "hunter2" not in decoding_refusal('{"password": "hunter2"')
