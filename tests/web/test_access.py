"""The one gate: every address, for nobody, viewer, operator and admin, with right and wrong verbs (X31, X35)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from bgapp.runtime import Runtime, of
from bgapp.web.access import Permission, Role, Viewer
from bgapp.web.blueprint import ACCOUNTS, PAGES, Route
from tests.web.conftest import Browser, is_login_page, signed_in
from tests.web.support import furnish, places, route_of, state

MAY: dict[str | None, set[Permission]] = {
    None: {Permission.PUBLIC},
    "viewer": {Permission.PUBLIC, Permission.SEE},
    "operator": {Permission.PUBLIC, Permission.SEE, Permission.RUN},
    "admin": set(Permission),
}
EVERYBODY = list(MAY)
ABSENT = {"/setup", "/register", "/jobs/1/log/download"}  # set up already, registration closed, never ran
PUBLIC = {"/health/live", "/health/ready", "/static/app.css", "/setup", "/login", "/logout", "/register"}


@pytest.fixture
def furnished(web: Flask) -> dict[str, Any]:
    return furnish(web)


def test_no_address_exists_without_a_line_in_the_table(web: Flask) -> None:
    assert [rule.rule for rule in web.url_map.iter_rules() if route_of(web, rule) is None] == []
    assert len(list(web.url_map.iter_rules())) == len(PAGES) + len(ACCOUNTS)


def test_a_line_cannot_be_made_without_a_permission() -> None:
    with pytest.raises(TypeError):
        type(PAGES[0])("/secret", PAGES[0].view)  # type: ignore[call-arg] # that is the point


def test_nobody_reaches_only_the_few_public_addresses(web: Flask, furnished: dict[str, Any]) -> None:
    public = {place.path for place in places(web, furnished) if place.route.permission is Permission.PUBLIC}
    assert public == PUBLIC | {f"/invitation/{furnished['code']}"}


@pytest.mark.parametrize("role", EVERYBODY)
def test_each_page_opens_for_the_roles_that_may_see_it(
    web: Flask, furnished: dict[str, Any], browser: Callable[..., Browser], role: str | None
) -> None:
    someone = browser(role)
    for place in places(web, furnished, "GET"):
        answer = someone.get(place.path)
        if place.route.permission in MAY[role]:
            assert answer.status_code in (200, 204, 303, 404, 409, 503), (place.label, answer.status)
            assert not (role and is_login_page(answer)), place.label
            assert answer.status_code != 404 or place.path in ABSENT, place.label
            assert answer.status_code != 503 or place.path == "/health/ready"
        elif role is None:
            assert is_login_page(answer), (place.label, answer.status)
        else:
            assert answer.status_code == 403, (place.label, answer.status)
        head = someone.client.head(place.path, buffered=True)
        assert head.status_code == answer.status_code, place.label
        assert head.data == b""


@pytest.mark.parametrize("role", EVERYBODY)
def test_a_role_that_lacks_the_permission_changes_nothing(
    web: Flask, runtime: Runtime, furnished: dict[str, Any], browser: Callable[..., Browser], role: str | None
) -> None:
    someone = browser(role)
    token = someone.token("/login" if role is None else "/account")
    before = state(runtime.database)
    for place in places(web, furnished, "POST"):
        if place.route.permission in MAY[role]:
            continue
        answer = someone.send(place.path, {"csrf_token": token})
        if role is None:
            assert is_login_page(answer), (place.label, answer.status)
            assert answer.location == "/login", "there is no page to come back to after a form"
        else:
            assert answer.status_code == 403, (place.label, answer.status)
            assert "may not do this" in answer.text
    assert state(runtime.database) == before


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_what_a_role_may_do_passes_the_gate(
    web: Flask, furnished: dict[str, Any], role: str, browser: Callable[..., Browser]
) -> None:
    for place in places(web, furnished, "POST"):
        if place.route.permission in MAY[role] - {Permission.PUBLIC}:
            someone = browser(role)  # anew for each, since some end the login
            answer = someone.send(place.path, {"csrf_token": someone.token("/account")})
            assert answer.status_code in (303, 200, 403, 404, 409, 422), (place.label, answer.status)
            assert answer.status_code != 403 or "may not do this" not in answer.text, place.label
            assert not is_login_page(answer), place.label


def test_no_get_changes_anything(
    web: Flask, runtime: Runtime, furnished: dict[str, Any], browser: Callable[..., Browser]
) -> None:
    admin = browser("admin")
    admin.get("/account")
    before = state(runtime.database)
    for place in places(web, furnished):
        admin.get(place.path)
    assert state(runtime.database) == before


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("role", [None, "admin"])
def test_b25_other_verbs_are_refused_everywhere(
    web: Flask,
    runtime: Runtime,
    furnished: dict[str, Any],
    browser: Callable[..., Browser],
    verb: str,
    role: str | None,
) -> None:
    someone = browser(role)
    before = state(runtime.database)
    for place in places(web, furnished):
        answer = someone.client.open(place.path, method=verb)
        assert answer.status_code == 405, (verb, place.label, answer.status)
        assert set(answer.headers["Allow"].split(", ")) <= {"GET", "HEAD", "POST"}
    assert state(runtime.database) == before


def test_b25_get_does_not_do_what_post_does_nor_the_other_way_round(
    web: Flask, furnished: dict[str, Any], browser: Callable[..., Browser]
) -> None:
    admin = browser("admin")
    written = {place.path for place in places(web, furnished, "POST")}
    read = {place.path for place in places(web, furnished, "GET")}
    for path in written - read:
        assert admin.get(path).status_code == 405, path
    token = admin.token("/account")
    for path in read - written:
        assert admin.send(path, {"csrf_token": token}).status_code == 405, path


def test_b25_a_header_does_not_change_the_verb(
    web: Flask, furnished: dict[str, Any], browser: Callable[..., Browser], runtime: Runtime
) -> None:
    admin = browser("admin")
    before = state(runtime.database)
    path = f"/jobs/{furnished['job_id']}/delete"
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert admin.get(path, headers={name: "POST"}).status_code == 200
        assert admin.get(f"{path}?_method=POST", headers={name: "DELETE"}).status_code == 200
    assert state(runtime.database) == before


def test_programs_that_ask_for_json_get_401_and_no_page(
    web: Flask, furnished: dict[str, Any], browser: Callable[..., Browser]
) -> None:
    nobody = browser()
    for place in places(web, furnished):
        if place.route.permission is not Permission.PUBLIC:
            answer = nobody.client.open(
                place.path, method=place.route.methods[0], headers={"Accept": "application/json"}
            )
            assert answer.status_code == 401, place.label
            assert answer.json is not None
            assert answer.json["kind"] == "unauthorized"


def test_a_live_region_whose_login_ended_has_the_page_loaded_anew(browser: Callable[..., Browser]) -> None:
    answer = browser().get("/jobs", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Refresh"], answer.data) == (401, "true", b"")


def test_nobody_comes_back_to_the_page_after_signing_in(browser: Callable[..., Browser]) -> None:
    assert browser().get("/jobs?status=failed").location == "/login?next=/jobs?status%3Dfailed"
    assert browser().get("/").location == "/login"


# Read-only ---------------------------------------------------------------------------------------------------------


def test_read_only_refuses_every_write_of_everybody_but_signing_in_and_out(make_web: Callable[..., Flask]) -> None:
    app = make_web(read_only=True, allow_registration=True)
    values = furnish(app)
    admin = signed_in(app, "admin")
    before = state(of(app).database)
    for place in places(app, values, "POST"):
        someone = admin if place.route.permission is not Permission.PUBLIC else Browser(app)
        if not place.route.in_read_only:
            answer = someone.send(place.path, {"csrf_token": someone.token("/login")})
            assert answer.status_code == 403, place.label
            assert "read-only" in answer.text
    assert state(of(app).database) == before
    allowed = {place.path for place in places(app, values, "POST") if place.route.in_read_only}
    assert allowed == {"/login", "/logout", "/theme", "/account/logins/end", "/account/logins/end-others"}


def test_read_only_pages_show_no_button_that_changes_something(make_web: Callable[..., Flask]) -> None:
    app = make_web(read_only=True)
    values = furnish(app)
    admin = signed_in(app, "admin")
    for place in places(app, values, "GET"):
        answer = admin.get(place.path)
        if answer.mimetype == "text/html" and answer.status_code == 200:
            actions = set(_actions(answer.text))
            assert actions <= {"/theme", "/logout", "/account/logins/end", "/account/logins/end-others"}, place.label


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_pages_offer_only_what_the_role_may_do(
    web: Flask, furnished: dict[str, Any], browser: Callable[..., Browser], role: str
) -> None:
    someone = browser(role)
    adapter = web.url_map.bind("localhost")
    for place in places(web, furnished, "GET"):
        answer = someone.get(place.path)
        if answer.mimetype != "text/html" or answer.status_code != 200:
            continue
        for action in _actions(answer.text):
            endpoint, _ = adapter.match(action.partition("?")[0], method="POST")
            assert _permission(web, endpoint) in MAY[role], (place.label, action)


def _actions(page: str) -> list[str]:
    """Return where the forms of a page that change something go."""
    import re

    forms: list[str] = re.findall(r"<form\b[^>]*>", page)
    return [found[1] for form in forms if 'method="post"' in form and (found := re.search(r'action="([^"]+)"', form))]


def _permission(app: Flask, endpoint: str) -> Permission:
    route: Route = vars(app.view_functions[endpoint])["bgapp_route"]
    return route.permission


# Who is asking -----------------------------------------------------------------------------------------------------


def test_a_viewer_takes_the_plain_word_for_the_role_and_no_other() -> None:
    assert Viewer("ann", "operator").role is Role.OPERATOR  # type: ignore[arg-type] # a host may give the word
    with pytest.raises(ValueError, match="owner"):
        Viewer("ann", "owner")  # type: ignore[arg-type] # as above


def test_a_role_changed_meanwhile_counts_at_the_next_request(
    web: Flask, runtime: Runtime, browser: Callable[..., Browser]
) -> None:
    operator = browser("operator")
    assert operator.get("/jobs/new").status_code == 200
    with runtime.database.write() as connection:
        from bgapp.accounts import USERS

        connection.execute(USERS.update().where(USERS.c.role == "operator").values(role="viewer"))
    assert operator.get("/jobs/new").status_code == 403
