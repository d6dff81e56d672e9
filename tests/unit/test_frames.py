from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgapp.runner.frames import HEADER, LARGEST, BadFrame, Unpacker, pack

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4)


@given(MESSAGES, st.lists(st.integers(1, 40), max_size=200))
def test_messages_come_back_whole_and_in_order_however_the_bytes_are_cut(
    messages: list[dict[str, Any]], cuts: list[int]
) -> None:
    data = b"".join(pack(message) for message in messages)
    unpacker, found = Unpacker(), []
    for size in cuts:
        found += unpacker.feed(data[:size])
        data = data[size:]
    found += unpacker.feed(data)
    assert found == messages


def test_nothing_is_given_back_before_its_last_byte() -> None:
    unpacker, data = Unpacker(), pack({"kind": "result"})
    for byte in data[:-1]:
        assert unpacker.feed(bytes([byte])) == []
    assert unpacker.feed(data[-1:]) == [{"kind": "result"}]
    assert unpacker.feed(b"") == []


def framed(body: bytes) -> bytes:
    return HEADER.pack(len(body)) + body


BROKEN = {
    "not JSON": framed(b"result"),
    "not UTF-8": framed(b'{"a": "\xff"}'),
    "empty": framed(b""),
    "a list": framed(b"[1]"),
    "a text": framed(b'"result"'),
    "without end": framed(b"[" * 100_000),
    "a number of endless digits": framed(b'{"a": ' + b"9" * 10_000 + b"}"),
    "longer than allowed": HEADER.pack(LARGEST + 1),
    "as long as can be said": b"\xff\xff\xff\xff",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_message_is_refused(what: str) -> None:
    with pytest.raises(BadFrame):
        Unpacker().feed(BROKEN[what])


def test_whole_messages_before_a_broken_one_are_lost_with_it() -> None:
    """The sender cannot be trusted, so its earlier words in the same breath are not either."""
    with pytest.raises(BadFrame):
        Unpacker().feed(pack({"kind": "result"}) + b"\xff\xff\xff\xff")


def test_a_message_of_the_largest_size_passes() -> None:
    body = json.dumps({"a": "x" * (LARGEST - 9)}).encode()
    assert len(body) == LARGEST
    assert Unpacker().feed(framed(body)) == [{"a": "x" * (LARGEST - 9)}]
