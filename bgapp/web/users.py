"""The users of the stand-alone application, for admins: who there is, invitations, roles, shutting people out."""

from __future__ import annotations

from typing import Any

from flask import request, url_for

from bgapp import accounts, invitations, logins
from bgapp.accountmodels import AccountRefused, Role, UnknownUser
from bgapp.accounts import User
from bgapp.web import auth, pages
from bgapp.web.access import viewer
from bgapp.web.filters import say

ROLES = (
    (Role.VIEWER.value, "Viewer: sees jobs and logs"),
    (Role.OPERATOR.value, "Operator: also runs, retries and cancels jobs"),
    (Role.ADMIN.value, "Admin: also deletes jobs and manages users"),
)


def index() -> Any:
    """List the users and the open invitations."""
    return _index(200)


def invite() -> Any:
    """Make an invitation and show its link, this once: only a hash of the code is kept."""
    database = auth.database()
    who = viewer()
    try:
        with database.write() as connection:
            now = database.clock(connection)
            role = accounts.checked_role(request.form.get("role", ""))
            code = invitations.invite(connection, role, who.user_id if who else None, now)
    except AccountRefused:
        return _index(422, [("role", "Choose a role.")])
    link = url_for("bgapp.auth_invitation", code=code, _external=True)
    return pages.render("users/invited.html", link=link, role=role, expires_at=now + invitations.LASTS)


def withdraw(invitation_id: int) -> Any:
    """Make an open invitation invalid."""
    with auth.database().write() as connection:
        done = invitations.withdraw(connection, invitation_id)
    say("The invitation was withdrawn." if done else "That invitation was not open any more.")
    return pages.to("users_index")


def detail(user_id: int) -> Any:
    """Show one user and what can be done."""
    return _detail(user_id, 200)


def role(user_id: int) -> Any:
    """Give a user another role; a changed role ends the user's logins."""
    wanted = request.form.get("role", "")
    return _change(user_id, lambda connection, _: accounts.set_role(connection, user_id, wanted), "has the role {role}")


def disable(user_id: int) -> Any:
    """Shut a user out at once."""
    return _change(user_id, lambda connection, now: accounts.disable(connection, user_id, now), "is disabled")


def enable(user_id: int) -> Any:
    """Let a disabled user in again."""
    return _change(user_id, lambda connection, _: accounts.enable(connection, user_id), "can sign in again")


def end_logins(user_id: int) -> Any:
    """Sign a user out everywhere."""

    def end(connection: Any, _: Any) -> User:
        user = accounts.get(connection, user_id)
        if user is None:
            raise UnknownUser(user_id)
        logins.close_all(connection, user_id)
        return user

    return _change(user_id, end, "is signed out everywhere")


def _change(user_id: int, change: Any, done: str) -> Any:
    database = auth.database()
    try:
        with database.write() as connection:
            user: User = change(connection, database.clock(connection))
    except UnknownUser:
        raise  # 404
    except AccountRefused as refused:
        return _detail(user_id, 409, [(refused.field or "", auth.sentence(str(refused)))])
    say(f"{user.name} {done.format(role=user.role.value)}.")
    return pages.to("users_detail", user_id=user_id)


def _index(status: int, errors: Any = ()) -> Any:
    database = auth.database()
    with database.read() as connection:
        users = accounts.list_users(connection)
        open_invitations = invitations.list_open(connection, database.clock(connection))
    names = {user.id: user.name for user in users}
    return pages.render(
        "users/index.html",
        status,
        users=users,
        invitations=open_invitations,
        names=names,
        roles=ROLES,
        errors=list(errors),
    )


def _detail(user_id: int, status: int, errors: Any = ()) -> Any:
    database = auth.database()
    with database.read() as connection:
        user = accounts.get(connection, user_id)
        if user is None:
            raise UnknownUser(user_id)
        found = logins.list_logins(connection, user_id, database.clock(connection))
    return pages.render("users/detail.html", status, user=user, logins=found, roles=ROLES, errors=list(errors))
