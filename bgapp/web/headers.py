"""The security headers of every response of bgapp's: pages, fragments, downloads, errors."""

from __future__ import annotations

from flask import current_app, request
from flask.wrappers import Response

STANDALONE = "bgapp_standalone"  # in the application's extensions: the whole site is bgapp's

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
ALWAYS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=()",
}
TRANSPORT = "max-age=31536000"  # seconds: a year


def add(response: Response) -> Response:
    """Give a response its headers; what a view said about caching stays."""
    response.headers.update(ALWAYS)
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    if "no-store" in response.headers["Cache-Control"]:
        response.vary.add("Cookie")
    # It speaks for the whole host name and for a year, so in somebody else's application it is theirs to say.
    if request.is_secure and STANDALONE in current_app.extensions:
        response.headers["Strict-Transport-Security"] = TRANSPORT
    return response
