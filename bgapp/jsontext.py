"""Strict JSON: what may be stored as parameters or read from text, with every other value refused by name.

Python's own `json` lets through what a database or another reader would not: NaN, lone surrogates, repeated
keys, integers as keys turned into text. Here each of them is a BadParameters that says what was wrong. Texts
are never quoted in a message, since any of them may be a secret.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from bgapp.errors import BadParameters

LIMIT_BYTES = 65_536
DEPTH_LIMIT = 32
DIGIT_LIMIT = 4_300  # the most that Python itself turns from text into a number by default

_FIRST_TOO_LONG = 10**DIGIT_LIMIT
# A string that is never closed runs to the end, so that no text makes the scan start over and over.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def encode(value: Any, argument: str, *, limit: int = LIMIT_BYTES, tuples: bool = False) -> str:
    """Return `value` as compact JSON text of at most `limit` bytes in UTF-8; objects keep their order.

    With `tuples` a tuple is written as an array.

    Raises BadParameters, naming `argument`, for whatever `plain` refuses and for a text that is too long.
    """
    return dump(plain(value, argument, limit=limit, tuples=tuples), argument, limit=limit)


def decode(text: str, argument: str, *, limit: int | None = None) -> Any:
    """Return the value that JSON `text`, of at most `limit` bytes if given, stands for.

    Raises BadParameters, naming `argument`, for text that is not JSON and for whatever `plain` refuses.
    """
    if not isinstance(text, str):
        _refuse(argument, f"JSON is read from text, not from {_type(text)}")
    if limit is not None:
        _check_size(text, argument, limit)
    _check_depth(text, argument)
    reader = _Reader(argument)
    try:
        value = json.loads(
            text,
            parse_int=reader.read_integer,
            parse_float=reader.read_float,
            parse_constant=reader.read_constant,
            object_pairs_hook=reader.read_object,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadParameters(f"{argument}: this is not JSON: {error.msg} at {place}", argument) from None
    return plain(value, argument, limit=None)


def plain(value: Any, argument: str, *, limit: int | None = LIMIT_BYTES, tuples: bool = False) -> Any:
    """Return a copy of `value` made of exact JSON types: dict, list, str, int, float, bool and None.

    Subclasses of these count as what they are underneath, and none of their own methods is called, so an
    overridden `__str__` or `items` changes nothing. All else raises BadParameters naming `argument`:
    tuples, sets, bytes, dates and other objects, keys that are not text, NaN and the infinities, integers of
    more than 4,300 digits, nesting deeper than 32, NUL characters, lone surrogates, and a value that could
    only need more than `limit` bytes. With `tuples` a tuple becomes a list.
    """
    return _Copier(argument, limit, list | tuple if tuples else list).copy(value, DEPTH_LIMIT)


def dump(value: Any, argument: str, *, limit: int = LIMIT_BYTES) -> str:
    """Return what `plain` returned as JSON text; raises BadParameters if that is over `limit` bytes."""
    try:
        text = _encoder.encode(value)
    except ValueError:  # the interpreter's own limit on digits can be set lower than ours
        _refuse(argument, "an integer has more digits than this Python turns into text")
    _check_size(text, argument, limit)
    return text


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


class _Copier:
    """One walk over a value; `room` is what its JSON may still need, so that shared parts cannot explode."""

    def __init__(self, argument: str, limit: int | None, arrays: Any) -> None:
        self.argument = argument
        self.limit = limit
        self.arrays = arrays
        self.room = math.inf if limit is None else limit

    def copy(self, value: Any, levels: int) -> Any:
        self._take(1)
        if value is None or value is True or value is False:
            return value
        kind = type(value)  # isinstance would believe a proxy that only says it is a str
        if issubclass(kind, str):
            return self._text(value)
        if issubclass(kind, int):
            return self._integer(value)
        if issubclass(kind, float):
            return self._float(value)
        if issubclass(kind, dict):
            return self._object(value, self._deeper(levels))
        if issubclass(kind, self.arrays):
            walk = list.__iter__ if issubclass(kind, list) else tuple.__iter__
            levels = self._deeper(levels)
            return [self.copy(item, levels) for item in walk(value)]
        _refuse(
            self.argument, f"{_type(value)} is not a JSON value (an object, array, text, number, true, false, null)"
        )

    def _deeper(self, levels: int) -> int:
        if not levels:
            _refuse(self.argument, f"the values are nested more than {DEPTH_LIMIT} deep")
        return levels - 1

    def _object(self, value: dict[Any, Any], levels: int) -> dict[str, Any]:
        copied = {self._key(key): self.copy(item, levels) for key, item in dict.items(value)}
        if len(copied) != dict.__len__(value):
            _refuse(self.argument, "two keys of an object are the same text")
        return copied

    def _key(self, key: Any) -> str:
        if not issubclass(type(key), str):
            _refuse(self.argument, f"the keys of an object are text, and one here is {_type(key)}")
        return self._text(key)

    def _text(self, value: str) -> str:
        text = value if type(value) is str else str.__str__(value)
        self._take(len(text))
        if "\0" in text:
            _refuse(self.argument, "a text contains a NUL character, which not every database stores")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                _refuse(self.argument, "a text contains half of a surrogate pair, which is no character")
        return text

    def _integer(self, value: int) -> int:
        number = value if type(value) is int else int.__int__(value)
        if not -_FIRST_TOO_LONG < number < _FIRST_TOO_LONG:
            _refuse(self.argument, f"an integer has more than {DIGIT_LIMIT:,} digits")
        return number

    def _float(self, value: float) -> float:
        number = value if type(value) is float else float.__float__(value)
        if not math.isfinite(number):
            _refuse(self.argument, f"{number} is not a JSON number")
        return number

    def _take(self, characters: int) -> None:
        self.room -= characters
        if self.room < 0:
            _refuse(self.argument, f"the values need more than {self.limit:,} bytes as JSON, which is the most allowed")


class _Reader:
    """What `json.loads` calls for the values that it would read too kindly."""

    def __init__(self, argument: str) -> None:
        self.argument = argument

    def read_integer(self, text: str) -> int:
        if len(text.lstrip("-")) > DIGIT_LIMIT:
            _refuse(self.argument, f"an integer has more than {DIGIT_LIMIT:,} digits")
        return int(text)

    def read_float(self, text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            _refuse(self.argument, "a number is too large to be stored")
        return number

    def read_constant(self, text: str) -> NoReturn:
        _refuse(self.argument, f"{text} is not a JSON number")

    def read_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            _refuse(self.argument, "an object has the same key twice")
        return built


def _check_depth(text: str, argument: str) -> None:
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return
    if any(depth > DEPTH_LIMIT for depth in _depths(text)):
        _refuse(argument, f"the values are nested more than {DEPTH_LIMIT} deep")


def _depths(text: str) -> Iterator[int]:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        yield depth


def _check_size(text: str, argument: str, limit: int) -> None:
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    if size > limit:
        _refuse(argument, f"the values are {size:,} bytes as JSON; at most {limit:,} are allowed")


def _type(value: object) -> str:
    return f"a value of the type {type(value).__name__}"


def _refuse(argument: str, what: str) -> NoReturn:
    raise BadParameters(f"{argument}: {what}", argument)
