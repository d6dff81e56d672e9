"""The one gate: who is asking, what their role may do, and whether a change may be made at all.

Every route of the URL table passes here. Who is asking comes from a callable in the application's state: the
stand-alone application's reads its session cookie, a host application gives its own. Without one, nobody may enter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flask import abort, current_app, g
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response

from bgapp.accountmodels import Role
from bgapp.runtime import current

__all__ = ["Access", "Permission", "Role", "Viewer", "check", "is_closed", "may", "read_only", "viewer"]

ACCESS = "bgapp_access"


class Permission(StrEnum):
    """What a route demands."""

    PUBLIC = "public"  # nothing: login, assets, health
    SEE = "see"
    RUN = "run"
    MANAGE = "manage"


_GRANTS = {
    Role.VIEWER: frozenset({Permission.PUBLIC, Permission.SEE}),
    Role.OPERATOR: frozenset({Permission.PUBLIC, Permission.SEE, Permission.RUN}),
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True)
class Viewer:
    """Who is asking. `name` is noted at what they do; `user_id` is the stand-alone user's."""

    name: str
    role: Role
    user_id: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", Role(self.role))  # a host may give the plain word

    def may(self, permission: Permission | str) -> bool:
        return Permission(permission) in _GRANTS[self.role]


Access = Callable[[], "Viewer | Role | str | Response | None"]


class Nobody(Unauthorized):
    """Whoever asks is not known, or may not enter at all; the error pages decide what such a person is shown."""


def viewer() -> Viewer | None:
    """Return who is asking, None for nobody; asked once a request."""
    if "bgapp_viewer" not in g:
        g.bgapp_viewer = None  # also what an error page finds when the callable itself aborts or fails
        access: Access | None = current_app.extensions.get(ACCESS)
        g.bgapp_viewer = None if access is None else _as_viewer(access())
    found: Viewer | None = g.bgapp_viewer
    return found


def is_closed() -> bool:
    """Return whether nobody can enter, because the application gave no access callable."""
    return current_app.extensions.get(ACCESS) is None


def _as_viewer(answer: Any) -> Viewer | None:
    """Understand what an access callable returned; anything unknown is nobody."""
    if answer is None or isinstance(answer, Viewer):
        return answer
    if isinstance(answer, Response):  # such as a redirect to the host's own login page
        abort(answer)
    try:
        return Viewer(_host_user_name(), Role(answer))
    except ValueError:
        current_app.logger.error("bgapp: access returned %r, which is neither a role nor None: refused", answer)
        return None


def _host_user_name() -> str:
    """Return the name of the host application's user, where Flask-Login knows one."""
    if not hasattr(current_app, "login_manager"):
        return "someone"
    from flask_login import current_user

    return str(current_user.get_id() or "someone")


def may(permission: Permission | str) -> bool:
    """Return whether whoever is asking may do this; for templates, which show no control that a role lacks."""
    who = viewer()
    return who is not None and who.may(permission) and not (permission != Permission.SEE and read_only())


def read_only() -> bool:
    """Return whether READ_ONLY turns every write away."""
    return current().settings.read_only


def check(permission: Permission, *, writes: bool) -> None:
    """Let the request through or abort: Nobody (401), or 403 for a role that lacks it or where all is read-only."""
    if permission is not Permission.PUBLIC:
        who = viewer()
        if who is None:
            raise Nobody
        if not who.may(permission):
            abort(403, f"Your role, {who.role}, may not do this.")
    if writes and read_only():
        abort(403, "bgapp is in read-only mode (BGAPP_READ_ONLY).")
