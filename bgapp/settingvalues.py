"""The readers of setting values: each turns text or a Python value into the checked value, or raises ValueError.

A reader gets stripped text or any Python object. The text of its ValueError is a hint for the person who wrote
the value, or empty: the table of settings already says what is allowed.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bgapp.backoff import Backoff
from bgapp.errors import ConfigurationError, shown

Reader = Callable[[Any], Any]

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_APPLICATION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*(\([^()]*\))?)?")
_WORD = re.compile(r"[A-Za-z0-9_-]{2,64}", re.ASCII)
LONGEST_TEXT = 1024


def whole(low: int, high: int) -> Reader:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return read


def seconds(low: float, high: float, *, above: bool = False) -> Reader:
    """Return a reader of seconds from `low` to `high`, as decimals; with `above`, `low` itself is refused."""

    def read(value: object) -> float:
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError
        if above and value == low:
            raise ValueError
        return float(value)

    return read


def or_none(reader: Reader) -> Reader:
    """Return `reader` with the word "none" added, which gives None."""
    return lambda value: None if isinstance(value, str) and value.lower() == "none" else reader(value)


def switch(value: object) -> bool:
    """Read a boolean: true, yes, on, 1 or false, no, off, 0."""
    if isinstance(value, bool | int | str) and str(value).lower() in _SWITCH:
        return _SWITCH[str(value).lower()]
    raise ValueError


def choice(*words: str) -> Reader:
    """Return a reader of one of `words`, in any case."""

    def read(value: object) -> str:
        if isinstance(value, str) and value.lower() in words:
            return value.lower()
        raise ValueError

    return read


def text(value: object) -> str:
    """Read up to 1,024 characters of plain text."""
    if not isinstance(value, str):
        raise ValueError
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"this has {len(value)} characters")
    if not value.isprintable():
        raise ValueError("this has control or other invisible characters")
    return value


def application(value: object) -> str:
    """Read where the Flask application is, in Flask's own form."""
    name = text(value)
    if not _APPLICATION.fullmatch(name) or name.partition(":")[0].endswith(".py"):
        raise ValueError("a dotted module name, not a file name")
    return name


def path(value: object) -> Path:
    """Read the path of a folder or file; `~` stands for the home folder."""
    try:
        return Path(text(os.fspath(value) if isinstance(value, os.PathLike) else value)).expanduser()
    except RuntimeError as error:
        raise ValueError("the home folder is not known") from error


def backoff(value: object) -> Backoff:
    """Read the wait before a retry."""
    try:
        return Backoff.parse(value)
    except ConfigurationError as error:
        raise ValueError from error  # without its text, which the table has


def words(value: object) -> tuple[str, ...]:
    """Read words, comma separated or in a list, as lower case."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple | set | frozenset):
        raise ValueError
    found: dict[str, None] = {}
    for part in parts:
        if not isinstance(part, str) or not _WORD.fullmatch(part.strip()):
            raise ValueError
        found[part.strip().lower()] = None
    return tuple(found)


def jobs(value: object) -> object:
    """Read the allow-list as a mapping or a list; text must be JSON. What is in it is checked elsewhere."""
    if isinstance(value, str):
        value = _json(value)
    if isinstance(value, Mapping | list | tuple):
        return value
    raise ValueError


def _json(value: str) -> object:
    try:
        return json.loads(value, object_pairs_hook=_without_duplicates, parse_float=_finite, parse_constant=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"as text it must be JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{shown(next(name for name in names if names.count(name) > 1))} stands in it twice")
    return found


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{literal[:20]} is not a JSON number")
    return number
