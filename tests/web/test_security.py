"""Bad requests (B21-B28), strange hosts (X37), debug mode and weak keys (X38, B35), SQL in every place (X39)."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask

from bgapp import create_app, secretkey, start
from bgapp.errors import ConfigurationError
from bgapp.runtime import Runtime
from bgapp.web import inputs
from tests.web.conftest import Browser, signed_in
from tests.web.support import furnish, places, state

SQL = (
    "'",
    "1 OR 1=1",
    "'; DROP TABLE bgapp_jobs; --",
    '" OR ""="',
    "1) UNION SELECT 1--",
    "%27",
    "\\",
    "${7*7}",
    "{{7*7}}",
)


@pytest.fixture
def posts(web: Flask) -> list[str]:
    return [place.path for place in places(web, furnish(web), "POST")]


# Bodies (B21, B22) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("csrf_token=x", "text/plain", 415),
        ('{"a": 1}', "application/json", 415),
        ("[1]", "application/json", 415),
        ("true", "application/json", 415),
        ("<a/>", "application/xml", 415),
        ("csrf_token=x", "application/x-www-form-urlencoded; charset=utf-16", 415),
        ("csrf_token=x", "application/octet-stream", 415),
        ("csrf_token=x", None, 415),
        ("", None, 400),
        ("", "application/x-www-form-urlencoded", 400),
        ("\ufeff", "application/x-www-form-urlencoded", 400),
        ("garbage", "multipart/form-data", 400),
        ("garbage", "multipart/form-data; boundary=x", 400),
        ("%ff%fe=%ff", "application/x-www-form-urlencoded", 400),
        ("&&&;;;===", "application/x-www-form-urlencoded", 400),
    ],
)
def test_b21_a_body_that_is_no_form_is_refused_everywhere(
    web: Flask,
    runtime: Runtime,
    posts: list[str],
    browser: Callable[..., Browser],
    body: str,
    kind: str | None,
    status: int,
) -> None:
    admin = browser("admin")
    before = state(runtime.database)
    for path in posts:
        assert admin.client.post(path, data=body.encode(), content_type=kind).status_code == status, path
    assert state(runtime.database) == before


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_b21_a_compressed_body_is_not_unpacked(
    posts: list[str], browser: Callable[..., Browser], encoding: str
) -> None:
    admin = browser("admin")
    for path in posts:
        assert admin.send(path, {"a": "b"}, headers={"Content-Encoding": encoding}).status_code == 415, path


class Endless(io.RawIOBase):
    """A body that never ends, and counts what was read of it."""

    def __init__(self) -> None:
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        buffer[:] = b"a" * len(buffer)
        return len(buffer)


def test_b21_a_body_that_is_announced_too_large_is_not_read(posts: list[str], browser: Callable[..., Browser]) -> None:
    admin = browser("admin")
    for path in posts:
        body = Endless()
        answer = admin.client.post(
            path,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            environ_overrides={"wsgi.input": body, "CONTENT_LENGTH": str(10**9)},
        )
        assert (answer.status_code, body.taken) == (413, 0), path


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=aaaa"])
def test_b21_a_body_of_unknown_length_is_not_read(browser: Callable[..., Browser], kind: str) -> None:
    body = Endless()
    answer = browser("admin").client.post(
        "/users/invite",
        headers={"Content-Type": kind, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )
    assert (answer.status_code, body.taken) == (411, 0)


def test_b21_a_form_may_have_so_many_parts_and_no_files(web: Flask, browser: Callable[..., Browser]) -> None:
    admin = browser("admin")
    token = admin.token("/users")
    many: dict[str, Any] = {"csrf_token": token, **{f"f{n}": "x" for n in range(60)}}
    assert admin.send("/users/invite", many, content_type="multipart/form-data").status_code == 413
    one = {"csrf_token": token, "role": "viewer", "file": (io.BytesIO(b"x"), "x.txt")}
    assert admin.send("/users/invite", one).status_code == 400
    large = {"csrf_token": token, "role": "x" * (inputs.FORM_FIELD + 1)}
    assert admin.send("/users/invite", large, content_type="multipart/form-data").status_code == 413
    good = {"csrf_token": token, "role": "viewer"}
    assert admin.send("/users/invite", good, content_type="multipart/form-data").status_code == 200


# Fields (B23, B24, B28) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["uid", "env", "state", "owner", "command", "user_id", "_method", "__class__", "csrf_token.x"]
)
def test_b23_a_field_that_the_form_does_not_have_is_refused_and_named(
    runtime: Runtime, posts: list[str], browser: Callable[..., Browser], name: str
) -> None:
    admin = browser("admin")
    token = admin.token("/account")
    before = state(runtime.database)
    for path in posts:
        if path != "/jobs/new":  # its fields depend on the method; the page's own tests have them
            answer = admin.send(path, {"csrf_token": token, name: "x"})
            assert (answer.status_code, name in answer.text) == (400, True), path
    assert state(runtime.database) == before


def test_b24_a_value_given_twice_is_refused(web: Flask, browser: Callable[..., Browser]) -> None:
    admin = browser("admin")
    token = admin.token("/account")
    assert admin.send("/users/1/role", {"csrf_token": token, "role": ["viewer", "admin"]}).status_code == 400
    assert admin.send("/users/1/role", {"csrf_token": [token, token], "role": "admin"}).status_code == 400
    for place in places(web, furnish(web), "GET"):
        assert admin.get(f"{place.path}?status=failed&status=running").status_code in (400, 404), place.label


QUERIES = [
    "before=0", "before=-1", "before=1e9", "before=abc", "before=" + "9" * 30, "before=%00", "before=%D9%A1",
    "after=-5", "limit=100000", "page=-1", "sort=password_hash", "status=x", "status=", "status=%00",
    "q=" + "x" * 9000,
    "refresh=-1", "refresh=abc", "refresh=1e99", "attempt=-1", "attempt=x", "from=-1", "from=" + "9" * 30, "upto=x",
    "target=os.system", "target=..", "raw=2", "next=//x", "order=1;drop", "%00=1", "a" * 3000 + "=1",
]  # fmt: skip


def test_b24_strange_addresses_are_refused_or_passed_over_and_never_a_fault(
    web: Flask, browser: Callable[..., Browser]
) -> None:
    admin = browser("admin")
    for place in places(web, furnish(web), "GET"):
        for query in QUERIES:
            status = admin.get(f"{place.path}?{query}").status_code
            assert status < 500 or place.path == "/health/ready", (place.label, query, status)


@pytest.mark.parametrize(
    "row",
    [
        "0",
        "-1",
        "01",
        "1.0",
        "1e3",
        "0x1",
        "%00",
        "1%00",
        "../x",
        "..%2f1",
        "%D9%A1",
        "1 OR 1=1",
        "9" * 18,
        "9" * 19,
        "9" * 300,
    ],
)
def test_b26_what_is_no_number_of_a_row_is_not_found(browser: Callable[..., Browser], row: str) -> None:
    admin = browser("admin")
    for path in (
        "/jobs/{}",
        "/jobs/{}/log",
        "/jobs/{}/log/tail",
        "/jobs/{}/log/download",
        "/jobs/{}/cancel",
        "/users/{}",
    ):
        assert admin.get(path.format(row)).status_code == 404, path
    token = admin.token("/account")
    for path in ("/jobs/{}/cancel", "/jobs/{}/retry", "/jobs/{}/delete", "/users/{}/disable", "/users/{}/enable"):
        assert admin.send(path.format(row), {"csrf_token": token}).status_code == 404, path


def test_x39_sql_in_every_field_is_only_text(web: Flask, runtime: Runtime, browser: Callable[..., Browser]) -> None:
    values = furnish(web)
    admin = browser("admin")
    before = state(runtime.database)
    for text in SQL:
        token = admin.token("/account")
        for name in ("status", "before", "after", "target", "attempt", "from", "next"):
            for path in ("/jobs", "/jobs/new", f"/jobs/{values['job_id']}/log", "/login"):
                assert admin.get(path, query_string={name: text}).status_code < 500
        for path, fields in (
            ("/users/1/role", {"role": text}),
            ("/users/invite", {"role": text}),
            ("/account/logins/end", {"key": text}),
            ("/account/password", {"old": text, "new": text, "again": text}),
        ):
            assert admin.send(path, {"csrf_token": token, **fields}).status_code in (303, 409, 422, 429), (path, text)
    after = state(runtime.database)
    assert {name: rows for name, rows in after.items() if name != "bgapp_throttle"} == {
        name: rows for name, rows in before.items() if name != "bgapp_throttle"
    }


def test_x46_text_from_a_request_is_never_a_template(web: Flask, browser: Callable[..., Browser]) -> None:
    nobody = browser()
    answer = nobody.sign_in("{{7*7}}{% raw %}${7*7}{0.__class__}", "x" * 12)
    assert "{{7*7}}{% raw %}${7*7}{0.__class__}" in answer.text
    assert "49" not in re.sub(r"<svg.*?</svg>|value=\"[^\"{]*\"", "", answer.text)


# Hosts (X37) and debug mode (X38) -------------------------------------------------------------------------------------


def test_x37_another_host_name_gets_nothing_where_the_hosts_are_named(web: Flask) -> None:
    web.config["TRUSTED_HOSTS"] = ["localhost", ".example.com"]
    client = signed_in(web, "admin").client
    assert client.get("/jobs").status_code == 200
    for path in ("/jobs", "/login", "/none"):
        answer = client.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 400
        assert "evil" not in answer.text
        assert answer.headers["X-Frame-Options"] == "DENY"


def test_x37_no_address_is_taken_from_the_host_header(browser: Callable[..., Browser]) -> None:
    nobody = browser()
    answer = nobody.client.get("/jobs", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert answer.headers["Location"] == "/login?next=/jobs"
    answer = nobody.client.get("/login", headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"})
    assert "evil" not in answer.text
    assert "Secure" not in answer.headers["Set-Cookie"], "no header makes https of http"


def serve_in_debug(app: Flask, host: str | None) -> None:
    """Call `start` as `flask run --debug` does in the process that serves."""
    app.debug = True
    command = click.Command("run", params=[click.Option(["--host"]), click.Option(["--reload/--no-reload"])])
    parent = click.Context(click.Group("flask"))
    with click.Context(command, info_name="run", parent=parent) as context:
        context.params = {"host": host, "reload": True}  # and WERKZEUG_RUN_MAIN is not set: nothing starts
        start(app)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])  # noqa: S104 # refused
def test_x38_the_debugger_is_not_served_to_the_network(make_web: Callable[..., Flask], host: str) -> None:
    with pytest.raises(ConfigurationError, match="debug mode"):
        serve_in_debug(make_web(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_x38_the_debugger_may_be_served_to_this_machine(make_web: Callable[..., Flask], host: str) -> None:
    serve_in_debug(make_web(), host)


# The secret key (B35, X54) ------------------------------------------------------------------------------------------


def key_of(app: Flask) -> str:
    """Have an application make or read its key, as a first request does."""
    Browser(app).get("/health/live")
    assert isinstance(app.secret_key, str)
    return app.secret_key


def test_b35_the_key_is_made_on_first_use_for_its_owner_alone(make_web: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_web()
    file = tmp_path / "instance" / "secret_key"
    assert not file.exists(), "a command makes none"
    old = os.umask(0)
    try:
        key = key_of(app)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() == key
    assert len(key) >= 43
    assert key_of(make_web()) == key, "the next start has the same"


def test_b35_many_processes_make_one_key(tmp_path: Path) -> None:
    made: list[str] = []
    gate = threading.Barrier(16)

    def make() -> None:
        gate.wait()
        made.append(secretkey.load_or_make(tmp_path))

    makers = [threading.Thread(target=make) for _ in range(16)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(made) == 16
    assert len(set(made)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret_key", "secret_key.lock"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "dev",
        "change-me-change-me-change-me-change-me",
        "a" * 64,
        "0123456789" * 3,
        "your-secret-key-goes-here-please",
    ],
)
def test_b35_a_key_that_can_be_guessed_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="give a random one"):
        secretkey.refuse_weak(key, "the test")
    instance = tmp_path / "weak"
    instance.mkdir(mode=0o700)
    file = instance / "secret_key"
    file.write_text(key)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="secret_key"):
        create_app({"BGAPP_INSTANCE": str(instance)})


def test_b35_a_weak_key_of_the_applications_own_is_refused_when_it_is_served(make_web: Callable[..., Flask]) -> None:
    app = make_web()
    app.config["SECRET_KEY"] = "dev"
    with pytest.raises(ConfigurationError, match="shorter than"):
        start(app)


def test_random_keys_are_not_refused() -> None:
    for _ in range(2000):
        secretkey.refuse_weak(secrets.token_urlsafe(32), "the test")
        secretkey.refuse_weak(secrets.token_hex(32), "the test")
        secretkey.refuse_weak(secrets.token_bytes(32), "the test")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_key_that_others_can_read_is_refused(make_web: Callable[..., Flask], tmp_path: Path) -> None:
    key_of(make_web())
    (tmp_path / "instance" / "secret_key").chmod(0o644)
    with pytest.raises(ConfigurationError, match="others can read"):
        make_web()


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_x10_a_planted_link_is_not_followed(make_web: Callable[..., Flask], tmp_path: Path) -> None:
    make_web()
    (tmp_path / "elsewhere").write_text("k" * 64)
    (tmp_path / "instance" / "secret_key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        make_web()


def test_x54_a_login_of_one_installation_is_nobodys_in_another(tmp_path: Path, tables: Path, make_web: Any) -> None:
    import shutil

    from bgapp.runtime import of

    here = signed_in(make_web(), "admin")
    there = tmp_path / "other"
    there.mkdir(mode=0o700)
    shutil.copy(tables, there / "bgapp.sqlite")
    other = create_app({"BGAPP_INSTANCE": str(there)})
    try:
        stranger = Browser(other)
        stranger.keep(here.cookie() or "")
        assert stranger.get("/jobs").status_code == 303
    finally:
        of(other).database.dispose()
        of(other).events.close()
