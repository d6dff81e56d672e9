"""Signing in and out, and making one's own account: by invitation, or where registration is open."""

from __future__ import annotations

import math
from typing import Any

from flask import abort, redirect, request
from werkzeug.wrappers import Response

from bgapp import accounts, invitations, logins, signin
from bgapp.accountmodels import AccountRefused
from bgapp.database import Database
from bgapp.runtime import current
from bgapp.signin import Denied, SignedIn
from bgapp.web import nextpath, pages, standalone_access
from bgapp.web.access import viewer

WRONG = "The name or the password is wrong."  # the same whether the name is unknown, disabled or right


def form() -> Any:
    """Show the login page; before there is any user, the way to the set-up page."""
    if viewer() is not None:
        return _onward()
    with database().read() as connection:
        if not accounts.has_users(connection):
            return pages.to("setup_form")
    return _page(200, was_signed_in=standalone_access.cookie() is not None)


def login() -> Any:
    """Sign in, or show the login page again."""
    name = request.form.get("name", "")
    found = signin.sign_in(database(), name, request.form.get("password", ""), request.remote_addr, agent())
    if isinstance(found, SignedIn):
        return welcome(found, _onward())
    answer = _page(429 if found.wait else 422, name=name, errors=[("name", denied_text(found, WRONG))])
    return with_wait(answer, found)


def logout() -> Any:
    """Sign out: the login ends here and in the database. Nobody is signed out already."""
    login_id = standalone_access.cookie()
    if login_id is not None:
        with database().write() as connection:
            logins.close(connection, login_id)
    answer = pages.to("auth_form")
    standalone_access.take_back(answer)
    return answer


# Making an account ---------------------------------------------------------------------------------------------


def invitation(code: str) -> Any:
    """Show the form with which an invited person makes an account; 404 for a code that is not valid any more."""
    return pages.render("auth/new_account.html", invitation=_invited(code), name="", errors=[])


def accept(code: str) -> Any:
    """Make the invited person's account and sign it in."""
    invited = _invited(code)

    def make(name: str, password: str) -> SignedIn | Denied:
        return signin.accept(database(), code, name, password, request.remote_addr, agent())

    return new_account("auth/new_account.html", make, invitation=invited)


def registration() -> Any:
    """Show the form with which anybody makes an account; 404 unless ALLOW_REGISTRATION is on."""
    _demand_registration()
    return pages.render("auth/new_account.html", invitation=None, name="", errors=[])


def register() -> Any:
    """Make an account of the role viewer and sign it in."""
    _demand_registration()

    def make(name: str, password: str) -> SignedIn | Denied:
        return signin.register(database(), name, password, request.remote_addr, agent())

    return new_account("auth/new_account.html", make, invitation=None)


def new_account(template: str, make: Any, **values: Any) -> Any:
    """Make an account from the form's name and password and sign it in, or show the form again with what is wrong."""
    name, password = request.form.get("name", ""), request.form.get("password", "")
    if password != request.form.get("again", ""):
        return pages.render(template, 422, name=name, errors=[("again", "The two passwords differ.")], **values)
    try:
        made = make(name, password)
    except AccountRefused as refused:
        errors = [(refused.field or "name", sentence(str(refused)))]
        return pages.render(template, 422, name=name, errors=errors, **values)
    if isinstance(made, SignedIn):
        return welcome(made, pages.to("overview_page"))
    errors = [("", denied_text(made, "That did not work."))]
    return with_wait(pages.render(template, 429, name=name, errors=errors, **values), made)


def _invited(code: str) -> invitations.Invitation:
    runtime = database()
    with runtime.read() as connection:
        found = invitations.look(connection, code, runtime.clock(connection))
    if found is None:
        abort(404, "This invitation was used, was withdrawn or has expired. Ask for a new one.")
    return found


def _demand_registration() -> None:
    if not current().settings.allow_registration:
        abort(404)


# Shared with set-up and account --------------------------------------------------------------------------------


def database() -> Database:
    """Return this application's database, its tables made."""
    runtime = current()
    runtime.ready()
    return runtime.database


def agent() -> str | None:
    """Return what the browser calls itself."""
    return request.headers.get("User-Agent")


def welcome(signed_in: SignedIn, answer: Response) -> Response:
    """Give the browser its new login; the one it came with ends."""
    before = standalone_access.cookie()
    if before is not None:
        with database().write() as connection:
            logins.close(connection, before)
    standalone_access.give(answer, signed_in.login_id)
    return answer


def denied_text(denied: Denied, otherwise: str) -> str:
    """Return why a try was not accepted, in words."""
    if not denied.wait:
        return otherwise
    seconds = math.ceil(denied.wait)
    when = f"{seconds} second{'s' if seconds > 1 else ''}" if seconds < 90 else f"{math.ceil(seconds / 60)} minutes"
    return f"There were too many tries. The next one is possible in {when}."


def with_wait(answer: Response, denied: Denied) -> Response:
    """Tell programs too when the next try is possible."""
    if denied.wait:
        answer.headers["Retry-After"] = str(math.ceil(denied.wait))
    return answer


def sentence(text: str) -> str:
    """Return a message as a sentence for a page."""
    return f"{text[:1].upper()}{text[1:]}."


def _onward() -> Response:
    """Return the way to the page that was wanted, else to the overview."""
    wanted = nextpath.own_path(request.values.get("next"))
    return redirect(wanted, 303) if wanted else pages.to("overview_page")


def _page(status: int, name: str = "", errors: Any = (), was_signed_in: bool = False) -> Any:
    return pages.render(
        "auth/login.html",
        status,
        name=name,
        errors=list(errors),
        next=nextpath.own_path(request.values.get("next")) or "",
        was_signed_in=was_signed_in,
        may_register=current().settings.allow_registration,
    )
