"""What the templates may call: one object, `bgapp`, among the application's template globals.

Nothing here reads the database, so that error pages can use the same templates when there is none.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from flask import Flask, current_app, g, request, session, url_for

from bgapp import attemptlog, clock, endings
from bgapp.models import Status
from bgapp.web import access, csrf, nextpath, static, wording

GLOBAL = "bgapp"
THEME_COOKIE = "bgapp_theme"
THEMES = ("auto", "light", "dark")
MOST_NOTICES = 3
NOTICES = "_bgapp_notices"  # in the session; Flask's own flashes belong to the host application
THIN = "\u202f"  # a narrow space that does not break, between groups of digits
CUT = 4096  # characters of one text that a page shows
MINUTE = 60
KIB, MIB, GIB = 1024, 1024**2, 1024**3


class Helpers:
    """The functions of the templates."""

    # Who is asking, and where things are ---------------------------------------------------------------------

    def viewer(self) -> access.Viewer | None:
        """Return who is asking, as far as the gate asked; never asks itself, since that may need the database."""
        who: access.Viewer | None = g.get("bgapp_viewer")
        return who

    def may(self, permission: str) -> bool:
        return self.viewer() is not None and access.may(permission)

    def read_only(self) -> bool:
        return self.viewer() is not None and access.read_only()

    def url(self, endpoint: str, **values: Any) -> str:
        """Return the address of one of bgapp's own pages."""
        return url_for(f"bgapp.{endpoint}", **values)

    def has(self, endpoint: str) -> bool:
        """Return whether this application has a page; mounted, bgapp has no accounts of its own."""
        return f"bgapp.{endpoint}" in current_app.view_functions

    def here(self, *endpoints: str) -> bool:
        return (request.endpoint or "").removeprefix("bgapp.") in endpoints

    def path(self) -> str:
        """Return the address of this page, to come back to; empty where it cannot be asked for again."""
        return nextpath.here() or ""

    def asset(self, name: str) -> str:
        """Return the address of a static file, which changes with its content."""
        return url_for("bgapp.static", filename=name, v=static.version(name))

    def csrf_field(self) -> str:
        return csrf.field()

    def csrf_token(self) -> str:
        return csrf.token()

    def theme(self) -> str:
        chosen = request.cookies.get(THEME_COOKIE, "")
        return chosen if chosen in THEMES else THEMES[0]

    def notices(self) -> list[tuple[str, str, int | None]]:
        """Return what the last action had to say, once: kind (ok, error), text, and the job that it is about."""
        # Asked first: even an empty pop would have the session's cookie sent again with every page.
        return [tuple(notice) for notice in session.pop(NOTICES)] if NOTICES in session else []

    # Words and figures ---------------------------------------------------------------------------------------

    def icon(self, status: str) -> str:
        return wording.ICONS.get(status, "info")

    def label(self, job: Any) -> str:
        """Return the status as people say it: a scheduled job that has been tried before is retrying."""
        if job.status == Status.SCHEDULED and job.attempt:
            return "retrying"
        return str(job.status)

    def short_name(self, job: Any) -> str:
        """Return class and method without the module."""
        return shown(f"{job.job_class.rpartition('.')[2]}.{job.method}", 120)

    def module(self, job: Any) -> str:
        return shown(job.job_class.rpartition(".")[0], 200)

    def reason(self, word: str | None) -> str:
        return wording.REASONS.get(word or "", "")

    def ending(self, attempt: Any) -> str:
        return endings.process_end(attempt)

    def sequel(self, job: Any, attempt: Any) -> str:
        return endings.sequel(job, attempt, "press Retry")

    def text(self, value: object, most: int = CUT) -> str:
        """Return any text with its control, bidi and zero-width characters made visible, cut where it is too long."""
        return shown(value, most)

    def line(self, value: object, most: int = 200) -> str:
        """Return the first line of a text."""
        return shown(str(value or "").strip().partition("\n")[0], most)

    def json(self, value: Any, most: int = CUT) -> str:
        """Return a JSON value over several lines."""
        return shown(json.dumps(value, ensure_ascii=False, indent=2), most)

    def iso(self, at: datetime) -> str:
        return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def moment(self, at: datetime) -> str:
        return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")

    def short_moment(self, at: datetime) -> str:
        at = at.astimezone(UTC)
        return f"{at.day} {at:%b %H:%M:%S}"

    def now(self) -> datetime:
        return clock.now()

    def clock(self, at: datetime) -> str:
        return at.astimezone(UTC).strftime("%H:%M:%S")

    def seconds(self, count: float | None) -> str:
        """Return a setting's seconds without decimals that nobody wrote."""
        if count is None:
            return ""
        if count >= MINUTE and count % MINUTE == 0:
            hours, minutes = divmod(int(count) // MINUTE, 60)
            return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes))
        return duration(count) if count >= MINUTE else f"{count:g} s"

    def duration(self, seconds: float | None) -> str:
        return duration(seconds)

    def took(self, start: datetime | None, end: datetime | None) -> str:
        """Return the time between two moments, empty where one is missing."""
        return duration((end - start).total_seconds()) if start and end else ""

    def count(self, number: int, cap: int | None = None) -> str:
        """Return a number with its digits grouped; one that reached the cap with a plus."""
        grouped = f"{number:,}".replace(",", THIN)
        return f"{grouped}+" if cap is not None and number >= cap else grouped

    def size(self, count: int | None) -> str:
        return size(count)


def register(app: Flask) -> None:
    """Give an application's templates the helpers; its other globals stay as they are."""
    app.jinja_env.globals.setdefault(GLOBAL, Helpers())


def say(text: str, kind: str = "ok", job: int | None = None) -> None:
    """Leave one line, with a link to a job where one is named, for the next page that is shown."""
    session[NOTICES] = [*session.get(NOTICES, []), (kind, shown(text, 300), job)][-MOST_NOTICES:]


def shown(value: object, most: int = CUT) -> str:
    """Return any text as one that shows all that is in it and moves nothing on the page."""
    text = str(value)
    visible = attemptlog.visible(text[: most + 1].encode(errors="backslashreplace"))
    return visible if len(text) <= most else visible[:most] + "…"


def duration(seconds: float | None) -> str:
    """Return a duration in the unit that fits it: 0.42 s, 31.2 s, 2 min 04 s, 2 h 04 min, 3 d 4 h."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def size(count: int | None) -> str:
    """Return a number of bytes in the unit that fits it."""
    if count is None:
        return ""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
