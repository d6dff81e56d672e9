"""The very first admin: made with a one-time code that the server prints, while no user exists."""

from __future__ import annotations

from typing import Any

from flask import Flask, abort, request

from bgapp import accounts, invitations, signin
from bgapp.runtime import of
from bgapp.signin import Denied, SignedIn
from bgapp.web import auth, pages
from bgapp.web.headers import STANDALONE

ANNOUNCED = "bgapp_setup_announced"


def form() -> Any:
    """Show the set-up page; 404 once any user exists."""
    _demand_empty()
    return pages.render("setup/page.html", name="", code="", errors=[])


def create() -> Any:
    """Make the first admin and sign it in."""
    _demand_empty()
    code = request.form.get("code", "")

    def make(name: str, password: str) -> SignedIn | Denied:
        return signin.accept(auth.database(), code, name, password, request.remote_addr, auth.agent(), setup=True)

    return auth.new_account("setup/page.html", make, code=code)


def _demand_empty() -> None:
    with auth.database().read() as connection:
        if accounts.has_users(connection):
            abort(404)


def setup_code(app: Flask) -> str | None:
    """Return a new code for /setup, to be printed by whoever serves; None where there is no need of one.

    Raises ConfigurationError, DatabaseUnavailable.
    """
    app.extensions[ANNOUNCED] = True
    if STANDALONE not in app.extensions:
        return None
    runtime = of(app)
    runtime.ready()
    with runtime.database.read() as connection:
        if accounts.has_users(connection):
            return None
    with runtime.database.write() as connection:
        return invitations.setup_code(connection, runtime.database.clock(connection))


def announce(app: Flask) -> None:
    """Log the code for /setup, where one is needed and this process has not told one. Raises as `setup_code`."""
    if app.extensions.get(ANNOUNCED):
        return
    code = setup_code(app)
    if code is not None:
        app.logger.warning("bgapp has no users yet: open /setup in a browser and enter the code %s", code)
