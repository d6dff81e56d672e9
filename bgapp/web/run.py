"""Run a job: choose an allowed method, fill in its form, and it is on its way."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from flask import abort, request
from werkzeug.wrappers import Response as Answer

from bgapp.enqueue import enqueue
from bgapp.errors import BadOption, BadParameters, ClassNotAllowed, JobRejected
from bgapp.handle import JobHandle
from bgapp.runtime import Runtime, current
from bgapp.web import access, csrf, filled, forms, pages
from bgapp.web.filled import Filled
from bgapp.web.filters import say
from bgapp.web.forms import RunForm

OWN_FIELDS = {"target", "nonce", "raw", "back", "p"}
LONGEST_TARGET = 500
SENT_ONCE = "form-"  # a job's unique key that only keeps a form from being sent twice

_NONCE = re.compile(r"[0-9a-f]{16}", re.ASCII)


def form() -> Any:
    """Show the allowed methods, or the form of the one that the address names."""
    runtime = current()
    target = request.args.get("target", "")
    if not target:
        return _choose(runtime)
    try:
        chosen = _find(runtime, target)
    except JobRejected as refusal:
        return _choose(runtime, str(refusal), 403)
    return _show(chosen, Filled(), {}, raw=request.args.get("raw") == "1")


def submit() -> Any:
    """Make the job that the filled form means, or show the form again with what is wrong."""
    runtime = current()
    target = request.form.get("target", "")
    try:
        chosen = _find(runtime, target)
    except JobRejected as refusal:
        key, _, method = target[:LONGEST_TARGET].rpartition(".")
        runtime.tell_refusal(key, method, None, refusal)
        return _choose(runtime, str(refusal), 403)
    _refuse_strange_fields(chosen)
    given = {name: request.form[name] for name in request.form}
    raw = given.get("raw") == "1"
    read = filled.read_json(given.get("p", "")) if raw else filled.read(chosen, given)
    wanted = filled.read_options(given)
    read.errors |= wanted.errors
    if read.errors:
        return _show(chosen, read, given, raw=raw, status=422)
    try:
        handle = _enqueue(runtime, chosen, read.values, wanted.values, given.get("nonce", ""))
    except (BadParameters, BadOption) as refusal:
        read.errors[_field(chosen, refusal)] = _words(refusal)
        return _show(chosen, read, given, raw=raw, status=422)
    except JobRejected as refusal:
        return _choose(runtime, str(refusal), 429 if refusal.kind == "queue_full" else 403)
    return _done(chosen, handle, back=given.get("back") == "overview")


def _enqueue(
    runtime: Runtime, chosen: RunForm, values: Mapping[str, Any], wanted: Mapping[str, Any], nonce: str
) -> JobHandle:
    who = access.viewer()
    options = dict(wanted)
    if "unique_key" not in options and _NONCE.fullmatch(nonce):
        options["unique_key"] = SENT_ONCE + nonce  # a second press of the button finds the first one's job
    return enqueue(
        runtime, chosen.key, chosen.method, dict(values), options, created_by=who.name if who is not None else None
    )


def _done(chosen: RunForm, handle: JobHandle, *, back: bool) -> Answer:
    if handle.created:
        say(f"Job {handle.id} is on its way: {chosen.name}.", job=handle.id)
    else:
        say(f"Job {handle.id} was asked for before and is not finished: no second one was made.", job=handle.id)
    return pages.to("overview_page") if back else pages.to("jobs_detail", job_id=handle.id)


def _find(runtime: Runtime, target: str) -> RunForm:
    """Return the form of `class.method`, compared with the allow-list as text. Raises JobRejected."""
    key, _, method = target[:LONGEST_TARGET].rpartition(".")
    found = runtime.allowlist.find(key)
    chosen = forms.describe(runtime, runtime.allowlist.allowed(found, method))
    if chosen is None:  # it was there a moment ago
        raise ClassNotAllowed(f"{found} cannot be used", "job_class")
    return chosen


def _choose(runtime: Runtime, problem: str = "", status: int = 200) -> Any:
    classes: dict[str, list[RunForm]] = {}
    for one in forms.describe_all(runtime):
        classes.setdefault(one.key, []).append(one)
    troubles = runtime.allowlist.problems()
    return pages.render("run/choose.html", status, classes=classes, troubles=troubles, problem=problem)


def _show(chosen: RunForm, read: Filled, given: Mapping[str, str], *, raw: bool, status: int = 200) -> Any:
    has_secrets = any(one.kind == "secret" for one in chosen.inputs)
    nonce = given.get("nonce", "")
    return pages.render(
        "run/form.html",
        status,
        form=chosen,
        raw=raw,
        raw_text="" if has_secrets else given.get("p", ""),
        errors=read.errors,
        given=given,
        is_sent=bool(given),
        has_options=any(given.get(forms.OPTION + name) for name in filled.OPTIONS),
        options_wrong=any(name.startswith("o-") for name in read.errors),
        nonce=nonce if _NONCE.fullmatch(nonce) else secrets.token_hex(8),
    )


def _refuse_strange_fields(chosen: RunForm) -> None:
    strange = set(request.form) - filled.names(chosen) - OWN_FIELDS - {csrf.field(), "next"}
    if strange:
        abort(400, f"The form of {chosen.name} has no field {', '.join(sorted(name[:80] for name in strange)[:5])}.")


def _field(chosen: RunForm, refusal: JobRejected) -> str:
    """Return the id of the field that a refusal is about, empty where it is about all."""
    kind, _, name = refusal.argument.partition(".")
    if kind == "params":
        return next((one.id for one in chosen.inputs if one.name == name), "")
    return f"o-{kind}"


def _words(refusal: JobRejected) -> str:
    """Return a refusal as a sentence for people who never saw the name of the argument."""
    text = str(refusal).removeprefix("params: ")
    return text if text.endswith(".") else f"{text}."
