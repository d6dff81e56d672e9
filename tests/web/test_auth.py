"""Setting up, signing in and out, invitations, one's own account (X12-X17, X21, B29, B31, B32)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update
from werkzeug.security import check_password_hash

from bgapp import accounts, invitations, logins, passwords, throttle
from bgapp.accounts import LOGINS
from bgapp.models import Status
from bgapp.runtime import Runtime, of
from bgapp.web import setup
from bgapp.web.standalone_access import COOKIE
from tests import factories
from tests.web.conftest import HTTPS, PASSWORD, Browser, add_user, is_login_page, signed_in
from tests.web.support import state

WRONG = "The name or the password is wrong."


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash at a hundredth of the real cost; the one test about time has the real one."""
    monkeypatch.setattr(passwords, "METHOD", "scrypt:256:8:1")
    passwords._dummy.cache_clear()


@pytest.fixture
def ann(web: Flask) -> str:
    """A viewer with a password."""
    return add_user(web, "Ann", "viewer", passwords.hashed(PASSWORD)).name


def no_throttle(app: Flask) -> None:
    with of(app).database.write() as connection:
        connection.execute(throttle.THROTTLE.delete())


# Setting up --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(make_app: Any) -> Flask:
    """An application without a user."""
    app: Flask = make_app()
    return app


def test_the_first_admin_is_made_with_the_code_that_the_server_prints_and_then_set_up_is_gone(fresh: Flask) -> None:
    browser = Browser(fresh)
    assert browser.get("/", follow_redirects=True).request.path == "/setup"
    code = setup.setup_code(fresh)
    assert code is not None
    fields = {"code": code.lower(), "name": "root", "password": PASSWORD, "again": PASSWORD}
    answer = browser.post("/setup", page="/setup", **fields)
    assert (answer.status_code, answer.location) == (303, "/")
    assert browser.get("/users").status_code == 200
    assert browser.get("/setup").status_code == 404
    other = Browser(fresh)
    assert other.post("/setup", **fields).status_code == 404
    assert setup.setup_code(fresh) is None


@pytest.mark.parametrize("code", ["", "AAAAA-AAAAA-AAAAA-AAAAA-AAAAA", "' OR 1=1 --", "x" * 5000, "\u0660" * 25])
def test_a_wrong_set_up_code_makes_nobody(fresh: Flask, code: str) -> None:
    assert setup.setup_code(fresh) is not None
    answer = Browser(fresh).post("/setup", page="/setup", code=code, name="root", password=PASSWORD, again=PASSWORD)
    assert answer.status_code == 422
    assert "This code is not valid" in answer.text
    assert PASSWORD not in answer.text
    with of(fresh).database.read() as connection:
        assert not accounts.has_users(connection)


def test_set_up_codes_cannot_be_guessed_at_any_speed(fresh: Flask) -> None:
    browser = Browser(fresh)
    fields = {"name": "root", "password": PASSWORD, "again": PASSWORD}
    codes = {browser.post("/setup", page="/setup", code=f"{n}", **fields).status_code for n in range(7)}
    assert codes == {422, 429}


def test_a_wrong_slip_in_the_set_up_form_keeps_the_code_good(fresh: Flask) -> None:
    code = setup.setup_code(fresh)
    browser = Browser(fresh)
    for wrong in ({"again": "another password"}, {"name": "!"}, {"password": "short", "again": "short"}):
        fields = {"code": code, "name": "root", "password": PASSWORD, "again": PASSWORD, **wrong}
        answer = browser.post("/setup", page="/setup", **fields)
        assert (answer.status_code, "Error:" in answer.text) == (422, True)
    assert (
        browser.post("/setup", page="/setup", **{**fields, "password": PASSWORD, "again": PASSWORD}).status_code == 303
    )


def test_the_code_is_told_in_the_log_once_a_process_and_only_where_it_is_needed(
    fresh: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    setup.announce(fresh)
    setup.announce(fresh)
    assert len(re.findall(r"/setup in a browser and enter the code [A-Z2-9-]{29}", caplog.text)) == 1


# Signing in --------------------------------------------------------------------------------------------------------


def test_signing_in_and_out(web: Flask, runtime: Runtime, ann: str) -> None:
    browser = Browser(web)
    answer = browser.sign_in("ann")
    assert (answer.status_code, answer.location) == (303, "/")
    assert browser.get("/account").status_code == 200
    cookie = browser.cookie()
    assert browser.post("/logout", page="/account").location == "/login"
    assert browser.cookie() is None
    assert is_login_page(browser.get("/account"))
    browser.keep(cookie or "")
    assert is_login_page(browser.get("/account")), "the old cookie is dead on the server too (X13)"


def test_signing_in_leads_back_to_the_page_that_was_wanted(web: Flask, ann: str) -> None:
    browser = Browser(web)
    page = browser.get("/jobs?status=failed", follow_redirects=True)
    found = re.search(r'name="next" value="([^"]+)"', page.text)
    assert found
    assert browser.sign_in("Ann", next=found[1]).location == "/jobs?status=failed"


def test_whoever_is_signed_in_needs_no_login_page(browser: Callable[..., Browser]) -> None:
    assert browser("viewer").get("/login").location == "/"
    assert browser("viewer").get("/login?next=/jobs").location == "/jobs"


def test_wrong_unknown_disabled_and_passwordless_names_get_the_same_answer(
    web: Flask, runtime: Runtime, ann: str
) -> None:
    add_user(web, "passwordless", "viewer", None)
    disabled = add_user(web, "disabled", "viewer", passwords.hashed(PASSWORD))
    with runtime.database.write() as connection:
        accounts.disable(connection, disabled.id, runtime.database.clock(connection))
    seen = []
    for name, password in ((ann, "wrong password"), ("nobody", PASSWORD), ("disabled", PASSWORD), ("passwordless", "")):
        no_throttle(web)
        browser = Browser(web)
        answer = browser.sign_in(name, password)
        token = re.compile(r'name="csrf_token" value="[^"]+"')
        page = token.sub("", answer.text).replace(name, "NAME")
        headers = sorted(name for name, _ in answer.headers)
        seen.append((answer.status_code, page, headers, browser.cookie()))
    assert seen[0][0] == 422
    assert WRONG in seen[0][1]
    assert PASSWORD not in seen[0][1]
    assert all(one == seen[0] for one in seen)


def test_x17_unknown_and_disabled_names_take_as_long_as_a_wrong_password(
    web: Flask, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "METHOD", "scrypt:4096:8:1")
    passwords._dummy.cache_clear()
    add_user(web, "known", "viewer", passwords.hashed(PASSWORD))
    disabled = add_user(web, "disabled", "viewer", passwords.hashed(PASSWORD))
    with runtime.database.write() as connection:
        accounts.disable(connection, disabled.id, runtime.database.clock(connection))
    passwords.dummy_check()
    hashes = []
    real = check_password_hash

    def counted(stored: str, password: str) -> bool:
        hashes.append(stored.partition("$")[0])
        return real(stored, password)

    monkeypatch.setattr(passwords, "check_password_hash", counted)
    for name in ("known", "unknown", "disabled"):
        no_throttle(web)
        hashes.clear()
        Browser(web).sign_in(name, "wrong password")
        # Equal work, counted; the clock of a busy machine would say less.
        assert hashes == ["scrypt:4096:8:1"], name


def test_x16_tries_are_slowed_down_whoever_makes_them(web: Flask, ann: str) -> None:
    browser = Browser(web)
    statuses = [browser.sign_in("Ann", f"wrong {n}").status_code for n in range(8)]
    assert statuses[:5] == [422] * 5
    assert statuses[-1] == 429
    answer = browser.sign_in("Ann", PASSWORD)
    assert answer.status_code == 429, "the right password is not looked at either"
    assert int(answer.headers["Retry-After"]) >= 1
    assert "too many tries" in answer.text


def test_x16_an_unknown_name_is_slowed_down_the_same_way(web: Flask) -> None:
    statuses = [Browser(web).sign_in("nobody", f"wrong {n}").status_code for n in range(7)]
    assert (statuses[0], statuses[-1]) == (422, 429)


def test_x37_a_forwarded_address_does_not_make_somebody_else_of_the_one_who_tries(web: Flask) -> None:
    browser = Browser(web)
    token = browser.token("/login")
    statuses = []
    for n in range(12):
        headers = {"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.0.0.{n}", "X-Real-IP": f"10.0.0.{n}"}
        fields = {"csrf_token": token, "name": f"name {n}", "password": "wrong"}
        statuses.append(browser.send("/login", fields, headers=headers).status_code)
    assert statuses[-1] == 429


def test_an_owner_elsewhere_gets_in_while_somebody_tries_the_name(web: Flask, ann: str) -> None:
    stranger = Browser(web, REMOTE_ADDR="10.9.9.9")
    for n in range(8):
        stranger.sign_in("ann", f"wrong {n}")
    assert Browser(web, REMOTE_ADDR="10.1.1.1").sign_in("ann").status_code == 303


# The cookie and the login behind it ---------------------------------------------------------------------------------


def test_x12_a_planted_cookie_does_not_become_a_login(web: Flask, ann: str) -> None:
    planted = "p" * 43
    browser = Browser(web)
    browser.keep(planted)
    browser.sign_in("ann")
    assert browser.cookie() not in (None, planted)
    victim = Browser(web)
    victim.keep(planted)
    assert is_login_page(victim.get("/account"))


def test_x12_signing_in_ends_the_login_that_the_browser_had(web: Flask, ann: str) -> None:
    browser = signed_in(web, "operator")
    token, old = browser.token("/account"), browser.cookie()
    browser.send("/login", {"csrf_token": token, "name": "ann", "password": PASSWORD})
    again = Browser(web)
    again.keep(old or "")
    assert is_login_page(again.get("/account"))
    assert "Ann" in browser.get("/account").text


def test_x12_the_form_token_from_before_signing_in_is_no_longer_good(web: Flask, ann: str) -> None:
    browser = Browser(web)
    before = browser.token("/login")
    browser.sign_in("ann")
    assert browser.send("/logout", {"csrf_token": before}).status_code == 400


def test_x13_a_disabled_users_cookie_is_dead_at_the_next_request(web: Flask, runtime: Runtime) -> None:
    browser = signed_in(web, "operator")
    assert browser.get("/jobs").status_code == 200
    with runtime.database.write() as connection:
        user = accounts.find(connection, "operator1")
        assert user
        accounts.disable(connection, user.id, runtime.database.clock(connection))
    assert is_login_page(browser.get("/jobs"))


def age(runtime: Runtime, **columns: Any) -> None:
    """Make every login older than it is."""
    with runtime.database.write() as connection:
        now = runtime.database.clock(connection)
        connection.execute(update(LOGINS).values({name: now - by for name, by in columns.items()}))


def test_x14_a_login_ends_when_it_was_not_used_for_half_an_hour(web: Flask, runtime: Runtime) -> None:
    browser = signed_in(web, "viewer")
    age(runtime, seen_at=timedelta(minutes=29))
    assert browser.get("/account").status_code == 200
    age(runtime, seen_at=timedelta(minutes=31))
    assert is_login_page(browser.get("/account"))


def test_x14_a_page_that_refreshes_itself_keeps_nobody_signed_in(web: Flask, runtime: Runtime) -> None:
    browser = signed_in(web, "viewer")
    age(runtime, seen_at=timedelta(minutes=20))
    assert browser.get("/jobs", headers={"HX-Request": "true"}).status_code == 200
    age(runtime, seen_at=timedelta(minutes=31))
    assert browser.get("/jobs", headers={"HX-Request": "true"}).status_code == 401


def test_x14_a_login_ends_after_half_a_day_in_any_case(web: Flask, runtime: Runtime) -> None:
    browser = signed_in(web, "viewer")
    age(runtime, expires_at=timedelta(seconds=1))
    assert is_login_page(browser.get("/account"))


def test_x15_the_cookie_is_out_of_reach_of_scripts_other_sites_and_plain_http(web: Flask, ann: str) -> None:
    plain = Browser(web).sign_in("ann").headers.getlist("Set-Cookie")
    (login,) = [one for one in plain if one.startswith(f"{COOKIE}=")]
    assert set(login.split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Lax"}

    secure = web.test_client()
    page = secure.get("/login", base_url=HTTPS)
    assert page.headers["Set-Cookie"].startswith("__Host-bgapp_session=")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token
    fields = {"csrf_token": token[1], "name": "ann", "password": PASSWORD}
    answer = secure.post("/login", base_url=HTTPS, data=fields, headers={"Referer": f"{HTTPS}/login"})
    cookies = answer.headers.getlist("Set-Cookie")
    (login,) = [one for one in cookies if one.startswith(f"__Host-{COOKIE}=")]
    assert set(login.split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"}
    assert secure.get("/account", base_url=HTTPS).status_code == 200
    for cookie in (*plain, *cookies):
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert not ("__Host-" in cookie and ("Domain" in cookie or "Secure" not in cookie or "Path=/" not in cookie))


def test_a_cookie_from_plain_http_is_not_taken_on_https(web: Flask) -> None:
    browser = signed_in(web, "admin")
    assert is_login_page(
        web.test_client().get("/account", base_url=HTTPS, headers={"Cookie": f"{COOKIE}={browser.cookie()}"})
    )


def test_b27_cookies_that_are_no_login_are_nobodys(web: Flask) -> None:
    for cookie in ("", "x", "a" * 4000, "\x7f", "é", "' OR 1=1 --", "../../x", "{}"):
        browser = Browser(web)
        browser.keep(cookie)
        assert is_login_page(browser.get("/account")), cookie


def test_the_database_holds_no_cookie_and_no_code(web: Flask, runtime: Runtime, ann: str) -> None:
    browser = Browser(web)
    browser.sign_in("ann")
    admin = signed_in(web, "admin")
    link = re.search(r"/invitation/([\w-]+)", admin.post("/users/invite", page="/users", role="viewer").text)
    assert link
    everything = repr(state(runtime.database))
    assert (browser.cookie() or "none") not in everything
    assert link[1] not in everything
    assert PASSWORD not in everything


def test_flask_login_knows_the_user_too(web: Flask) -> None:
    from flask_login import current_user, login_required

    @web.get("/mine")
    @login_required  # type: ignore[untyped-decorator] # Flask-Login has no types
    def mine() -> str:
        return f"{current_user.name} {current_user.role}"

    assert is_login_page_of_flask_login(Browser(web).get("/mine").location)
    assert signed_in(web, "operator").get("/mine").text == "operator1 operator"


def is_login_page_of_flask_login(location: str) -> bool:
    return location.startswith("/login?next=")


# X21: where `next` may lead ------------------------------------------------------------------------------------------

ELSEWHERE = [
    "//evil.example", "///evil.example", "////evil.example/x", "/\\evil.example", "\\\\evil.example", "\\/evil.example",
    "/\t/evil.example", "/\n/evil.example", "/\r\n/evil.example", "\t//evil.example", " //evil.example",
    "/ /evil.example",
    "http://evil.example", "https://evil.example", "HTTP://evil.example", "http:evil.example", "http:/evil.example",
    "https:///evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,x",
    "vbscript:x", "ftp://evil.example", "evil.example", "www.evil.example/jobs", "@evil.example", "user@evil.example",
    "http://localhost@evil.example", "//localhost@evil.example", "//user:pw@evil.example", ".//evil.example",
    "/%2f/evil.example", "/%5cevil.example", "/%2fevil.example", "/%09/evil.example", "/%0d%0aLocation:%20evil",
    "/%00", "/x/..//evil.example", "/../evil", "/jobs\x01", "/jobs\x7f", "?next=//evil.example", "#@evil.example",
    "/\u2028/evil", "/／evil.example", "／／evil.example", "http://[::1", "//[evil", "/" + "x" * 3000, "",
]  # fmt: skip


def test_x21_next_never_leads_out_of_the_application(browser: Callable[..., Browser]) -> None:
    someone = browser("viewer")
    token = someone.token("/account")
    for path in ELSEWHERE:
        assert someone.get("/login", query_string={"next": path}).location == "/", path
        answer = someone.send("/theme", {"csrf_token": token, "theme": "dark", "next": path})
        assert (answer.status_code, answer.location) == (303, "/"), path


def test_next_leads_to_pages_of_the_application(browser: Callable[..., Browser]) -> None:
    someone = browser("viewer")
    for path in ("/jobs", "/jobs?status=failed&before=7", "/jobs/1#x", "/", "/jobs?x=//y&z=a%20b"):
        assert someone.get("/login", query_string={"next": path}).location == path


def test_x21_the_login_page_does_not_carry_a_foreign_next_on(web: Flask) -> None:
    page = Browser(web).get("/login", query_string={"next": "//evil.example"})
    assert "evil" not in page.text


def test_next_stays_below_the_prefix_that_a_proxy_serves_the_application_under(web: Flask) -> None:
    inside = Browser(web, SCRIPT_NAME="/ops").client.get("/jobs", base_url="http://localhost/ops")
    assert inside.location == "/ops/login?next=/ops/jobs"
    client = signed_in(web, "viewer").client
    assert client.get("/login?next=/ops/jobs", base_url="http://localhost/ops").location == "/ops/jobs"
    assert client.get("/login?next=/other", base_url="http://localhost/ops").location == "/ops/"


# Invitations and registration ----------------------------------------------------------------------------------------


def invited(web: Flask, role: str = "operator") -> str:
    with of(web).database.write() as connection:
        return f"/invitation/{invitations.invite(connection, role, None, of(web).database.clock(connection))}"


def test_an_invitation_makes_one_account_of_its_role(web: Flask) -> None:
    path, browser = invited(web), Browser(web)
    assert "operator" in browser.get(path).text
    answer = browser.post(path, page=path, name="Bea", password=PASSWORD, again=PASSWORD)
    assert answer.location == "/"
    assert "role operator" in browser.get("/account").text
    assert Browser(web).get(path).status_code == 404
    assert Browser(web).post(path, name="Ben", password=PASSWORD, again=PASSWORD).status_code == 404


def test_an_invitation_cannot_be_talked_into_another_role(web: Flask) -> None:
    path = invited(web, "viewer")
    answer = Browser(web).post(path, page=path, name="Bea", password=PASSWORD, again=PASSWORD, role="admin")
    assert answer.status_code == 400
    assert Browser(web).get(path).status_code == 200


def test_registration_is_closed_unless_it_is_opened_and_makes_viewers(make_web: Callable[..., Flask]) -> None:
    closed = Browser(make_web())
    assert closed.get("/register").status_code == 404
    assert closed.post("/register", name="Bea", password=PASSWORD, again=PASSWORD).status_code == 404
    assert "/register" not in closed.get("/login").text


def test_open_registration_makes_viewers(make_web: Callable[..., Flask]) -> None:
    browser = Browser(make_web(allow_registration=True))
    assert "/register" in browser.get("/login").text
    assert browser.post("/register", page="/register", name="Bea", password=PASSWORD, again=PASSWORD).location == "/"
    assert "role viewer" in browser.get("/account").text
    assert browser.get("/users").status_code == 403


@pytest.mark.parametrize(
    "name", ["", "ab", "ROOT", " root ", "ro\u200bot", "ｒｏｏｔ", "x" * 65, "x" * 300, "a\nb", "<b>x</b>"]
)
def test_b31_names_that_cannot_be_names_are_refused_in_the_form(web: Flask, name: str) -> None:
    path = invited(web)
    answer = Browser(web).post(path, page=path, name=name, password=PASSWORD, again=PASSWORD)
    assert answer.status_code == 422
    assert "<title>Error:" in answer.text
    assert 'href="#name"' in answer.text
    assert "<b>x</b>" not in answer.text


@pytest.mark.parametrize(
    "password", ["", "short", "elevenchars", "passwordpassword", "x" * 1025, "x" * 100_000, "root root root"]
)
def test_b32_passwords_that_will_not_do_are_refused_and_not_shown(web: Flask, password: str) -> None:
    path = invited(web)
    answer = Browser(web).post(path, page=path, name="root2", password=password, again=password)
    assert answer.status_code == 422
    assert not password or password not in re.sub(r"<title>.*", "", answer.text) or password == "short"
    assert 'href="#password"' in answer.text


@pytest.mark.parametrize(
    "password", ["  zwölf boxkämpfer  ", "🦊🦉🐙🦀 at dawn", "".join(f"{n * n} " for n in range(300))[:1023]]
)
def test_b32_passwords_are_taken_as_typed(web: Flask, password: str) -> None:
    path = invited(web)
    assert Browser(web).post(path, page=path, name="Bea", password=password, again=password).status_code == 303
    assert Browser(web).sign_in("bea", password.strip() + "x").status_code == 422
    assert Browser(web).sign_in("bea", password).status_code == 303


# One's own account ---------------------------------------------------------------------------------------------------


def test_x12_a_new_password_ends_every_login_and_gives_this_browser_a_new_one(web: Flask, ann: str) -> None:
    here, there = Browser(web), Browser(web)
    here.sign_in("ann")
    there.sign_in("ann")
    old = here.cookie()
    new = "another fine password"
    answer = here.post("/account/password", page="/account", old=PASSWORD, new=new, again=new)
    assert answer.location == "/account"
    assert here.cookie() not in (None, old)
    assert "was changed" in here.get("/account").text
    assert is_login_page(there.get("/account"))
    assert Browser(web).sign_in("ann").status_code == 422
    assert Browser(web).sign_in("ann", new).status_code == 303


@pytest.mark.parametrize(
    ("old", "new", "again", "field"),
    [
        ("wrong", "another fine password", "another fine password", "old"),
        (PASSWORD, "another fine password", "another", "again"),
        (PASSWORD, "short", "short", "new"),
    ],
)
def test_a_password_is_not_changed_by_a_wrong_form(
    web: Flask, ann: str, old: str, new: str, again: str, field: str
) -> None:
    browser = Browser(web)
    browser.sign_in("ann")
    answer = browser.post("/account/password", page="/account", old=old, new=new, again=again)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert PASSWORD not in answer.text
    assert Browser(web).sign_in("ann").status_code == 303


def test_one_sees_ones_logins_and_ends_them(web: Flask, runtime: Runtime, ann: str) -> None:
    here, there, third = Browser(web, HTTP_USER_AGENT="Here/1"), Browser(web), Browser(web)
    for one in (here, there, third):
        one.sign_in("ann")
    page = here.get("/account").text
    assert page.count("Sign out there") == 2
    assert (here.cookie() or "none") not in page
    key = logins.hashed(there.cookie() or "")
    assert here.post("/account/logins/end", page="/account", key=key).status_code == 303
    assert is_login_page(there.get("/account"))
    assert third.get("/account").status_code == 200
    assert here.post("/account/logins/end-others", page="/account").status_code == 303
    assert is_login_page(third.get("/account"))
    assert here.get("/account").status_code == 200


def test_x31_nobody_ends_somebody_elses_login(web: Flask, ann: str) -> None:
    other = signed_in(web, "admin")
    browser = Browser(web)
    browser.sign_in("ann")
    browser.post("/account/logins/end", page="/account", key=logins.hashed(other.cookie() or ""))
    assert other.get("/account").status_code == 200


def test_b29_a_form_filled_in_while_the_login_ended_leads_to_signing_in_and_keeps_nothing(
    web: Flask, runtime: Runtime
) -> None:
    browser = signed_in(web, "admin")
    with runtime.database.write() as connection:
        job = factories.insert_job(connection, Status.FAILED)
    token = browser.token("/account")
    age(runtime, expires_at=timedelta(seconds=1))
    before = state(runtime.database)
    answer = browser.send(f"/jobs/{job}/delete", {"csrf_token": token})
    assert is_login_page(answer)
    assert state(runtime.database) == before


def test_logging_out_twice_or_by_a_link_does_no_harm(web: Flask) -> None:
    browser = Browser(web)
    assert browser.post("/logout").location == "/login"
    assert browser.get("/logout").status_code == 405
