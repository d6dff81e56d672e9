"""What a filled form of a method means: its parameters and options, or what is wrong with each field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bgapp import clock, jsontext, options
from bgapp.errors import BadOption, BadParameters, ConfigurationError, JobRejected, shown
from bgapp.web.forms import AS, NULL, OPTION, PREFIX, ZONE, Input, RunForm

_LONG = 16  # digits of a number that is no option any more
_WHOLE = re.compile(r"[+-]?[0-9]{1,4300}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_NOTHING = object()


@dataclass
class Filled:
    """What was read from a sent form: the values that can be used, and what is wrong, by the field's id."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def read(form: RunForm, sent: Mapping[str, str]) -> Filled:
    """Return the parameters that a sent form means; those left empty that have a default are not among them."""
    filled = Filled()
    for one in form.inputs:
        try:
            value = _value(one, sent)
        except BadParameters as error:
            filled.errors[one.id] = str(error)
            continue
        if value is not _NOTHING:
            filled.values[one.name] = value
    return filled


def read_json(text: str) -> Filled:
    """Return the parameters of a form that takes them all as one JSON object."""
    try:
        values = jsontext.decode(text.strip() or "{}", "params", limit=jsontext.LIMIT_BYTES)
    except BadParameters as error:
        return Filled(errors={"p": _sentence(str(error).removeprefix("params: "))})
    if not isinstance(values, dict):
        return Filled(errors={"p": 'The parameters must be a JSON object, such as {"name": "value"}.'})
    return Filled(values)


def _value(one: Input, sent: Mapping[str, str]) -> Any:
    """Return one parameter's value. Raises BadParameters with a sentence for the person."""
    if PREFIX + one.name not in sent and not one.required:
        return _NOTHING
    given = sent.get(PREFIX + one.name, "").replace("\r\n", "\n")
    raw = given if one.kind in ("text", "any", "secret", "json") else given.strip()
    if not raw.strip() and one.nullable and sent.get(PREFIX + one.name + NULL):
        return None if one.required or one.initial else _NOTHING
    if raw == "" and (one.kind != "lines" or one.stars or one.starts_null):
        return _empty(one)
    if one.kind == "any":
        return _json(one, raw) if sent.get(PREFIX + one.name + AS) == "json" else raw
    if one.kind == "datetime" and sent.get(PREFIX + one.name + ZONE) != "none":
        return f"{raw}Z"
    return _READERS.get(one.kind, _text)(one, raw)


def _empty(one: Input) -> Any:
    if one.required:
        _refuse("Choose" if one.kind in ("bool", "choice") else "Enter", one)
    # A text that was there and was deleted, or of which it was said that it has a value, is an empty text; anything
    # else that is empty is left to its default.
    return "" if one.kind == "text" and (one.initial or one.nullable) else _NOTHING


def _refuse(verb: str, one: Input) -> NoReturn:
    also = ", or tick “no value”" if one.nullable else ""
    raise BadParameters(f"{verb} {one.name}{also}.", one.name)


def _text(one: Input, raw: str) -> Any:
    return raw


def _integer(one: Input, raw: str) -> Any:
    if not _WHOLE.fullmatch(raw):
        raise BadParameters(f"{one.name} must be a whole number, such as 12; {shown(raw)} is not one.", one.name)
    return int(raw)


def _number(one: Input, raw: str) -> Any:
    if not _DECIMAL.fullmatch(raw):
        raise BadParameters(f"{one.name} must be a number, such as 1.5; {shown(raw)} is not one.", one.name)
    return raw


def _choice(one: Input, raw: str) -> Any:
    if raw == "null" and one.nullable:
        return None
    allowed = [text for text, _ in one.choices] or ["true", "false"]
    if raw not in allowed:
        raise BadParameters(f"{one.name} must be one of the choices.", one.name)
    return json.loads(raw)


def _lines(one: Input, raw: str) -> Any:
    return [line.strip() for line in raw.splitlines() if line.strip()]


def _json(one: Input, raw: str) -> Any:
    try:
        value = jsontext.decode(raw, one.name)
    except BadParameters as error:
        hint = " Text goes in double quotes." if '"' not in raw else ""
        raise BadParameters(f"{_sentence(str(error).removeprefix(f'{one.name}: '))}{hint}", one.name) from None
    wanted = {"*": list, "**": dict}.get(one.stars)
    if wanted is not None and not isinstance(value, wanted):
        raise BadParameters(f"{one.name} must be a JSON {'array' if wanted is list else 'object'}.", one.name)
    return value


_READERS = {
    "integer": _integer, "number": _number, "bool": _choice, "choice": _choice, "lines": _lines, "json": _json,
}  # fmt: skip


def read_options(sent: Mapping[str, str]) -> Filled:
    """Return the options that were given, each checked by itself, so that all that is wrong is told at once."""
    filled = Filled()
    for name, (label, unit, check) in _CHECKS.items():
        text = sent.get(OPTION + name, "").strip()
        if not text:
            continue
        value = _option(name, text)
        try:
            if unit and isinstance(value, str) and value not in options.PRIORITIES:
                raise BadOption(f"{label} must be {unit}; {shown(text)} is not one", name)
            check(value)
        except (JobRejected, ConfigurationError) as error:
            filled.errors[f"o-{name}"] = _sentence(str(error))
        else:
            filled.values[name] = value
    return filled


_CHECKS: dict[str, tuple[str, str, Callable[[Any], object]]] = {
    "delay": ("The delay", "a number of seconds", lambda value: options.check_delay(value, clock.now())),
    "priority": ("The priority", f"a whole number or one of {', '.join(options.PRIORITIES)}", options.check_priority),
    "retries": ("Retries", "a whole number", options.check_retries),
    "backoff": ("", "", options.check_backoff),
    "timeout": ("The time limit", "a number of seconds", options.check_timeout),
    "queue": ("", "", options.check_queue),
    "unique_key": ("", "", options.check_unique_key),
}
OPTIONS = tuple(_CHECKS)


def _option(name: str, text: str) -> Any:
    if name in ("backoff", "queue", "unique_key"):
        return text
    if _WHOLE.fullmatch(text) and len(text) < _LONG:
        # Said outright, 0 is meant, and the allow-list's own priority does not come first.
        return "normal" if name == "priority" and int(text) == 0 else int(text)
    return float(text) if name in ("delay", "timeout") and _DECIMAL.fullmatch(text) else text


def names(form: RunForm) -> set[str]:
    """Return the names of all fields that the form of a method may send, beside its own hidden ones."""
    suffixes = ("", NULL, AS, ZONE)
    fields = {f"{PREFIX}{one.name}{suffix}" for one in form.inputs for suffix in suffixes}
    return fields | {OPTION + name for name in OPTIONS}


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
