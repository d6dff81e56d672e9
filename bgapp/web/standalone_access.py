"""Who is asking in the stand-alone application: the login behind the browser's cookie; and that cookie.

Flask-Login is the layer through which views may ask (`current_user`, `login_required`); its own session keeping,
which holds the login in the cookie itself, is not used: a login here is a row that can be ended.
"""

from __future__ import annotations

import datetime
from typing import Any

from flask import Flask, Request, Response, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_login import LoginManager, UserMixin, current_user

from bgapp import logins, secretkey
from bgapp.errors import ConfigurationError
from bgapp.folders import prepare_folders
from bgapp.logins import Login
from bgapp.runtime import current, of
from bgapp.web import pages
from bgapp.web.access import Viewer

COOKIE = "bgapp_login"
SECURE_COOKIE = f"__Host-{COOKIE}"  # a browser takes it over https alone, and no other host can set it
SESSION_COOKIE = "bgapp_session"  # signed, not secret: the form token and the line for the next page


class Person(UserMixin):  # type: ignore[misc] # Flask-Login has no types
    """A signed-in user, as Flask-Login's `current_user`."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.id = login.user.id
        self.name = login.user.name
        self.role = login.user.role


def install(app: Flask) -> None:
    """Give the stand-alone application its sessions and its logins."""
    app.session_interface = Sessions()
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    manager = LoginManager(app, add_context_processor=False)
    manager.session_protection = None
    manager.login_view = "bgapp.auth_form"
    manager.login_message = None  # Flask's flashes are shown nowhere here, and would pile up in the cookie
    manager.request_loader(_load)


def _load(_request: Request) -> Person | None:
    login_id = cookie()
    if login_id is None:
        return None
    runtime = current()
    runtime.ready()
    # What a page asks for by itself keeps nobody signed in who has gone home.
    login = logins.load(runtime.database, login_id, is_activity=not pages.is_live())
    return None if login is None else Person(login)


def viewer() -> Viewer | None:
    """Return who is asking, None for nobody: the access callable of the stand-alone application."""
    login = current_login()
    return None if login is None else Viewer(login.user.name, login.user.role, login.user.id)


def current_login() -> Login | None:
    """Return the login that this request came with, None where it is not signed in. Raises DatabaseUnavailable."""
    login: Login | None = getattr(current_user, "login", None)
    return login


# The cookie ----------------------------------------------------------------------------------------------------


def cookie() -> str | None:
    """Return the login id that the browser sent."""
    return request.cookies.get(_name()) or None


def give(response: Any, login_id: str) -> None:
    """Have the browser keep a new login's id until it is closed; what the session held before it is forgotten."""
    session.clear()
    response.set_cookie(_name(), login_id, secure=request.is_secure, httponly=True, samesite="Lax", path="/")


def take_back(response: Any) -> None:
    """Have the browser forget the login's id."""
    session.clear()
    response.delete_cookie(_name(), secure=request.is_secure, httponly=True, samesite="Lax", path="/")


def _name() -> str:
    return SECURE_COOKIE if request.is_secure else COOKIE


# Flask's session -----------------------------------------------------------------------------------------------


class Sessions(SecureCookieSessionInterface):
    """Flask's signed session: its key is made on first use, its cookie is a `__Host-` one on https."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if not app.secret_key:
            try:
                settings = of(app).settings
                prepare_folders(settings)
                app.secret_key = secretkey.load_or_make(settings.instance)
            except ConfigurationError as error:
                app.logger.error("bgapp: there are no sessions, so nobody can sign in: %s", error)
                return None
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if request.endpoint != "bgapp.static":  # it has no use for one; Vary: Cookie would spoil the browser's cache
            super().save_session(app, session, response)

    def get_cookie_name(self, app: Flask) -> str:
        return f"__Host-{SESSION_COOKIE}" if request.is_secure else SESSION_COOKIE

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime.datetime | None:
        return None
