"""Writes come from our own pages: the browser's word for where a request began, and a token in every form.

A host application's own Flask-WTF protection is used where there is one; else the same token, checked by our gate
for our routes alone, so that nothing of the host's changes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import abort, current_app, g, request
from flask_wtf.csrf import CSRFError, generate_csrf, validate_csrf
from wtforms import ValidationError

from bgapp.errors import ConfigurationError

__all__ = ["CSRFError", "check_origin", "check_token", "field", "is_from_here", "token"]

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
FIELD = "csrf_token"
HEADER = "X-CSRFToken"
FOR_EVER = 10**9  # seconds: the token is bound to the session and ends with it


def field() -> str:
    """Return the name of the form field that carries the token."""
    return str(current_app.config.get("WTF_CSRF_FIELD_NAME", FIELD)) if _hosts() is not None else FIELD


def token() -> str:
    """Return the token for this session's forms. Raises ConfigurationError where there can be no session."""
    _demand_key()
    return str(generate_csrf())


def check_token() -> None:
    """Raise CSRFError (400) unless the request carries this session's token; ConfigurationError as `token`."""
    host = _hosts()
    if host is not None:
        # The host's protection looks at every request by itself, unless it was told to be called where wanted.
        if not g.get("csrf_valid") and current_app.config.get("WTF_CSRF_ENABLED", True):
            host.protect()
        return
    _demand_key()
    sent = request.form.get(FIELD) or request.headers.get(HEADER)
    try:
        validate_csrf(sent, time_limit=FOR_EVER)
    except ValidationError as error:
        raise CSRFError(str(error)) from error


def _demand_key() -> None:
    if not current_app.secret_key:
        raise ConfigurationError(
            "the application has no SECRET_KEY, without which a form cannot be told from a forged one:"
            " set app.config['SECRET_KEY'] to a long random text"
        )


def _hosts() -> Any:
    """Return the host application's CSRFProtect, None where it has none."""
    return current_app.extensions.get("csrf")


def check_origin() -> None:
    """Refuse a write that another site's page sent, whatever else it carries. Aborts with 403."""
    if request.method not in SAFE and is_from_here() is False:
        abort(
            403,
            "The request came from another site. If it came from this page, a proxy between browser and bgapp"
            " changes the address: it must pass the Host header on.",
        )


def is_from_here() -> bool | None:
    """Return whether the browser says that a page of this very site sent the request; None where it says nothing.

    `Sec-Fetch-Site` cannot be forged by a page, but browsers send it only over https and to localhost; `Origin`
    comes with every form. Programs that are no browsers send neither, and still need the token.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if origin is None:
        return None
    # The scheme is not compared: behind a proxy that ends TLS the application may believe it serves plain http.
    try:
        return _place(origin) == _place(f"//{request.host}") is not None
    except ValueError:
        return False


def _place(url: str) -> tuple[str, int | None] | None:
    """Return host and port of an address, without a port that its scheme implies. Raises ValueError."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    return parts.hostname, None if parts.port in (80, 443) else parts.port
