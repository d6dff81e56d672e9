from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgapp.masking import is_secret_name, mask_params, mask_text, secret_values

CANARY = "c4n4ry-Zx9"


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "passwd", "pwd", "db_pass", "pass", "userPassword", "new-password", "dbpassword",
        "password2", "passphrase", "secret", "clientSecret", "client_secrets", "token", "accessToken", "authtoken",
        "tokens", "X-Auth-Token", "api_key", "apikey", "APIKey", "X-API-KEY", "apiKeys", "private_key", "privateKey",
        "access_key_id", "authorization", "Authorization", "credential", "aws_credentials", "bearer", "session_id",
        "cookie", "Set-Cookie", "jwt", "pin", "cvv", "dsn", "sentry.dsn", "secret_key", "basic auth",
    ],
)  # fmt: skip
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "key", "name", "author", "authors", "keyboard", "monkey", "primary_key", "sort_key", "passenger", "compass",
        "max_tokens", "tokens_used", "tokenizer", "secretary", "pinned", "spin", "month", "path", "user", "class", "s",
    ],
)  # fmt: skip
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("name", [None, 5, b"password", ("password",), object()])
def test_a_name_that_is_no_text_holds_no_secret(name: object) -> None:
    assert not is_secret_name(name)


def test_extra_words_are_secret_too() -> None:
    assert not is_secret_name("patient_number")
    assert is_secret_name("patient_number", ["patient"])
    assert is_secret_name("thePatientNumber", ["patient-number"])
    assert not is_secret_name("patientnumber", ["patient"])
    assert not is_secret_name("name", ["", "-"])


def test_long_names_are_looked_at_as_well() -> None:
    assert is_secret_name("x_" * 500 + "password")
    assert not is_secret_name("x" * 100_000)


@pytest.mark.parametrize(
    "value", [CANARY, 123456, 12.5, True, None, b"bytes", [CANARY], {"a": CANARY}, (1, 2), object(), date(2026, 1, 2)]
)
def test_a_secret_of_any_type_is_masked_at_any_depth(value: Any) -> None:
    values = {"password": value, "safe": [{"deep": {"apiToken": value, "kept": 1}}]}
    assert mask_params(values) == {"password": "***", "safe": [{"deep": {"apiToken": "***", "kept": 1}}]}


def test_named_secrets_are_masked_whole() -> None:
    assert mask_params({"login": {"user": "ann", "word": "x"}, "n": 1}, ["login"]) == {"login": "***", "n": 1}
    assert mask_params({"patient": 7}, extra=["patient"]) == {"patient": "***"}


def test_masking_leaves_the_values_themselves_alone() -> None:
    values = {"password": CANARY, "list": [{"token": CANARY}]}
    before = json.dumps(values)
    mask_params(values)
    assert json.dumps(values) == before


def test_urls_lose_their_password() -> None:
    assert mask_params(["postgresql://ann:pw@db/shop"]) == ["postgresql://ann:***@db/shop"]
    assert (
        mask_text("see redis://:pw@host:6379/0 and ftp://a:b@c.") == "see redis://:***@host:6379/0 and ftp://a:***@c."
    )
    assert mask_text("mysql+driver://u:p%40ss@wo:rd@host/x") == "mysql+driver://u:***@host/x"
    for harmless in ("http://host:80/path?mail=a@b", "git@host:path", "ssh://git@host/x", "a://b c:d@e", "://"):
        assert mask_text(harmless) == harmless


def test_masking_urls_is_linear() -> None:
    assert mask_text("://" * 200_000 + ":" * 200_000)
    assert mask_text("a" * 500_000 + "://" + "b:" * 200_000)


def test_values_of_a_rejected_call_are_shown_by_type() -> None:
    class Loud:
        def __repr__(self) -> str:
            raise AssertionError("never called")

    values = (b"x", Loud(), date(2026, 1, 2), Decimal("1.5"), {3: 1, None: 2}, {"a"})
    assert mask_params(values) == ["<bytes>", "<Loud>", "2026-01-02", "1.5", {"3": 1, "<NoneType>": 2}, ["a"]]


@pytest.mark.parametrize("value", [pytest.param(10**5000, id="huge"), float("nan"), float("inf")])
def test_numbers_that_json_has_not_do_not_stop_the_mask(value: Any) -> None:
    json.dumps(mask_params({"a": value, "password": value}), allow_nan=False)
    secret_values({"password": value})


def test_masking_always_ends() -> None:
    circle: list[Any] = []
    circle.append(circle)
    shared: list[Any] = [1]
    for _ in range(30):
        shared = [shared] * 10
    for value in (circle, {"a": shared}):
        mask_params(value)
        secret_values({"password": value})


def test_the_texts_of_secrets_are_found_at_any_depth() -> None:
    values = {
        "password": CANARY,
        "safe": "kept out",
        "list": [{"token": {"a": ["inside"], "b": 123456}}],
        "secret": {"flag": True, "none": None, "float": 3.14159},
        "pin": 12,
        "cookie": b"as-bytes",
        "dial": "redis://ann:url-word@host",
    }
    assert secret_values(values) == {CANARY, "inside", "123456", "3.14159", "as-bytes", "url-word"}


def test_short_texts_are_not_cut_out_of_everything() -> None:
    assert secret_values({"password": "abc", "pin": 999}) == frozenset()


def test_secrets_are_found_in_every_spelling() -> None:
    secret = 'it\'s "a"\nsecond-line é\\'
    texts = secret_values({"password": secret})
    for spelling in (secret, repr(secret), json.dumps(secret), quote(secret, safe=""), "x\nsecond-line é\\\n"):
        assert "second" not in mask_text(spelling, texts)


@given(st.text(min_size=4), st.text(), st.text())
def test_a_secret_never_stays_in_a_text(secret: str, before: str, after: str) -> None:
    masked = mask_text(before + secret + after, secret_values({"password": secret}))
    assert secret not in masked.replace("***", "") or secret in before + after or set(secret) <= {"*"}


def test_the_longest_secret_goes_first() -> None:
    assert mask_text("hunter2-extra hunter2", {"hunter2", "hunter2-extra"}) == "*** ***"


def test_text_without_secrets_is_unchanged() -> None:
    assert mask_text("plain") == "plain"
    assert mask_text("plain", frozenset()) == "plain"
    assert mask_text("plain", {""}) == "plain"


def test_values_of_other_shapes_are_masked() -> None:
    assert mask_params(None) is None
    assert mask_params("text") == "text"
    assert mask_params([1, [2]]) == [1, [2]]
