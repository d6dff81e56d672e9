"""What the form of a method shows: an input for each parameter, from signature, hints, defaults and docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum
from typing import Any

from bgapp import hints, masking, methods, options, parameters
from bgapp.allowlist import Allowed
from bgapp.backoff import Backoff
from bgapp.errors import JobRejected
from bgapp.runtime import Runtime
from bgapp.web import widgets

PREFIX, OPTION = "p.", "o."  # of the names of a form's fields
NULL, AS, ZONE = ".null", ".as", ".zone"  # what may follow a parameter's name


@dataclass(frozen=True)
class Input:
    """One parameter as the form asks for it.

    kind: text, integer, number, bool, choice, date, time, datetime, lines, json, any (text or JSON) or secret.
    """

    name: str
    kind: str
    hint: str
    about: str
    required: bool
    nullable: bool
    default: str | None  # in words; None for none
    initial: str  # what the field shows at first
    starts_null: bool
    choices: tuple[tuple[str, str], ...] = ()  # JSON text and label
    stars: str = ""  # of *args and **kwargs

    @property
    def id(self) -> str:
        return f"p-{self.name}"

    @property
    def asks_null(self) -> bool:
        """Whether the form must ask what an empty field means: a text can be empty, or there can be no text."""
        return self.nullable and self.kind not in ("bool", "choice") and (self.kind == "text" or not self.starts_null)

    @property
    def is_short(self) -> bool:
        """Whether it fits a form of one line."""
        return self.kind in ("text", "integer", "number", "any", "secret", "date") and not self.stars


@dataclass(frozen=True)
class RunForm:
    """What the form of one method shows."""

    key: str
    method: str
    signature: str
    summary: str  # of the docstring, its first paragraph
    more: str  # the rest, without what is said of parameters
    inputs: tuple[Input, ...]
    defaults: Mapping[str, str]  # of the options, in words

    @property
    def target(self) -> str:
        return f"{self.key}.{self.method}"

    @property
    def name(self) -> str:
        return f"{self.key.rpartition('.')[2]}.{self.method}"

    @property
    def module(self) -> str:
        return self.key.rpartition(".")[0]

    @property
    def required(self) -> tuple[Input, ...]:
        return tuple(one for one in self.inputs if one.required)

    @property
    def is_quick(self) -> bool:
        """Whether a line of a list has room for all that it needs."""
        return len(self.required) <= 2 and all(one.is_short for one in self.required)


def describe_all(runtime: Runtime) -> list[RunForm]:
    """Return the form of every allowed method that can run, in the order of the allow-list."""
    return [form for allowed in runtime.allowlist.entries() if (form := describe(runtime, allowed)) is not None]


def describe(runtime: Runtime, allowed: Allowed) -> RunForm | None:
    """Return the form of an allowed method, None where its class cannot be imported or lacks it."""
    try:
        method = runtime.allowlist.function(runtime.allowlist.allowed(allowed.class_key, allowed.method))
    except JobRejected:
        return None
    settings, default = runtime.settings, allowed.options
    timeout = settings.timeout if default.timeout is None else default.timeout
    said = {
        "retries": str(settings.retry_attempts if default.retries is None else default.retries),
        "backoff": _in_words(default.backoff or settings.retry_backoff),
        "timeout": "no limit" if timeout is None else f"{timeout:g} s",
        "queue": default.queue or options.DEFAULT_QUEUE,
        "priority": str(options.DEFAULT_PRIORITY if default.priority is None else default.priority),
    }
    summary, more, about = _docstring(method)
    return RunForm(
        allowed.class_key,
        allowed.method,
        parameters.signature_text(method.cls, method.name),
        summary,
        more,
        _inputs(method.cls, method.name, settings.secret_keys, about),
        said,
    )


def _inputs(cls: type, name: str, words: tuple[str, ...], about: Mapping[str, str]) -> tuple[Input, ...]:
    method = methods.find(cls, name)
    found = hints.resolve(method)
    described = {info.name: info for info in parameters.describe(cls, name)}
    return tuple(
        _input(parameter, found[key], described[key], words, about.get(key, ""))
        for key, parameter in method.signature.parameters.items()
    )


def _input(
    parameter: inspect.Parameter, hint: Any, info: parameters.ParameterInfo, words: tuple[str, ...], about: str
) -> Input:
    kind, nullable, choices = widgets.of(hint)
    stars = {"var_positional": "*", "var_keyword": "**"}.get(info.kind, "")
    if stars:
        kind = "lines" if stars == "*" and kind in ("text", "integer", "number") else "json"
        choices, nullable = (), False
    is_secret = info.secret or masking.is_secret_name(info.name, words)
    default = parameter.default
    if is_secret:
        kind, choices = "secret", ()
    nullable = nullable or default is None
    initial = "" if is_secret or default is parameter.empty else _initial(kind, default)
    return Input(
        info.name,
        kind,
        info.hint,
        about,
        info.required,
        nullable,
        info.default if not is_secret else None,
        initial,
        default is None,
        choices,
        stars,
    )


def _initial(kind: str, default: Any) -> str:
    """Return a default as the field of its kind shows it; empty for what no field can show."""
    if default is None:
        return ""
    if isinstance(default, Enum):
        default = default.value
    if kind in ("json", "bool", "choice") or (kind == "any" and not isinstance(default, str)):
        return widgets.as_json(default)
    if kind == "lines":
        return "\n".join(map(str, default)) if isinstance(default, list | tuple) else ""
    if isinstance(default, datetime):
        return default.replace(tzinfo=None).isoformat(timespec="seconds")
    if isinstance(default, date | time):
        return default.isoformat()
    return str(default) if isinstance(default, str | int | float) else ""


def _docstring(method: methods.Method) -> tuple[str, str, dict[str, str]]:
    """Return a docstring's first paragraph, its rest, and what it says of single parameters (`name: words`)."""
    text = inspect.cleandoc(method.function.__doc__ or "")
    names = "|".join(map(re.escape, method.signature.parameters))
    if not names:
        return (*_paragraph(text), {})
    # `name: words`, over further lines that are indented more; also `name (type): words` and `:param name: words`.
    line = re.compile(
        rf"^([ \t]*)(?::param (?:[^\s:]+ )?)?\**({names})(?: *\([^)\n]*\))? *: +(\S.*(?:\n\1[ \t]+\S.*)*)$",
        re.MULTILINE,
    )
    about = {match[2]: " ".join(match[3].split()) for match in line.finditer(text)}
    summary, rest = _paragraph(text)
    rest = re.sub(r"^(Args|Parameters|Arguments):[ \t]*$", "", line.sub("", rest), flags=re.MULTILINE)
    return summary, _flowing(rest), about


def _in_words(backoff: Backoff) -> str:
    return f"{backoff.seconds:g} s, {'each time' if backoff.fixed else 'doubling'}"


def _flowing(text: str) -> str:
    """Return a text whose plain paragraphs are one line each, so that they fill any screen."""
    paragraphs = [part.strip("\n") for part in re.split(r"\n{2,}", text)]
    plain = (" ".join(part.split()) if not re.search(r"^[ \t*>-]", part, re.MULTILINE) else part for part in paragraphs)
    return "\n\n".join(part for part in plain if part.strip())


def _paragraph(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("\n\n")
    return " ".join(first.split()), rest
