"""Forged requests (X22), and forms that are too old or come twice (B29)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from bgapp.runtime import Runtime
from bgapp.web.access import Permission
from tests.web.conftest import Browser, is_login_page
from tests.web.support import Place, furnish, places, state

HERE = {"Origin": "http://localhost"}


@pytest.fixture
def writes(web: Flask) -> list[Place]:
    """Every address that changes something, of a furnished application."""
    return places(web, furnish(web), "POST")


def test_x22_no_write_works_without_the_token_whoever_sends_it(
    web: Flask, runtime: Runtime, writes: list[Place], browser: Callable[..., Browser]
) -> None:
    admin, nobody, other = browser("admin"), browser(), browser("admin")
    admin.token("/account")
    foreign = other.token("/account")
    before = state(runtime.database)
    for place in writes:
        someone = admin if place.route.permission is not Permission.PUBLIC else nobody
        for fields in ({}, {"csrf_token": ""}, {"csrf_token": "x"}, {"csrf_token": foreign}):
            answer = someone.send(place.path, fields)
            assert answer.status_code == 400, (place.label, fields, answer.status)
            assert "Nothing was changed" in answer.text
    assert state(runtime.database) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:8081"},
        {"Origin": "null"},
        {"Origin": "http://[bad"},
        {"Referer": "https://evil.example/page"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "SAME-ORIGIN "},
    ],
)
def test_x22_no_write_from_another_site_works_even_with_the_token(
    web: Flask, runtime: Runtime, writes: list[Place], browser: Callable[..., Browser], headers: dict[str, str]
) -> None:
    admin = browser("admin")
    token = admin.token("/account")
    before = state(runtime.database)
    for place in writes:
        answer = admin.send(place.path, {"csrf_token": token}, headers=headers)
        assert answer.status_code == 403, (place.label, answer.status)
        assert "another site" in answer.text
        assert "Send the form again" not in answer.text
    assert state(runtime.database) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        HERE,
        {"Origin": "http://LOCALHOST:80"},
        {"Origin": "https://localhost"},
        {"Referer": "http://localhost/account"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://behind-a-proxy.example"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_writes_from_our_own_pages_work(browser: Callable[..., Browser], headers: dict[str, str]) -> None:
    someone = browser("viewer")
    answer = someone.send("/account/logins/end-others", {"csrf_token": someone.token("/account")}, headers=headers)
    assert answer.status_code == 303


def test_x22_signing_in_and_out_need_the_token_too(web: Flask, browser: Callable[..., Browser]) -> None:
    someone = browser("viewer")
    assert someone.send("/logout", {}).status_code == 400
    assert someone.get("/account").status_code == 200


def test_the_token_may_come_in_a_header(browser: Callable[..., Browser]) -> None:
    someone = browser("viewer")
    headers = {"X-CSRFToken": someone.token("/account")}
    assert someone.send("/account/logins/end-others", {}, headers=headers).status_code == 303


def test_reading_from_another_site_changes_nothing_and_is_answered(browser: Callable[..., Browser]) -> None:
    answer = browser("viewer").get(
        "/account", headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 200
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


# Forms that are too old ----------------------------------------------------------------------------------------------


def test_b29_a_form_that_is_too_old_can_be_sent_again_as_it_was(web: Flask, browser: Callable[..., Browser]) -> None:
    admin = browser("admin")
    hostile = 'ope"rator</textarea><script>alert(1)</script>'
    answer = admin.send("/users/2/role", {"csrf_token": "old", "role": hostile}, headers=HERE)
    assert answer.status_code == 400
    assert "The form was too old" in answer.text
    assert "<script>alert" not in answer.text
    fields = resent(answer.text)
    assert fields.pop("csrf_token") not in ("", "old")
    assert list(fields) == ["role"]
    answer = admin.send("/users/2/role", {"csrf_token": "old", "role": "viewer"}, headers=HERE)
    assert resent(answer.text)["role"] == "viewer"
    assert admin.send("/users/1/role", resent(answer.text), headers=HERE).status_code == 303


def resent(page: str) -> dict[str, str]:
    """Return the fields of the form with which the page sends the old one again."""
    form = re.search(r'<div class="prose">.*?<form[^>]*>(.*?)</form>', page, re.DOTALL)
    assert form, "the page has no such form"
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[1])
    texts = re.findall(r'<textarea name="([^"]+)" hidden>\n(.*?)</textarea>', form[1], re.DOTALL)
    return dict(hidden + texts)


@pytest.mark.parametrize("headers", [{}, {"Referer": "http://localhost.evil.example/"}])
def test_b29_a_form_that_another_site_may_have_filled_in_is_not_offered_again(
    browser: Callable[..., Browser], headers: dict[str, str]
) -> None:
    answer = browser("admin").send("/users/2/role", {"csrf_token": "old", "role": "admin"}, headers=headers)
    assert answer.status_code in (400, 403)
    assert "Send the form again" not in answer.text
    assert "<textarea" not in answer.text


def test_b29_a_form_with_a_password_does_not_come_back(web: Flask, browser: Callable[..., Browser]) -> None:
    secret = "a passphrase nobody may see"
    fields: dict[str, Any] = {"csrf_token": "old", "name": "ann", "password": secret}
    answer = browser().send("/login", fields, headers=HERE)
    assert answer.status_code == 400
    assert secret not in answer.text
    assert "Send the form again" not in answer.text


def test_b29_two_tabs_and_the_back_button_have_good_tokens(browser: Callable[..., Browser]) -> None:
    someone = browser("viewer")
    first, second = someone.token("/account"), someone.token("/jobs")
    for token in (second, first, first):
        assert someone.send("/account/logins/end-others", {"csrf_token": token}).status_code == 303


def test_b29_an_ended_login_leads_to_signing_in_whatever_the_token_is(
    web: Flask, browser: Callable[..., Browser]
) -> None:
    nobody = browser()
    assert is_login_page(nobody.send("/users/1/disable", {"csrf_token": "old"}))
