"""The users page: who there is, invitations, roles, shutting people out; the last admin stays."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from bgapp import accounts
from bgapp.accountmodels import Role
from bgapp.accounts import User
from bgapp.runtime import Runtime, of
from tests.web.conftest import Browser, add_user, is_login_page, signed_in


@pytest.fixture
def admin(browser: Callable[..., Browser]) -> Browser:
    return browser("admin")


@pytest.fixture
def ann(web: Flask) -> User:
    return add_user(web, "Ann", "viewer")


def user(app: Flask, name: str) -> User:
    with of(app).database.read() as connection:
        found = accounts.find(connection, name)
    assert found is not None
    return found


def test_the_list_shows_every_user_and_what_they_may_do(web: Flask, admin: Browser, ann: User) -> None:
    add_user(web, "no password", "operator", None)
    page = admin.get("/users").text
    for words in (f'<a href="/users/{ann.id}">Ann</a>', "operator", "no password yet", "root"):
        assert words in page


def test_an_invitation_is_shown_once_listed_and_withdrawn(web: Flask, admin: Browser) -> None:
    answer = admin.post("/users/invite", page="/users", role="operator")
    assert answer.status_code == 200
    link = re.search(r">\s*(http://localhost/invitation/[\w-]{43})</textarea>", answer.text)
    assert link
    page = admin.get("/users").text
    assert link[1] not in page
    assert "operator" in page
    path = link[1].removeprefix("http://localhost")
    assert Browser(web).get(path).status_code == 200
    action = re.search(r'action="(/users/invitations/\d+/withdraw)"', page)
    assert action
    assert admin.post(action[1], page="/users").location == "/users"
    assert Browser(web).get(path).status_code == 404
    admin.post(action[1], page="/users")
    assert "not open any more" in admin.get("/users").text


@pytest.mark.parametrize("role", ["", "owner", "Admin", "admin "])
def test_an_invitation_for_no_role_is_refused(admin: Browser, role: str) -> None:
    answer = admin.post("/users/invite", page="/users", role=role)
    assert (answer.status_code, "Choose a role." in answer.text) == (422, True)


def test_a_new_role_ends_the_users_logins_and_counts_at_once(web: Flask, admin: Browser) -> None:
    operator = signed_in(web, "operator")
    name = next(name for name in ("operator1", "operator2", "operator3") if exists(web, name))
    answer = admin.post(f"/users/{user(web, name).id}/role", page="/users", role="viewer")
    assert answer.status_code == 303
    assert "has the role viewer" in admin.get(answer.location).text
    assert is_login_page(operator.get("/jobs"))
    assert user(web, name).role is Role.VIEWER


def exists(app: Flask, name: str) -> bool:
    with of(app).database.read() as connection:
        return accounts.find(connection, name) is not None


def test_disabling_shuts_out_at_once_and_enabling_lets_in_again(web: Flask, admin: Browser, ann: User) -> None:
    operator = signed_in(web, "operator")
    shut = next(user(web, f"operator{n}") for n in range(9) if exists(web, f"operator{n}"))
    assert admin.post(f"/users/{shut.id}/disable", page="/users").status_code == 303
    assert is_login_page(operator.get("/jobs"))
    page = admin.get(f"/users/{shut.id}").text
    assert "Disabled" in page
    assert admin.post(f"/users/{shut.id}/enable", page="/users").status_code == 303
    assert not user(web, shut.name).is_disabled
    assert is_login_page(operator.get("/jobs")), "the old login stays ended"


def test_logins_can_be_ended_and_the_user_signs_in_again(web: Flask, admin: Browser) -> None:
    operator = signed_in(web, "operator")
    found = next(user(web, f"operator{n}") for n in range(9) if exists(web, f"operator{n}"))
    assert admin.post(f"/users/{found.id}/logins/end", page="/users").status_code == 303
    assert is_login_page(operator.get("/jobs"))
    assert not user(web, found.name).is_disabled


@pytest.mark.parametrize(("action", "fields"), [("disable", {}), ("role", {"role": "viewer"})])
def test_the_last_admin_cannot_be_lost(
    web: Flask, runtime: Runtime, admin: Browser, action: str, fields: dict[str, str]
) -> None:
    with runtime.database.write() as connection:
        root = accounts.find(connection, "root")
        assert root
        accounts.disable(connection, root.id, runtime.database.clock(connection))
    last = next(one for one in users(web) if one.role is Role.ADMIN and not one.is_disabled)
    answer = admin.post(f"/users/{last.id}/{action}", page="/users", **fields)
    assert answer.status_code == 409
    assert "last admin" in answer.text
    assert admin.get("/users").status_code == 200


def users(app: Flask) -> list[User]:
    with of(app).database.read() as connection:
        return accounts.list_users(connection)


def test_an_unknown_user_is_not_found(admin: Browser) -> None:
    assert admin.get("/users/999").status_code == 404
    for action in ("role", "disable", "enable", "logins/end"):
        fields = {"role": "viewer"} if action == "role" else {}
        assert admin.post(f"/users/999/{action}", page="/users", **fields).status_code == 404, action


def test_x24_a_browsers_name_for_itself_is_shown_as_text(web: Flask, runtime: Runtime) -> None:
    hostile = "<script>alert(1)</script>\u202e\x1b[31m"
    from bgapp import logins

    ann = add_user(web, "Ann", "viewer")
    browser = Browser(web)
    with runtime.database.write() as connection:
        login = logins.open_login(connection, ann, hostile, hostile, runtime.database.clock(connection))
    browser.keep(login)
    page = browser.get("/account").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert not set(page) & {"\u202e", "\x1b"}
