"""What a class offers to run: its methods by name, and the reason why one of them cannot be a job.

Names are looked up in a dictionary that is built from the class. No attribute is read by a name that has not
been found there first, so neither properties nor `__getattr__` ever see text from outside.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

from bgapp.errors import MethodUnknown, shown

if sys.version_info >= (3, 14):  # annotations are evaluated when read there, and may name what is not imported
    from annotationlib import Format

    _signature = partial(inspect.signature, annotation_format=Format.FORWARDREF)
else:
    _signature = inspect.signature


@dataclass(frozen=True)
class Method:
    """One method of a class.

    `function` is what stands in the class, without its staticmethod or classmethod wrapper; `signature` is what
    a caller sees, without `self` or `cls`.
    """

    cls: type
    name: str
    function: Callable[..., Any]
    is_static: bool
    is_class: bool
    signature: inspect.Signature

    @property
    def needs_instance(self) -> bool:
        """Whether it is called on an instance, made without arguments."""
        return not (self.is_static or self.is_class)

    def target(self) -> Callable[..., Any]:
        """Return what to call with the arguments; makes the instance if one is needed, so it may raise anything."""
        owner = self.cls() if self.needs_instance else self.cls
        bound: Callable[..., Any] = getattr(owner, self.name)
        return bound


def names(cls: type) -> dict[str, Any]:
    """Return what stands in the class and its bases, by name, as written there: nothing is bound or called."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        found.update(vars(base))
    return found


def own_public(cls: type) -> list[str]:
    """Return the names of the methods that `cls` itself defines, that are public and that can be jobs."""
    return [name for name in vars(cls) if refusal(cls, name) is None]


def find(cls: type, name: str) -> Method:
    """Return the method `name` of `cls`. Raises MethodUnknown if there is none, or if it is no method."""
    found = _method(cls, name)
    if isinstance(found, str):
        raise MethodUnknown(f"{cls.__qualname__} has no method {shown(name)}: it {found}", "method")
    return found


def refusal(cls: type, name: str) -> str | None:
    """Return why the method `name` of `cls` cannot be a job, or None if it can."""
    found = _method(cls, name)
    if isinstance(found, str):
        return found
    if name.startswith("_"):
        return "is private, by its leading underscore"
    function = inspect.unwrap(found.function)
    if any(map(inspect.isgeneratorfunction, (function, found.function))):
        return "is a generator function, which would return before it has run: make it return a list"
    if any(map(inspect.isasyncgenfunction, (function, found.function))):
        return "is an async generator, which would return before it has run: make it an async def that returns a list"
    return _no_instance(cls) if found.needs_instance else None


def _method(cls: type, name: str) -> Method | str:
    """Return the method, or why it is none."""
    raw = names(cls).get(name)
    if raw is None:
        return "does not exist"
    if isinstance(raw, property):
        return "is a property, not a method"
    is_static, is_class = isinstance(raw, staticmethod), isinstance(raw, classmethod)
    function: Any = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
    if inspect.isclass(function):
        return "is a class, not a method"
    if not (inspect.isroutine(function) and callable(function)):
        return f"is not a method, but {_described(function)}"
    try:
        signature = _signature(function if is_static else MethodType(function, cls))
    except (TypeError, ValueError) as error:
        return f"has no signature that can be read: {error}"
    return Method(cls, name, function, is_static, is_class, signature)


def _described(value: object) -> str:
    return f"a value of the type {type(value).__name__}"


def _no_instance(cls: type) -> str | None:
    if inspect.isabstract(cls):
        return "needs an instance, and its class is abstract"
    try:
        _signature(cls).bind()
    except TypeError as error:
        return f"needs an instance, and its class cannot be made without arguments: {error}"
    except ValueError:  # a class written in C may hide its signature; the attempt itself will tell
        return None
    return None
