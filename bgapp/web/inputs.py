"""What a request may carry: how large, in which form, which fields, each once. Views see nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import abort, request
from werkzeug.datastructures import MultiDict

from bgapp.errors import shown

BODY = 1024 * 1024  # bytes
FORM_FIELD = 256 * 1024  # bytes of one field of a multipart form
FORM_PARTS = 50
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
MOST_NAMED = 5


def limit_body() -> None:
    """Bound this request's body before anything reads it, and refuse what is no form. Aborts with 411, 413 or 415.

    The limits are the request's own: those of a host application for its other pages stay as they are.
    """
    request.max_content_length = BODY
    request.max_form_memory_size = FORM_FIELD
    request.max_form_parts = FORM_PARTS
    if (request.content_length or 0) > BODY:
        abort(413)
    if request.method == "POST":
        if "Transfer-Encoding" in request.headers and request.content_length is None:
            # Browsers always say the length. Read up to the limit, a longer form would only be cut off, unnoticed.
            abort(411, "A form must say how long it is.")
        if not _is_form():
            abort(415, "This address takes the form of its page, and nothing in any other format.")


def _is_form() -> bool:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return False
    if not request.mimetype:
        return not request.content_length
    charset = request.mimetype_params.get("charset", "utf-8")
    return request.mimetype in FORMS and charset.lower() == "utf-8"


def check_fields(known: Iterable[str] | None, token: str, repeats: Iterable[str]) -> None:
    """Refuse a form with a field that its page does not have, or with one field twice. Aborts with 400.

    Beside the `known` ones every form may have its token and `next`, where to go afterwards.

    Whatever a view ignored today might mean something to it tomorrow; so strange fields never come that far.
    """
    if request.files:
        abort(400, "This form takes no files.")
    if known is not None:
        known = (*known, token, "next")
        _refuse("has no field", [name for name in request.form if not _is_known(name, known)])
    _check_each_once("form", request.form, repeats)


def check_query(repeats: Iterable[str]) -> None:
    """Refuse an address that gives one value twice, of which two readers might take different ones. Aborts with 400."""
    _check_each_once("address", request.args, repeats)


def _is_known(name: str, known: Iterable[str]) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in known)


def _check_each_once(where: str, values: MultiDict[str, str], repeats: Iterable[str]) -> None:
    lists: Any = values.lists()
    several = []
    for name, given in lists:
        if "\0" in name or any("\0" in one for one in given):
            abort(400, f"The {where} holds a NUL character, which no value may.")
        if len(given) > 1 and not _is_known(name, repeats):
            several.append(name)
    _refuse("gives more than once", several, where)


def _refuse(what: str, names: list[str], where: str = "form") -> None:
    if names:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        abort(400, f"This {where} {what} {', '.join(shown(name) for name in names[:MOST_NAMED])}{more}.")
