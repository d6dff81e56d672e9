"""The overview: whether jobs are picked up, how many there are, what runs, what failed, and a start for new ones."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import abort, redirect, request, url_for
from sqlalchemy import Row
from werkzeug.wrappers import Response as Answer

from bgapp import node as nodes
from bgapp import queries
from bgapp.models import FINAL, Status
from bgapp.runtime import Runtime, current
from bgapp.web import access, drawings, forms, listing, nextpath, pages, wording
from bgapp.web.filters import THEME_COOKIE, THEMES
from bgapp.web.listing import Page

RUNNING, FAILURES = 10, 6  # rows shown
STARTERS = 8  # methods that can be started from here
NODE_SILENT = 30  # seconds: a leader says every 5 s that it lives
THEME_KEPT = 365 * 86400  # seconds


@dataclass(frozen=True)
class Health:
    """Whether jobs are picked up: an application process that ticks, and runners at hand."""

    has_clock: bool
    runners: int
    places: int  # the most runners at once, on this machine


def page() -> Any:
    """Show the overview, or its live region alone."""
    runtime = current()
    live = pages.is_live()
    with runtime.database.read() as connection:
        counts = queries.counts(connection)
        running = listing.page(connection, Status.RUNNING, limit=RUNNING)
        failures = listing.page(connection, Status.FAILED, limit=FAILURES)
        latest = listing.latest(connection, drawings.LATEST)
        seen = [] if runtime.database.is_sqlite else queries.nodes(connection)
        now = runtime.database.clock(connection)
    is_heard = any((now - row.seen_at).total_seconds() < NODE_SILENT for row in seen)
    values = {
        "counts": counts,
        "total": sum(counts.values()),
        "cap": queries.COUNT_CAP,
        "meanings": wording.MEANINGS,
        "running": running,
        "progress": _progress(running),
        "failures": failures,
        "latest": latest,
        "latest_words": _in_words(latest),
        "bars": drawings.latest(latest),
        "drawing": drawings,
        "health": _health(runtime, is_heard),
    }
    if live:
        return pages.fragment("overview/_live.html", **values)
    starters, others = _starters(runtime) if access.may("run") else ([], 0)
    nonce = secrets.token_hex(8)
    return pages.render("overview/page.html", **values, starters=starters, others=others, nonce=nonce)


def theme() -> Answer:
    """Keep the choice of colours in a cookie, and go back."""
    chosen = request.form.get("theme", "")
    if chosen not in THEMES:
        abort(422, f"The colours are one of {', '.join(THEMES)}.")
    home = url_for("bgapp.overview_page")
    answer = redirect(nextpath.own_path(request.form.get("next")) or home, 303)
    answer.set_cookie(
        THEME_COOKIE,
        chosen,
        max_age=THEME_KEPT,
        path=home,
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )
    return answer


def _health(runtime: Runtime, is_heard: bool) -> Health:
    places = runtime.settings.max_running
    has_clock, runners = is_heard, 0
    for node in nodes.each(runtime.settings.instance):
        has_clock = has_clock or node.has_leader()
        runners += len(node.held_slots(places))
    return Health(has_clock, runners, places)


def _progress(running: Page) -> dict[int, Any]:
    return {row.id: queries.stored(row.progress) or {} for row in running.rows}


def _in_words(latest: Sequence[Row[Any]]) -> str:
    """Say what the drawing shows."""
    statuses = [row.status for row in latest]
    unfinished = sum(status not in FINAL for status in statuses)
    parts = [f"{statuses.count(status)} {status}" for status in FINAL if status in statuses]
    parts += [f"{unfinished} not finished"] if unfinished else []
    return ", ".join(parts)


def _starters(runtime: Runtime) -> tuple[list[forms.RunForm], int]:
    """Return the methods that can be started from here, the quickest to start first, and how many more there are."""
    found = forms.describe_all(runtime)
    found.sort(key=lambda one: len(one.required))
    return found[:STARTERS], max(len(found) - STARTERS, 0)
