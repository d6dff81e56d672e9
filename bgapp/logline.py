"""A line of the log files as text or JSON: secrets masked, lengths capped, nothing in it that could forge a line.

Pure: nothing is opened or written here. Whatever a caller's parameters are, a line comes out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from bgapp import clock, masking

ERROR_TITLES = frozenset({"Job failed", "Job lost", "Job rejected"})
DROPPED_TITLE = "Log lines dropped"

# Bytes. Together with the fixed words they stay below 8 KiB, the most a line has.
PARAMS_BYTES = 4096
ERROR_BYTES = 3072
NAME_BYTES = 300
REFUSED_NAME_CHARACTERS = 80

# What is looked at, at most, of an error and of a refused call's parameters, which nothing else has bounded yet:
# more than a line can show, and as secrets to keep out of the error more than any honest call has.
ERROR_CHARACTERS = 65536
SHOWN = (2048, 16384)  # values, characters
SECRETS = (8192, 1048576)
REFUSED_DEPTH = 32
REFUSED_NUMBER_BITS = 1024

# Beyond ASCII: C1 controls, line and paragraph separators, bidi controls, zero-width and unpaired characters.
UNSEEN = (
    "\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSEEN = re.compile(f"[{UNSEEN}]")
_UNSEEN_OR_CONTROL = re.compile(rf"[\x00-\x1f\\{UNSEEN}]")
# A bar that could be taken for a separator, also together with the spaces that stand around the value.
_SEPARATOR = re.compile(r"(?:(?<= )|\A)\|(?= |\Z)")
_NOT_A_NAME = re.compile(r"[^\w.]")
# An escape that a cut went through: a lone backslash after an even number of them, or half of a \uXXXX.
_BROKEN_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-f]{0,3}|ud[89ab][0-9a-f]{2}(?:\\(?:u[0-9a-f]{0,3})?)?)?\Z")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Line:
    """One event of one job. `params` are bound by name; of a rejected call as they were given, whatever they are."""

    title: str  # "Job running", "Job pending", ...: docs/logs.md lists them
    job_class: str
    method: str
    params: object
    at: datetime  # aware
    job: int | None = None
    attempt: int | None = None
    error: str | None = None
    level: Literal["info", "error"] = "info"
    secret_names: tuple[str, ...] = ()  # parameters to mask beside those whose name tells

    @property
    def is_error(self) -> bool:
        """Return whether the line belongs in the errors file; failed, lost and rejected always do."""
        return self.level == "error" or self.title in ERROR_TITLES


def as_text(line: Line, mask_words: tuple[str, ...] = ()) -> str:
    """Return `line` as `Job running | Class: ... | Method: ...`, without the newline."""
    params = _cut(_SEPARATOR.sub(r"\\u007c", _params(line, mask_words)), PARAMS_BYTES)
    text = (
        f"{line.title} | Class: {_text(_name(line, line.job_class), NAME_BYTES)}"
        f" | Method: {_text(_name(line, line.method), NAME_BYTES)}"
        f" | Parameters: {params} | Timestamp: {_seconds(line.at)}"
    )
    if line.job is not None:
        text += f" | Job: {line.job}"
    if line.attempt is not None:
        text += f" | Attempt: {line.attempt}"
    if line.error is not None:
        text += f" | Error: {_text(_error(line, mask_words), ERROR_BYTES)}"
    return text


def as_json(line: Line, mask_words: tuple[str, ...] = ()) -> str:
    """Return `line` as one JSON object with the same facts, without the newline."""
    params = _params(line, mask_words)
    if len(params.encode()) > PARAMS_BYTES:
        params = _string(params, PARAMS_BYTES)  # cut it is no JSON any more, so it stands as text
    error = "null" if line.error is None else _string(_error(line, mask_words), ERROR_BYTES)
    return (
        f'{{"ts": "{clock.iso(line.at)}", "level": "{"error" if line.is_error else "info"}", "event": "{line.title}"'
        f', "class": {_string(_name(line, line.job_class), NAME_BYTES)}'
        f', "method": {_string(_name(line, line.method), NAME_BYTES)}, "params": {params}'
        f', "job": {_encode(line.job)}, "attempt": {_encode(line.attempt)}, "error": {error}}}'
    )


def dropped_as_text(count: int, at: datetime) -> str:
    """Return the line that tells how many lines could not be written before it."""
    return f"{DROPPED_TITLE} | Count: {count} | Timestamp: {_seconds(at)}"


def dropped_as_json(count: int, at: datetime) -> str:
    """Return the same as one JSON object."""
    return f'{{"ts": "{clock.iso(at)}", "level": "error", "event": "{DROPPED_TITLE}", "count": {count}}}'


def _seconds(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(" ", "seconds")[:19]


def _name(line: Line, name: str) -> str:
    if line.title != "Job rejected":
        return name
    return _NOT_A_NAME.sub("?", name[:REFUSED_NAME_CHARACTERS])


def _params(line: Line, mask_words: tuple[str, ...]) -> str:
    """Return the masked parameters as JSON."""
    try:
        return _json(masking.mask_params(_given(line, SHOWN), line.secret_names, mask_words))
    except Exception as error:  # a refused call's parameters may be objects of any class, with any fault in them
        return f'"<not shown: {type(error).__name__}>"'


def _error(line: Line, mask_words: tuple[str, ...]) -> str:
    text = (line.error or "")[:ERROR_CHARACTERS]
    try:
        secrets = masking.secret_values(_given(line, SECRETS), line.secret_names, mask_words)
        return masking.mask_text(text, secrets)
    except Exception as error:  # as in _params; an error that could not be masked must not be shown
        return f"<not shown: {type(error).__name__}>"


def _given(line: Line, most: tuple[int, int]) -> Any:
    if line.params is None:
        return {}
    return line.params if line.title != "Job rejected" else _within_reach(line.params, list(most), REFUSED_DEPTH)


def _within_reach(value: Any, left: list[int], depth: int) -> Any:
    """Return `value` without what lies too deep or too far on. `left` counts down values and characters overall."""
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        return "…"
    if isinstance(value, str):
        kept = value[: max(left[1], 0)]
        left[1] -= len(kept)
        return kept
    if isinstance(value, Mapping):
        return {
            _within_reach(key, left, 0) if isinstance(key, str) else key: _within_reach(item, left, depth - 1)
            for key, item in islice(value.items(), max(left[0], 0))
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_within_reach(item, left, depth - 1) for item in islice(value, max(left[0], 0))]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    if isinstance(value, int) and value.bit_length() > REFUSED_NUMBER_BITS:
        return f"<number of {value.bit_length()} bits>"
    return value


def _json(value: Any) -> str:
    text = _encode(value)
    # Most lines are plain ASCII, for which this look is much quicker than the search.
    return text if text.isascii() and "\x7f" not in text else _UNSEEN.sub(_escape, text)


def _string(text: str, limit: int) -> str:
    """Return `text` as a JSON string of at most `limit` bytes inside its quotes."""
    return f'"{_cut(_json(text[: limit + 1])[1:-1], limit)}"'


def _text(value: str, limit: int) -> str:
    """Return `value` for a text line: escapes as in JSON, and no bar that looks like a separator."""
    escaped = value = value[: limit + 1]
    if not (value.isascii() and value.isprintable() and "\\" not in value):
        escaped = _UNSEEN_OR_CONTROL.sub(_escape, value)
    return _cut(_SEPARATOR.sub(r"\\u007c", escaped), limit)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _cut(text: str, limit: int) -> str:
    """Return `text`, shortened to `limit` bytes of UTF-8 with a final … where it is longer."""
    if 4 * len(text) <= limit:
        return text
    data = text.encode()
    if len(data) <= limit:
        return text
    kept = data[: limit - 3].decode(errors="ignore")
    return _BROKEN_ESCAPE.sub(r"\1", kept) + "…"
