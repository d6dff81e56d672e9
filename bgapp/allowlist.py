"""The allow-list: which methods of which classes may run, and with which defaults.

Text from a call or a request is only ever compared with what the configuration says. What is imported is the
configuration's own text, on first use.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from bgapp import allowlistsetting, methods
from bgapp.allowlistsetting import SETTING, Entry
from bgapp.errors import ClassNotAllowed, ClassUnknown, JobRejected, MethodNotAllowed, MethodUnknown, shown
from bgapp.limits import Limits
from bgapp.options import MethodOptions

__all__ = ["AllowList", "Allowed", "MethodOptions"]

_LONGEST_NAME = 200  # longer text is no slip of the pen, and comparing it letter by letter takes its time
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Allowed:
    """One method that may run, with the defaults of its jobs."""

    class_key: str
    method: str
    options: MethodOptions


class AllowList:
    """The allowed classes, by key: the dotted name that the configuration gives them."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(entries)
        self._by_name: dict[str, list[str]] = {}
        for key in self._entries:
            self._by_name.setdefault(key.rpartition(".")[2], []).append(key)
        # Only what was found is kept, so that text from requests cannot fill these.
        self._classes: dict[str, type] = {}
        self._keys: dict[type, str] = {}
        self._allowed: dict[tuple[str, str], Allowed] = {}

    @classmethod
    def from_setting(cls, value: object) -> AllowList:
        """Return the allow-list that the setting's value describes; None and nothing in it allow nothing.

        Raises ConfigurationError for a shape, name or default that cannot be used. Imports nothing.
        """
        return cls(allowlistsetting.read(value))

    def keys(self) -> list[str]:
        """Return the keys in the order of the configuration."""
        return list(self._entries)

    def text(self) -> str:
        """Return the whole list as text: the same for the same list, whatever its shape and order were."""
        plain = {
            key: None if entry is None else {name: asdict(options) for name, options in entry.items()}
            for key, entry in self._entries.items()
        }
        return json.dumps(plain, sort_keys=True)

    def find(self, job_class: object) -> str:
        """Return the key of `job_class`: a class, a key, or the last part of exactly one key.

        A class is the entry's that imports to that same object. Raises ClassNotAllowed.
        """
        if isinstance(job_class, type):
            return self._find_class(job_class)
        name = _text(job_class)
        if name is None:
            _refuse_class(f"{shown(job_class)} is neither a class nor the name of one")
        if name in self._entries:
            return name
        found = self._by_name.get(name, [])
        if len(found) > 1:
            _refuse_class(f"{shown(name)} could be {' or '.join(found)}: give the whole name")
        if not found:
            near = _nearest(name, [*self._entries, *self._by_name])
            _refuse_class(f"the class {shown(name)} is not in the allow-list ({SETTING}){near}")
        return found[0]

    def allowed(self, key: str, method: str) -> Allowed:
        """Return the entry of `method` of the class `key`, once it is sure that it can run.

        Imports the class. Raises ClassNotAllowed, ClassUnknown; MethodUnknown if the class has no attribute of
        this name; MethodNotAllowed if it has one that is not listed, or that cannot be a job.
        """
        found = self._allowed.get((key, method)) if type(method) is str else None
        if found is None:
            found = self._check(key, method)
            self._allowed[key, found.method] = found
        return found

    def load(self, key: str) -> type:
        """Return the class of `key`, imported by that text on first use.

        Raises ClassNotAllowed for a key that is not listed, ClassUnknown if the import fails, which the next call
        tries again.
        """
        loaded = self._classes.get(key)
        if loaded is None:
            if key not in self._entries:
                _refuse_class(f"the class {shown(key)} is not in the allow-list ({SETTING})")
            loaded = self._classes[key] = _import(key)
        return loaded

    def function(self, allowed: Allowed) -> methods.Method:
        """Return the method itself, with its signature and what to call. Raises ClassUnknown, MethodUnknown."""
        return methods.find(self.load(allowed.class_key), allowed.method)

    def limits(self, key: str, method: str) -> Limits:
        """Return what an attempt at a stored job may use; none for one that is no longer listed. Imports nothing."""
        return self._options(key, method).limits

    def reuse(self, key: str, method: str) -> int:
        """Return how many jobs one process may run; one where the method is no longer listed. Imports nothing."""
        return self._options(key, method).reuse

    def _options(self, key: str, method: str) -> MethodOptions:
        return (self._entries.get(key) or {}).get(method) or MethodOptions()

    def entries(self) -> list[Allowed]:
        """Return every allowed method, in the order of the configuration.

        A class whose methods are not listed by name is imported to see them; one that fails has none here, and
        `problems` tells why.
        """
        found = []
        for key, entry in self._entries.items():
            try:
                listed = dict.fromkeys(methods.own_public(self.load(key)), MethodOptions()) if entry is None else entry
            except ClassUnknown:
                continue
            found += [Allowed(key, method, options) for method, options in listed.items()]
        return found

    def problems(self) -> list[str]:
        """Import every class and return what cannot run, one sentence each; nothing is wrong with an empty list."""
        found = []
        for key, entry in self._entries.items():
            try:
                self.load(key)
                for method in entry or ():
                    self.allowed(key, method)
            except JobRejected as error:
                found.append(str(error))
        return found

    def _find_class(self, wanted: type) -> str:
        key = self._keys.get(wanted)
        if key is None:
            key = next((key for key in self._likely_keys(wanted) if self._is(key, wanted)), None)
            if key is None:
                name = f"{wanted.__module__}.{wanted.__qualname__}"
                _refuse_class(f"the class {shown(name)} is not in the allow-list ({SETTING})")
            self._keys[wanted] = key
        return key

    def _likely_keys(self, wanted: type) -> Iterable[str]:
        """Return all keys, those first that need no import of anything else."""
        own = f"{wanted.__module__}.{wanted.__qualname__}"
        same_name = self._by_name.get(wanted.__name__, [])
        return dict.fromkeys([*([own] if own in self._entries else []), *same_name, *self._entries])

    def _is(self, key: str, wanted: type) -> bool:
        try:
            return self.load(key) is wanted
        except ClassUnknown:
            return False

    def _check(self, key: str, method: object) -> Allowed:
        cls = self.load(key)
        entry = self._entries[key]
        # A dictionary answers whether the class has the name: text from outside never reaches getattr.
        name = _text(method)
        if name is None or name not in methods.names(cls):
            near = _nearest(method, methods.own_public(cls) if entry is None else entry)
            raise MethodUnknown(f"the class {key} has no method {shown(method)}{near}", "method")
        options = MethodOptions() if entry is None else entry.get(name)
        if options is None:
            _refuse_method(key, name, f"is not in the allow-list ({SETTING})")
        reason = methods.refusal(cls, name)
        if reason is not None:
            _refuse_method(key, name, f"cannot be a job: it {reason}")
        if entry is None and name not in vars(cls):
            _refuse_method(key, name, f"is inherited: to allow it, list it by name in {SETTING}")
        return Allowed(key, name, options)


def _import(key: str) -> type:
    try:
        found = _resolve(key)
    # An imported module may raise anything, and some leave by sys.exit, which must not end a web server.
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_REASON]
        raise ClassUnknown(f"the class {key} is allowed, but importing it failed: {reason}", "job_class") from error
    if not inspect.isclass(found):
        kind = type(found).__name__
        raise ClassUnknown(f"{key} is allowed, but it is no class: it is a value of the type {kind}", "job_class")
    return found


def _resolve(key: str) -> Any:
    module_name, _, name = key.rpartition(".")
    try:
        owner = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing_here = error.name is not None and f"{module_name}.".startswith(f"{error.name}.")
        if not missing_here or "." not in module_name:
            raise
        try:  # the class may stand inside another class
            owner = _resolve(module_name)
        except (ModuleNotFoundError, AttributeError):
            raise error from None
    return getattr(owner, name)


def _text(value: object) -> str | None:
    """Return text as exactly str, whatever a subclass of it overrides; None for anything else."""
    return str.__str__(value) if isinstance(value, str) and issubclass(type(value), str) else None


def _nearest(name: object, known: Iterable[str]) -> str:
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        return ""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def _refuse_class(message: str) -> NoReturn:
    raise ClassNotAllowed(message, "job_class")


def _refuse_method(key: str, method: str, what: str) -> NoReturn:
    raise MethodNotAllowed(f"the method {method} of {key} {what}", "method")
