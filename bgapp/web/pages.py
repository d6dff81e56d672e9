"""Answers that every page shares: a whole page or only its live region, unchanged regions as 304, redirects."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

LIVE = "HX-Request"  # the header by which the page's script asks for a region alone
SHORTEST_REFRESH, LONGEST_REFRESH = 5, 3600  # seconds


def render(template: str, status: int = 200, /, **values: Any) -> Response:
    """Return a whole page."""
    answer = make_response(render_template(f"bgapp/{template}", **values), status)
    seconds = request.args.get("refresh", "")
    if seconds.isascii() and seconds.isdigit():  # for browsers without JavaScript
        answer.headers["Refresh"] = str(min(max(int(seconds[:6]), SHORTEST_REFRESH), LONGEST_REFRESH))
    return answer


def is_live() -> bool:
    """Return whether the page's script asks, and wants its region alone."""
    return request.headers.get(LIVE) == "true"


def fragment(template: str, **values: Any) -> Response:
    """Return a region alone; 304 without a body where the page shows just that already."""
    answer = make_response(render_template(f"bgapp/{template}", **values))
    answer.set_etag(hashlib.sha256(answer.get_data()).hexdigest()[:20])
    answer.vary.add(LIVE)
    answer.make_conditional(request)
    return answer


def to(endpoint: str, anchor: str | None = None, **values: Any) -> Answer:
    """Return a redirect to one of bgapp's pages, to be fetched with GET."""
    return redirect(url_for(f"bgapp.{endpoint}", _anchor=anchor, **values), 303)
