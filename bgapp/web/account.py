"""One's own account: the password, and where one is signed in."""

from __future__ import annotations

from typing import Any

from flask import request

from bgapp import logins, signin
from bgapp.accountmodels import AccountRefused
from bgapp.logins import Login
from bgapp.signin import SignedIn
from bgapp.web import access, auth, pages, standalone_access
from bgapp.web.filters import say

WRONG = "That is not your present password."


def page() -> Any:
    """Show the account."""
    return _page(200)


def password() -> Any:
    """Set a new password: every login ends, and this browser gets a new one."""
    form = request.form
    if form.get("new", "") != form.get("again", ""):
        return _page(422, [("again", "The two new passwords differ.")])
    try:
        changed = signin.change_password(
            auth.database(), _login(), form.get("old", ""), form.get("new", ""), request.remote_addr, auth.agent()
        )
    except AccountRefused as refused:
        return _page(422, [("new", auth.sentence(str(refused)))])
    if not isinstance(changed, SignedIn):
        answer = _page(429 if changed.wait else 422, [("old", auth.denied_text(changed, WRONG))])
        return auth.with_wait(answer, changed)
    answer = auth.welcome(changed, pages.to("account_page"))
    say("The password was changed. You are signed out everywhere else.")
    return answer


def end_login() -> Any:
    """End one of one's own logins, in another browser or in this one."""
    login = _login()
    with auth.database().write() as connection:
        ended = logins.close_key(connection, login.user.id, request.form.get("key", ""))
    say("That sign-in was ended." if ended else "That sign-in had ended already.")
    return pages.to("account_page")


def end_others() -> Any:
    """End all of one's own logins but this one."""
    with auth.database().write() as connection:
        ended = logins.close_all(connection, _login().user.id, but=standalone_access.cookie())
    say(f"{ended} other sign-ins were ended." if ended != 1 else "One other sign-in was ended.")
    return pages.to("account_page")


def _login() -> Login:
    login = standalone_access.current_login()
    if login is None:  # the gate let in only who is signed in; it ended since
        raise access.Nobody
    return login


def _page(status: int, errors: Any = ()) -> Any:
    login, database = _login(), auth.database()
    with database.read() as connection:
        found = logins.list_logins(connection, login.user.id, database.clock(connection))
    return pages.render("account/page.html", status, login=login, logins=found, errors=list(errors))
