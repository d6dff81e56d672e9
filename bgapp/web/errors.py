"""What a person sees when a request cannot be answered: the same shell, what happened, what to do; or the same as JSON.

Nothing here needs the database. A traceback goes to the log alone; the page shows the number by which it is found.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, g, jsonify, make_response, redirect, request, url_for
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.wrappers import Response as Answer

from bgapp import masking
from bgapp.accountmodels import AccountRefused, UnknownUser
from bgapp.errors import (
    BgappError,
    ConfigurationError,
    DatabaseBusy,
    DatabaseUnavailable,
    QueueFull,
    UnknownJob,
    WrongState,
)
from bgapp.runtime import current
from bgapp.web import access, csrf, inputs, nextpath, pages
from bgapp.web.headers import STANDALONE

LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that is taken for another
RETRY_AFTER = 5  # seconds

# Code: its word in JSON, the page's heading, and what to do.
TEXTS: dict[int, tuple[str, str, str]] = {
    400: ("bad_request", "The request was not understood", "Nothing was changed. Go back and try again."),
    401: ("unauthorized", "Sign in first", "This page is for people who are signed in."),
    403: ("forbidden", "You may not do this", "Nothing was changed."),
    404: ("not_found", "There is no such page", "It may never have existed, or it was deleted since."),
    405: ("method_not_allowed", "This address cannot be used so", "Nothing was changed. Use the links of the pages."),
    409: ("conflict", "That is not possible now", "Nothing was changed. Look at how things stand, then decide again."),
    411: ("length_required", "That was not a form", "Nothing was changed."),
    413: ("too_large", "That was too much", "Nothing was changed. A form may hold 1 MiB at most."),
    415: ("unsupported_media_type", "That was not a form", "Nothing was changed."),
    422: ("unprocessable", "Something in the form is wrong", "Nothing was changed. Go back and correct it."),
    429: ("too_many_requests", "Too much at once", "Nothing was changed. Wait a little and try again."),
    500: ("internal_error", "Something went wrong here", "The fault is not yours. The server's log has its details."),
    503: ("unavailable", "bgapp cannot work just now", "Its database is busy or cannot be reached. Try again soon."),
}
NOBODY_MOUNTED = "Nobody with access to background jobs is signed in. Sign in to the application, then come back."
STALE = "The form was made before you signed in, or by something else than this page. Nothing was changed."
BUSY = "Another program keeps writing to the database and did not finish in time. Nothing was changed."
CLOSED = (
    "The dashboard is closed, because the application does not say who may enter. Whoever develops it opens it with"
    " BackgroundJobs(app, access=...): a function that returns viewer, operator or admin for whoever is asking,"
    " and None for everybody else."
)


def register(target: Blueprint | Flask) -> None:
    """Show these pages for the errors of a blueprint, or of a whole application; a host's own stay as they are."""
    handlers: dict[type[Exception] | int, Callable[[Any], Any]] = {
        **dict.fromkeys(TEXTS, _http_error),
        HTTPException: _http_error,
        401: _not_signed_in,
        500: _fault,
        DatabaseUnavailable: _no_database,
        ConfigurationError: _bad_configuration,
        UnknownJob: lambda error: respond(404),
        UnknownUser: lambda error: respond(404),
        WrongState: lambda error: respond(409, str(error)),
        AccountRefused: lambda error: respond(409, _sentence(str(error))),
        QueueFull: lambda error: respond(429, _sentence(str(error)), retry_after=RETRY_AFTER),
    }
    for what, handler in handlers.items():
        target.register_error_handler(what, handler)


def respond(
    code: int,
    said: str | None = None,
    *,
    heading: str | None = None,
    reference: str | None = None,
    retry_after: int | None = None,
) -> Response:
    """Return an error as page, as a fragment's empty answer, or as JSON; `said` tells more than the code's own text."""
    kind, usual, advice = TEXTS.get(code, (f"http_{code}", "That did not work", "Nothing was changed."))
    heading = heading or usual
    if wants_json():
        found = {"error": said or f"{heading}. {advice}", "kind": kind}
        answer = jsonify(found if reference is None else {**found, "reference": reference})
    elif pages.is_live():
        answer = make_response("")  # the page keeps what it shows and says that it is not fresh
    else:
        answer = pages.render(
            "errors/page.html",
            heading=heading,
            advice=advice,
            said=said,
            reference=reference,
            resend=_to_send_again() if g.get("bgapp_stale_form") else None,
            back=_page_before(),
            viewer=_known_viewer() if code not in (500, 503) else None,
        )
    answer.status_code = code
    if retry_after is not None:
        answer.headers["Retry-After"] = str(retry_after)
    return answer


def wants_json() -> bool:
    """Return whether whoever asks prefers JSON to a page."""
    accepted = request.accept_mimetypes
    return accepted.best_match(("text/html", "application/json")) == "application/json" and (
        accepted["application/json"] > accepted["text/html"]
    )


def mark(error: BaseException) -> None:
    """Give an unexpected error a number: in its traceback, which Flask logs, and on the page that follows."""
    g.bgapp_reference = new_reference()
    error.add_note(f"bgapp: reference {g.bgapp_reference}")


def new_reference() -> str:
    """Return a number that nobody has to spell twice on the telephone."""
    return "".join(secrets.choice(LETTERS) for _ in range(8))


# Handlers ------------------------------------------------------------------------------------------------------


def _http_error(error: HTTPException) -> Answer:
    code = error.code or 500
    if isinstance(error, SecurityError):  # a Host header outside TRUSTED_HOSTS: no address of ours can be built
        return Response("This server does not answer to that name.\n", code, mimetype="text/plain")
    if isinstance(error, csrf.CSRFError):
        g.bgapp_stale_form = True
        answer = respond(code, STALE, heading="The form was too old")
    else:
        said = error.description if error.description != type(error).description else None
        answer = respond(code, said, retry_after=RETRY_AFTER if code in (429, 503) else None)
    for name, value in error.get_headers(request.environ):
        if name.lower() not in ("content-type", "retry-after"):
            answer.headers.setdefault(name, value)  # such as Allow
    return answer


def _not_signed_in(error: HTTPException) -> Answer:
    """Lead nobody to the login page, or tell what there is to do in an application that has its own."""
    if not isinstance(error, access.Nobody):
        return _http_error(error)  # the access callable of a host said so itself
    standalone = STANDALONE in current_app.extensions
    if wants_json():
        return respond(401)
    if pages.is_live():
        answer = respond(401)
        answer.headers["HX-Refresh"] = "true"  # the whole page is loaded anew, and leads to the login page
        return answer
    if not standalone:
        return respond(403, CLOSED if access.is_closed() else NOBODY_MOUNTED)
    here = nextpath.here()
    return redirect(url_for("bgapp.auth_form", next=here if here != url_for("bgapp.overview_page") else None), 303)


def _fault(error: HTTPException) -> Answer:
    reference = g.get("bgapp_reference")
    if reference is None:
        # It did not come out of a view of ours, so the traceback that Flask has just logged lacks the number.
        reference = new_reference()
        _log(reference, "the error above")
    return respond(500, reference=reference)


def _no_database(error: DatabaseUnavailable) -> Answer:
    """Answer in words of our own: the error's may name files and machines, which whoever asks need not know."""
    reference = new_reference()
    _log(reference, error)
    said = BUSY if isinstance(error, DatabaseBusy) else None
    return respond(503, said, reference=reference, retry_after=RETRY_AFTER)


def _bad_configuration(error: ConfigurationError) -> Answer:
    g.bgapp_viewer = None  # without links and forms: it may be a form's token that cannot be made
    reference = new_reference()
    _log(reference, error)
    return respond(500, reference=reference)


# Pieces --------------------------------------------------------------------------------------------------------


def _known_viewer() -> access.Viewer | None:
    """Return who is asking, so that the page has its usual links; where that cannot be known, nobody.

    A host's callable is not asked here, since it may abort by itself.
    """
    if STANDALONE in current_app.extensions:
        with contextlib.suppress(BgappError):
            return access.viewer()
    found: access.Viewer | None = g.get("bgapp_viewer")
    return found


def _to_send_again() -> list[tuple[str, str]] | None:
    """Return the fields of a form whose token was too old, so that it can be sent with a fresh one.

    Only where the browser says that a page of ours sent it: else another site could have a person send, with one
    click, what it filled in. None too where a secret is among them, which must not come back in a page.
    """
    if csrf.is_from_here() is not True:
        return None
    try:
        fields = [(name, value) for name, value in request.form.items(multi=True) if name != csrf.field()]
    except HTTPException:  # what cannot be read cannot be sent again
        return None
    if len(fields) > inputs.FORM_PARTS or any(
        masking.is_secret_name(name, current().settings.secret_keys) for name, _ in fields
    ):
        return None
    return fields


def _log(reference: str, why: object) -> None:
    current_app.logger.error("bgapp: reference %s, at %s %r: %s", reference, request.method, request.path, why)


def _page_before() -> str | None:
    """Return the path of the page that led here, if it was one of this site; to go back by a link."""
    try:
        before = urlsplit(request.referrer or "")
    except ValueError:
        return None
    path = before.path + (f"?{before.query}" if before.query else "")
    is_own = before.netloc == request.host and before.path.startswith("/") and not before.path.startswith("//")
    return path if is_own and path != request.full_path.removesuffix("?") else None


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"
