"""Binds the parameters of a call to the method's signature, and converts them to JSON and back by its hints.

The side that asks for a job calls `bind`; what it stores is by name. The child calls `call_arguments` on that.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import Parameter
from typing import Any, NoReturn

from bgapp import hints, jsontext, masking, methods
from bgapp.errors import BadParameters, shown

ARGUMENT = "params"
_MOST_SHOWN_SIGNATURE = 300  # characters


@dataclass(frozen=True)
class Bound:
    """Parameters that fit: `values` are JSON types by parameter name, `text` the same as JSON, for storing.

    Surplus positions stand as a list under the name of `*args`, surplus names as an object under that of
    `**kwargs`. Parameters left to their defaults are not there. `secrets` names those whose values are to be masked.
    """

    values: dict[str, Any]
    text: str
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter, for a form or a page.

    `kind` is positional_only, positional_or_keyword, var_positional, keyword_only or var_keyword; `hint` is the
    hint as the source has it, or empty; `default` the default's repr, or None if there is no default.
    """

    name: str
    kind: str
    hint: str
    required: bool
    default: str | None
    secret: bool


def bind(cls: type, method: str, params: object, extra: Iterable[str] = ()) -> Bound:
    """Return `params`, a list or tuple by position or a dict by name or None, as bound to the method.

    A dict may name positional-only parameters, and may give `*args` as a list and `**kwargs` as a dict under
    their own names, so that `Bound.values` itself can be bound again. `extra` are further words that mark a name
    as secret. Raises BadParameters, whose `argument` is `params` or `params.NAME`; MethodUnknown if the class
    has no such method.
    """
    plan = _plan(cls, method)
    given = _given(plan, params)
    extra = tuple(extra)
    converted = {name: plan.by_name[name].convert(value, extra, to_json=True) for name, value in given.items()}
    values = jsontext.plain(converted, ARGUMENT)
    secrets = tuple(name for name in values if plan.by_name[name].is_secret(extra))
    return Bound(values, jsontext.dump(values, ARGUMENT), secrets)


def call_arguments(cls: type, method: str, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of the call that the stored `values` stand for.

    Each is converted by its hint, so that a date hint gives a date. Raises BadParameters if they do not fit the
    method any more, MethodUnknown if it is gone.
    """
    plan = _plan(cls, method)
    given = _given(plan, dict(values))
    converted = {name: plan.by_name[name].convert(value, (), to_json=False) for name, value in given.items()}
    surplus = converted.get(plan.rest_name, [])
    # Up to here all must be passed by position, so gaps are filled with the defaults.
    last = max((place for place, one in enumerate(plan.positional) if one.name in converted and one.only), default=-1)
    last = len(plan.positional) - 1 if surplus else last
    arguments: list[Any] = []
    named = {one.name: converted[one.name] for one in plan.named if one.name in converted}
    for place, one in enumerate(plan.positional):
        if one.name not in converted:
            arguments += [one.default] if place <= last else []
        elif len(arguments) == place:
            arguments.append(converted[one.name])
        else:
            named[one.name] = converted[one.name]
    return arguments + surplus, named | converted.get(plan.names_name, {})


def describe(cls: type, method: str) -> list[ParameterInfo]:
    """Return the parameters of a method in order. Raises MethodUnknown."""
    return [one.info for one in _plan(cls, method).by_name.values()]


def signature_text(cls: type, method: str) -> str:
    """Return a method's name and parameters as source, such as `build(month: date, draft: bool = False)`."""
    return _plan(cls, method).text


def masked_as_given(cls: type, method: str, params: object, extra: Iterable[str] = ()) -> Any:
    """Return `params` of a rejected call for a log: as given, but secrets masked, those given by position too."""
    plan, extra = _plan(cls, method), tuple(extra)
    if not isinstance(params, list | tuple):
        return masking.mask_params(params, [name for name, one in plan.by_name.items() if one.is_secret(extra)], extra)
    rest = plan.by_name.get(plan.rest_name)
    places = [*plan.positional, *([rest] * (len(params) - len(plan.positional)))]
    return [
        masking.MASK if one is not None and one.is_secret(extra) else masking.mask_params(value, (), extra)
        for one, value in zip(places, params, strict=False)
    ]


class _Parameter:
    """One parameter with its hint's converter."""

    def __init__(self, parameter: Parameter, hint: Any) -> None:
        self.name = parameter.name
        self.kind = parameter.kind
        self.default = parameter.default
        self.only = parameter.kind is Parameter.POSITIONAL_ONLY
        self.may_recur = self.only or self.kind in _SURPLUS  # as a name among `**kwargs`
        self.required = self.default is Parameter.empty and self.kind not in _SURPLUS
        self.hint_text = hints.text(parameter.annotation)
        self._converter = hints.Converter(hint)
        self._hint_is_secret = hints.is_secret(hint)

    def is_secret(self, extra: tuple[str, ...]) -> bool:
        return self._hint_is_secret or masking.is_secret_name(self.name, extra)

    def convert(self, value: Any, extra: tuple[str, ...], *, to_json: bool) -> Any:
        one = self._converter.to_json if to_json else self._converter.from_json
        try:
            if self.kind is Parameter.VAR_POSITIONAL:
                return [one(item) for item in value]
            if self.kind is Parameter.VAR_KEYWORD:
                return {name: one(item) for name, item in value.items()}
            # `month: date = None` is common, and None is fine for it, whatever the hint says.
            return None if value is None and self.default is None else one(value)
        except hints.Unfit as error:
            reason = str(error)
        self._refuse(value, reason, extra)

    def _refuse(self, value: Any, reason: str, extra: tuple[str, ...]) -> NoReturn:
        hint = f"its hint {self.hint_text}"
        if self.is_secret(extra):
            _refuse(f"{self.name} does not fit {hint}", self.name)
        reason = masking.mask_text(reason, masking.secret_values(value, (), extra))
        _refuse(
            f"{self.name} is {shown(masking.mask_params(value, (), extra))}, which does not fit {hint}: {reason}",
            self.name,
        )

    @property
    def info(self) -> ParameterInfo:
        secret = self.is_secret(())
        default = None if self.default is Parameter.empty else masking.MASK if secret else shown(self.default)
        return ParameterInfo(self.name, self.kind.name.lower(), self.hint_text, self.required, default, secret)


class _Plan:
    """What binding needs to know of one method, worked out once."""

    def __init__(self, method: methods.Method) -> None:
        found = hints.resolve(method)
        self.method = method.name
        self.by_name = {name: _Parameter(one, found[name]) for name, one in method.signature.parameters.items()}
        everything = list(self.by_name.values())
        self.positional = [one for one in everything if one.kind in _POSITIONAL]
        self.named = [one for one in everything if one.kind is Parameter.KEYWORD_ONLY]
        self.rest_name = _name_of(everything, Parameter.VAR_POSITIONAL)
        self.names_name = _name_of(everything, Parameter.VAR_KEYWORD)
        self.text = _text(method.name, [one.info for one in everything])


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_SURPLUS = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@lru_cache(maxsize=2048)
def _plan(cls: type, method: str) -> _Plan:
    return _Plan(methods.find(cls, method))


def _name_of(parameters: list[_Parameter], kind: Any) -> str:
    return next((one.name for one in parameters if one.kind is kind), "")


def _text(method: str, parameters: list[ParameterInfo]) -> str:
    words: list[str] = []
    for number, one in enumerate(parameters):
        before = parameters[number - 1].kind if number else ""
        if before == "positional_only" != one.kind:
            words.append("/")
        if one.kind == "keyword_only" and before not in ("keyword_only", "var_positional"):
            words.append("*")
        stars = {"var_positional": "*", "var_keyword": "**"}.get(one.kind, "")
        hint = f": {one.hint}" if one.hint else ""
        equals = " = " if one.hint else "="
        words.append(f"{stars}{one.name}{hint}{equals + one.default if one.default is not None else ''}")
    if parameters and parameters[-1].kind == "positional_only":
        words.append("/")
    return f"{method}({', '.join(words)})"


def _given(plan: _Plan, params: object) -> dict[str, Any]:
    """Return the values as given, by parameter name and in the signature's order."""
    if params is None:
        given: dict[str, Any] = {}
    elif isinstance(params, list | tuple):
        given = _by_position(plan, params)
    elif isinstance(params, dict):
        given = _by_name(plan, params)
    else:
        _refuse(f"{shown(type(params).__name__)} values cannot be bound; give a list by position or a dict by name")
    missing = [one.name for one in plan.by_name.values() if one.required and one.name not in given]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        _refuse(f"{', '.join(missing)} {are} missing ({len(given)} given); {_takes(plan)}", missing[0])
    return {name: given[name] for name in plan.by_name if name in given}


def _by_position(plan: _Plan, params: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    places = len(plan.positional)
    given = {one.name: value for one, value in zip(plan.positional, params, strict=False)}
    if len(params) > places:
        if not plan.rest_name:
            _refuse(f"{len(params)} given by position, but {places} is the most; {_takes(plan)}")
        given[plan.rest_name] = list(params[places:])
    return given


def _by_name(plan: _Plan, params: dict[Any, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    surplus: dict[str, Any] = {}
    for name, value in params.items():
        if not isinstance(name, str):
            _refuse(f"the name {shown(name)} is not text; {_takes(plan)}")
        elif name == plan.rest_name:
            if not isinstance(value, list | tuple):
                _refuse(f"{name} stands for any number of values: give a list; {_takes(plan)}", name)
            given[name] = list(value)
        elif name == plan.names_name and isinstance(value, dict):
            surplus |= value
        elif name in plan.by_name and name != plan.names_name:
            given[name] = value
        elif plan.names_name:
            surplus[name] = value
        else:
            near = difflib.get_close_matches(name, plan.by_name, n=1) if len(name) < 200 else []
            _refuse(f"{shown(name)} is unexpected{f', did you mean {near[0]}?' if near else ''}; {_takes(plan)}")
    twice = next((name for name in surplus if name in plan.by_name and not plan.by_name[name].may_recur), None)
    if twice is not None:
        _refuse(f"{twice} is a parameter of its own and cannot be part of {plan.names_name}; {_takes(plan)}", twice)
    return given | ({plan.names_name: surplus} if surplus else {})


def _takes(plan: _Plan) -> str:
    text = plan.text if len(plan.text) <= _MOST_SHOWN_SIGNATURE else plan.text[: _MOST_SHOWN_SIGNATURE - 1] + "…"
    return f"the method is {text}"


def _refuse(what: str, name: str = "") -> NoReturn:
    raise BadParameters(f"{ARGUMENT}: {what}", f"{ARGUMENT}.{name}" if name else ARGUMENT)
