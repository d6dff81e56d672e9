"""Reads the setting that allows jobs: every shape it may be written in becomes one, and slips are named.

Accepted: a list of classes, each with all the methods that it defines and that are public; a mapping of classes to
a list of method names; a mapping of classes to `{"methods": ...}` or `{"allowed_methods": ...}`, with a list of
names or with a mapping of names to the defaults of their jobs. A class is written as its dotted name, or given
as the class itself.
"""

from __future__ import annotations

import difflib
import keyword
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from bgapp import options
from bgapp.errors import BadOption, ConfigurationError, shown
from bgapp.options import MethodOptions

SETTING = "BGAPP_ALLOWED_JOBS"
METHOD_KEYS = ("methods", "allowed_methods")
LONGEST_KEY = 255

Entry = dict[str, MethodOptions] | None  # None: every public method that the class defines

_DEFAULTS: dict[str, Callable[[object], Any]] = {
    "retries": options.check_retries,
    "backoff": options.check_backoff,
    "timeout": options.check_timeout,
    "queue": options.check_queue,
    "priority": options.check_priority,
    "reuse": options.check_reuse,
    "cpu": options.check_cpu,
    "memory": options.check_memory,
    "open_files": options.check_open_files,
    "output": options.check_output,
    "nice": options.check_nice,
}


def read(value: object) -> dict[str, Entry]:
    """Return the entries by key, in the order given. Raises ConfigurationError, naming the place."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        entries: dict[str, Entry] = {}
        for written, listed in value.items():
            key = _key(written)
            if key in entries:
                _refuse(f"the class {key} is there twice")
            entries[key] = _methods(key, listed)
        return entries
    if isinstance(value, list | tuple | set | frozenset):
        return dict.fromkeys(sorted(map(_key, value)) if isinstance(value, set | frozenset) else map(_key, value))
    _refuse(f"{shown(value)} is neither a mapping of classes to methods nor a list of classes")


def _key(written: object) -> str:
    if isinstance(written, type):
        return _key_of_class(written)
    if not isinstance(written, str):
        _refuse(f"{shown(written)} is neither a class nor the dotted name of one")
    parts = written.split(".")
    if len(parts) < 2 or not all(map(_is_name, parts)) or len(written) > LONGEST_KEY:
        _refuse(f"{shown(written)} is not the dotted name of a class, such as shop.jobs.ReportJob")
    return str.__str__(written)


def _key_of_class(written: type) -> str:
    key = f"{written.__module__}.{written.__qualname__}"
    if "<" in key:
        _refuse(f"the class {key} is made inside a function, where no other process can find it: move it to a module")
    if written.__module__ == "__main__":
        _refuse(f"the class {written.__qualname__} is in the script that was started: move it to a module of its own")
    return key


def _methods(key: str, listed: object) -> dict[str, MethodOptions]:
    if isinstance(listed, Mapping):
        listed = _methods_value(key, listed)
        if isinstance(listed, Mapping):
            return {_method(key, name): _options(f"{key}.{name}", given) for name, given in _some(key, listed).items()}
    if not isinstance(listed, list | tuple | set | frozenset):
        _refuse(f'the methods of {key} are {shown(listed)}; write a list of names, such as ["build"]')
    return {_method(key, name): MethodOptions() for name in _some(key, listed)}


def _methods_value(key: str, listed: Mapping[Any, Any]) -> Any:
    for name in listed:
        if name not in METHOD_KEYS:
            near = f"; defaults belong to a method: {{{METHOD_KEYS[0]!r}: {{NAME: {{{name!r}: ...}}}}}}"
            _refuse(f"{key} has {shown(name)}{near if name in _DEFAULTS else _nearest(name, METHOD_KEYS)}")
    if len(listed) != 1:
        _refuse(f"{key} needs one of {' and '.join(METHOD_KEYS)}")
    return next(iter(listed.values()))


def _some(key: str, listed: Any) -> Any:
    if not listed:
        _refuse(f"{key} has no methods; name them, or remove the class")
    return sorted(listed, key=str) if isinstance(listed, set | frozenset) else listed


def _method(key: str, name: object) -> str:
    if not isinstance(name, str) or not _is_name(name):
        _refuse(f"{key} has {shown(name)}, which is not the name of a method")
    if name.startswith("_"):
        _refuse(f"{key} has {shown(name)}: names with a leading underscore are private and never run as jobs")
    return str.__str__(name)


def _options(place: str, given: object) -> MethodOptions:
    if given is None:
        return MethodOptions()
    if not isinstance(given, Mapping):
        _refuse(f'the defaults of {place} are {shown(given)}; write a mapping, such as {{"retries": 5}}')
    checked = {}
    for name, value in given.items():
        if name not in _DEFAULTS:
            _refuse(f"{place} has the unknown default {shown(name)}{_nearest(name, _DEFAULTS)}")
        try:
            if value is not None:
                checked[name] = _DEFAULTS[name](value)
        except BadOption as error:
            raise ConfigurationError(f"{SETTING}: {place}: {error}") from None
    return MethodOptions(**checked)


def _is_name(text: str) -> bool:
    # Python itself reads identifiers in this normal form; another spelling would never match a class's own name.
    normal = unicodedata.is_normalized("NFKC", text)
    return text.isidentifier() and normal and not keyword.iskeyword(text)


def _nearest(name: object, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1) if isinstance(name, str) else []
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def _refuse(what: str) -> NoReturn:
    raise ConfigurationError(f"{SETTING}: {what}")
