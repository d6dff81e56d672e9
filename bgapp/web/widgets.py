"""Which kind of input asks for a value of a type hint: found in the hint's JSON schema, which pydantic knows.

A hint that has no schema is asked for as JSON; a parameter without a hint as text or JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from bgapp import hints

SCALARS = {"string": "text", "integer": "integer", "number": "number", "boolean": "bool"}
FORMATS = {"date": "date", "time": "time", "date-time": "datetime", "password": "secret"}

Widget = tuple[str, bool, tuple[tuple[str, str], ...]]  # kind, whether None is allowed, choices


def of(hint: Any) -> Widget:
    """Return a hint's kind of input, whether it takes None, and its choices: pairs of JSON text and label."""
    if hint is hints.NO_HINT:
        return "any", False, ()
    schema = _schema(hint) if _is_hashable(hint) else None
    return _from_schema(schema, schema.get("$defs", {})) if schema else ("json", False, ())


def _is_hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True


@lru_cache(maxsize=1024)
def _schema(hint: Any) -> dict[str, Any] | None:
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(hint).json_schema()
    except Exception:  # any object may be a hint, and building from it may raise anything
        return None


def _from_schema(schema: Any, known: Mapping[str, Any]) -> Widget:
    schema = _resolved(schema, known)
    if "anyOf" in schema:
        branches = [_resolved(one, known) for one in schema["anyOf"]]
        others = [one for one in branches if one.get("type") != "null"]
        nullable = len(others) < len(branches)
        if len(others) == 1:
            kind, _, choices = _from_schema(others[0], known)
            return kind, nullable, choices
        # Of several scalars, one that is text takes what is typed as it is, as a decimal number's does.
        is_text = all(one.get("type") in SCALARS for one in others) and any(one["type"] == "string" for one in others)
        return "text" if is_text else "json", nullable, ()
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        plain = [value for value in values if value is not None]
        choices = tuple((as_json(value), str(value)) for value in plain)
        return "choice", len(plain) < len(values), choices
    scalar = SCALARS.get(schema.get("type", ""))
    if scalar is not None:
        return FORMATS.get(schema.get("format", ""), scalar) if scalar == "text" else scalar, False, ()
    is_list = schema.get("type") == "array" and "prefixItems" not in schema
    item = _resolved(schema.get("items", {}), known)
    return "lines" if is_list and item.get("type") in ("string", "integer", "number") else "json", False, ()


def _resolved(schema: Any, known: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(schema, dict):
        return {}
    name = schema.get("$ref", "").rpartition("/")[2]
    found = known.get(name) if name else schema
    return found if isinstance(found, dict) else {}


def as_json(value: Any) -> str:
    """Return a value as JSON text, empty for one that has none."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return ""
