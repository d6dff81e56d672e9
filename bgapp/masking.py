"""Keeps secrets out of what people and log files see: by the parameter's name, and by the value itself.

The copy that runs is never touched. Whatever a secret name holds becomes `***`, of any type and at any depth.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast, overload
from urllib.parse import quote
from uuid import UUID

MASK = "***"
SHORTEST_SECRET = 4  # characters; cutting shorter ones out of a text would eat the text

_SECRET_PARTS = frozenset(
    "apikey auth authentication authorization bearer cookie credential cvc cvv dsn jwt otp pass passcode passphrase"
    " passwd password pin privatekey pwd secret sessionid ssn token".split()
)
_SECRET_PAIRS = frozenset("api_key access_key encryption_key master_key private_key secret_key session_id".split())
# Also inside a word that nobody divided, such as `dbpassword`.
_SECRET_INSIDE = ("apikey", "credential", "passphrase", "passwd", "password", "privatekey")
_COUNTING = frozenset("completion count input limit max min n num number output prompt total used".split())

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\dA-Za-z_]+")
_URL_PASSWORD = re.compile(r"://([^\s/:@?#]*):[^\s/?#]*@")
_URL_PASSWORD_INSIDE = re.compile(r"://[^\s/:@?#]*:([^\s/?#]*)@")
_ARRAYS = (list, tuple, set, frozenset)
_LONGEST_CACHED_NAME = 100
# Beyond anything that can be stored; a rejected call's values may be deeper, circular, or share their parts.
_DEPTH_LIMIT = 40
_MOST_VALUES = 200_000
_MOST_BITS = 14_284  # 4,300 digits, as many as Python turns into text


def is_secret_name(name: object, extra: Iterable[str] = ()) -> bool:
    """Return whether a parameter or key of this name holds a secret.

    A name counts word by word (`user_password`, `apiKey`, `X-Auth-Token`), so `author` and `keyboard` do not.
    `extra` adds words of the application's own. A name that is not text holds none.
    """
    if not issubclass(type(name), str):
        return False
    text = str.__str__(cast(str, name))
    look_up = _is_secret_cached if len(text) <= _LONGEST_CACHED_NAME else _is_secret
    return look_up(text, tuple(extra))


@overload
def mask_params(
    values: dict[str, Any], secret_names: Collection[str] = (), extra: Iterable[str] = ()
) -> dict[str, Any]: ...
@overload
def mask_params(values: Any, secret_names: Collection[str] = (), extra: Iterable[str] = ()) -> Any: ...
def mask_params(values: Any, secret_names: Collection[str] = (), extra: Iterable[str] = ()) -> Any:
    """Return a copy of `values`, made of JSON types, in which every secret is `***`.

    Secret is what a name in `secret_names`, or one that `is_secret_name` tells, holds at any depth, and the
    password in a URL. Objects that are no JSON values, as a rejected call may have them, become `<their type>`.
    """
    return _Walk(secret_names, extra).masked(values, _DEPTH_LIMIT)


def secret_values(values: Any, secret_names: Collection[str] = (), extra: Iterable[str] = ()) -> frozenset[str]:
    """Return the texts that must be cut out of errors, tracebacks and output of a job with these parameters.

    Each secret of at least 4 characters stands in it as itself and as `repr`, JSON and URLs write it, and a
    secret of several lines also line by line, since output is masked by the line. Numbers count as text.
    """
    found: set[str] = set()
    for leaf in _Walk(secret_names, extra).secrets(values, _DEPTH_LIMIT, hidden=False):
        found.update(_spellings(leaf))
    return frozenset(text for text in found if len(text) >= SHORTEST_SECRET)


def mask_text(text: str, secrets: Collection[str] = ()) -> str:
    """Return `text` with `***` in place of each of `secrets` and of the password in each URL."""
    if secrets:
        text = _pattern(frozenset(secrets)).sub(MASK, text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"://\1:{MASK}@", text)
    return text


def _is_secret(name: str, extra: tuple[str, ...]) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    parts = [word if word.endswith("ss") else word.removesuffix("s") for word in words]
    if any(f"{left}_{right}" in _SECRET_PAIRS for left, right in pairwise(parts)):
        return True
    if "tokens" in words and not _COUNTING.isdisjoint(words):
        parts.remove("token")  # `max_tokens` is a number of them
    if any(part in _SECRET_PARTS or part.endswith(("token", "secret")) for part in parts):
        return True
    if any(inside in part for part in parts for inside in _SECRET_INSIDE):
        return True
    joined = "_".join(words)
    return any(_names(word, joined) for word in extra)


_is_secret_cached = lru_cache(maxsize=4096)(_is_secret)


def _names(extra: str, joined: str) -> bool:
    wanted = "_".join(word.lower() for word in _WORD.findall(extra))
    return bool(wanted) and f"_{wanted}_" in f"_{joined}_"


class _Walk:
    """One pass over values of any kind, a rejected call's among them: it never raises and always ends."""

    def __init__(self, secret_names: Collection[str], extra: Iterable[str]) -> None:
        self.names = frozenset(secret_names)
        self.extra = tuple(extra)
        self.budget = iter(range(_MOST_VALUES))

    def masked(self, value: Any, levels: int) -> Any:
        if not levels or next(self.budget, None) is None:
            return "…"
        kind = type(value)  # isinstance would believe a proxy that only says it is a str
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            return mask_text(str.__str__(value))
        if issubclass(kind, int | float | Decimal | date | time | timedelta | UUID):
            return _scalar(value)
        if issubclass(kind, dict):
            return {
                _key(key): MASK if self.is_secret(key) else self.masked(item, levels - 1)
                for key, item in dict.items(value)
            }
        if issubclass(kind, _ARRAYS):
            return [self.masked(item, levels - 1) for item in value]
        return f"<{kind.__name__}>"

    def secrets(self, value: Any, levels: int, *, hidden: bool) -> Iterator[str]:
        if not levels or value is None or value is True or value is False or next(self.budget, None) is None:
            return
        kind = type(value)
        if issubclass(kind, dict):
            for key, item in dict.items(value):
                yield from self.secrets(item, levels - 1, hidden=hidden or self.is_secret(key))
        elif issubclass(kind, _ARRAYS):
            for item in value:
                yield from self.secrets(item, levels - 1, hidden=hidden)
        elif issubclass(kind, str):
            text = str.__str__(value)
            yield from [text] if hidden else _URL_PASSWORD_INSIDE.findall(text)
        elif hidden and issubclass(kind, bytes):
            yield bytes.decode(value, errors="replace")
        elif hidden and issubclass(kind, int | float | Decimal | date | time | timedelta | UUID):
            yield str(_scalar(value))

    def is_secret(self, key: object) -> bool:
        return is_secret_name(key, self.extra) or (type(key) is str and key in self.names)


def _scalar(value: Any) -> Any:
    if isinstance(value, int):
        # Longer ones cannot be turned into text, here or by whoever writes the copy down.
        return int.__int__(value) if value.bit_length() <= _MOST_BITS else "<int>"
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    return str(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return mask_text(str.__str__(key))
    return str(_scalar(key)) if isinstance(key, int | float) else f"<{type(key).__name__}>"


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="", errors="replace")
    for line in secret.splitlines():
        if len(line.strip()) >= 2 * SHORTEST_SECRET:
            yield line.strip()


@lru_cache(maxsize=64)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    # The longest first, so that one secret that begins like another leaves no rest of it standing.
    ordered = sorted((secret for secret in secrets if secret), key=lambda secret: (-len(secret), secret))
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
