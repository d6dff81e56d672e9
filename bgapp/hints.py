"""Type hints of a method's parameters: found whatever they name, and applied to values by pydantic.

A hint that cannot be found or that pydantic cannot read counts as none. pydantic is imported when the first hint
needs it, which many short methods never do.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bgapp import jsontext, methods
from bgapp.errors import BadParameters

NO_HINT: Any = inspect.Parameter.empty

_HIDDEN = "**********"  # what pydantic writes in place of a secret
_MOST_REASONS = 3

Result = TypeVar("Result")


class Unfit(Exception):
    """A value does not fit its hint; the text says why, and may quote the value."""


class Converter:
    """Converts the values of one parameter by its hint, to what is stored and back."""

    def __init__(self, hint: Any) -> None:
        # A value of just this type is stored as it is, without a look at pydantic.
        self._native = hint if hint is str or hint is int or hint is float else None
        self._has_hint = not any(hint is general for general in (NO_HINT, Any, object))
        self._hint = hint
        self._adapter: Any = None

    def to_json(self, value: Any) -> Any:
        """Return what is stored for `value` after the hint's conversion; `from_json` reads it back.

        Text that the hint does not take as text is read as JSON. A value without a hint is returned as it is,
        JSON or not. Raises Unfit.
        """
        if not self._applies(value):
            return value
        stored = self._dump(self._validate(value))
        if isinstance(stored, dict | list):
            self.from_json(stored)  # a hint that writes what it cannot read is better refused here than in the job
        return stored

    def from_json(self, stored: Any) -> Any:
        """Return the value that the method gets for `stored`. Raises Unfit."""
        if not self._applies(stored):
            return stored
        return _listed(_fitting(lambda: self._adapter.validate_json(json.dumps(stored))))

    def _applies(self, value: Any) -> bool:
        if not self._has_hint or type(value) is self._native:
            return False
        if self._adapter is None:
            self._adapter = _adapter(self._hint)
            self._has_hint = self._adapter is not None
        return self._has_hint

    def _validate(self, value: Any) -> Any:
        try:
            return _listed(_fitting(self._adapter.validate_python, value))
        except Unfit as error:
            if type(value) is not str:
                raise
            refusal = error
        looks_nested = value.lstrip()[:1] in ("[", "{")
        try:
            decoded = jsontext.decode(value, "params")
            if isinstance(decoded, str):  # quotes are part of a text, so they never turn it into another
                raise refusal
            return _listed(_fitting(self._adapter.validate_json, value))
        except BadParameters as error:
            raise Unfit(str(error).removeprefix("params: ")) if looks_nested else refusal from None
        except Unfit as error:
            raise error if looks_nested else refusal from None

    def _dump(self, value: Any) -> Any:
        stored = _fitting(lambda: self._dumped(value, "json"))
        if isinstance(stored, str | dict | list) and _HIDDEN in _fitting(json.dumps, stored):
            from pydantic_core import to_jsonable_python

            revealed = _fitting(lambda: _revealed(self._dumped(value, "python")))
            stored = _fitting(lambda: to_jsonable_python(revealed, by_alias=True, round_trip=True))
        return stored

    def _dumped(self, value: Any, mode: str) -> Any:
        return self._adapter.dump_python(value, mode=mode, by_alias=True, round_trip=True, warnings=False)


def resolve(method: methods.Method) -> dict[str, Any]:
    """Return the hint of each parameter by name, NO_HINT for those without one that can be found.

    Names in a hint are looked up in the method's module, then in its class. Each hint is looked up alone, since one
    that is imported for type checkers only must not cost the others.
    """
    function = inspect.unwrap(method.function)
    module = getattr(function, "__globals__", {})
    found = {}
    for name, parameter in method.signature.parameters.items():
        hint = _resolved(function, parameter.annotation, module, None)
        if hint is NO_HINT and parameter.annotation is not NO_HINT:
            hint = _resolved(function, parameter.annotation, module, methods.names(method.cls))
        found[name] = hint
    return found


def text(annotation: Any) -> str:
    """Return an annotation as it stands in the source; empty for none."""
    if annotation is NO_HINT:
        return ""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    return inspect.formatannotation(annotation)


def is_secret(hint: Any) -> bool:
    """Return whether a hint names one of pydantic's secret types, at any depth."""
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type) and hasattr(origin, "get_secret_value"):
        return True
    return any(map(is_secret, typing.get_args(hint)))


def _resolved(function: Any, annotation: Any, module: dict[str, Any], local: dict[str, Any] | None) -> Any:
    if annotation is NO_HINT:
        return NO_HINT

    def carrier() -> None: ...

    carrier.__annotations__ = {"hint": annotation}
    carrier.__type_params__ = getattr(function, "__type_params__", ())  # type: ignore[attr-defined]
    try:
        return typing.get_type_hints(carrier, module, local, include_extras=True)["hint"]
    except Exception:  # an annotation is any expression, so it may raise anything
        return NO_HINT


def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(hint)
    except Exception:  # any object may be a hint, and building from it may raise anything
        return None


def _fitting(convert: Callable[..., Result], *values: Any) -> Result:
    try:
        return convert(*values)
    except Exception as error:  # a hint's own validators and serializers may raise anything
        reason = _reason(error)
    # Raised out here, so that no traceback carries the refused value along.
    raise Unfit(reason)


def _reason(error: Exception) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    details = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = [".".join(map(str, (*detail["loc"], ""))) + f" {detail['msg']}" for detail in details[:_MOST_REASONS]]
    more = [f"and {len(details) - _MOST_REASONS} more"] if len(details) > _MOST_REASONS else []
    return "; ".join(reason.strip() for reason in reasons + more)


def _listed(value: Any) -> Any:
    """Return a value that could be walked through only once, as hints like Iterable give it, as a list."""
    return _fitting(list, value) if isinstance(value, Iterator) else value


def _revealed(value: Any) -> Any:
    if hasattr(value, "get_secret_value"):
        return _revealed(value.get_secret_value())
    if isinstance(value, dict):
        return {key: _revealed(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_revealed(item) for item in value]
    return value
