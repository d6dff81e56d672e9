from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from bgapp import accounts, invitations, passwords, throttle
from bgapp.accounts import User
from bgapp.cli.users import users as users_group
from tests.commands.conftest import Flask, Start
from tests.site import Site
from tests.waiting import wait_for

PASSWORD = "violet harbour 73 lamps"
OTHER = "quiet river 12 stones"

Users = Callable[..., Result]


@pytest.fixture
def users(site: Site, monkeypatch: pytest.MonkeyPatch) -> Users:
    """Give a command in this process; hashes are marked texts, real ones are slow and tested elsewhere."""
    monkeypatch.setattr(passwords, "hashed", lambda password: f"hash of {password}")

    def run(*words: str, typed: str | bytes = "") -> Result:
        return site.app.test_cli_runner().invoke(args=["users", *words], input=typed)

    return run


def find(site: Site, name: str) -> User | None:
    with site.runtime.database.read() as connection:
        return accounts.find(connection, name)


def stored(site: Site, name: str) -> str | None:
    user = find(site, name)
    assert user is not None
    with site.runtime.database.read() as connection:
        return accounts.stored_hash(connection, user.id)


def listed(users: Users) -> list[Any]:
    result = users("list", "--json")
    assert result.exit_code == 0
    found: list[Any] = json.loads(result.stdout)
    return found


def test_a_user_is_made_with_the_password_from_standard_input(site: Site, users: Users) -> None:
    result = users("create", "Ann Lee", "--role", "admin", typed=PASSWORD + "\nmore\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Ann Lee may log in, as admin\n", "")
    assert stored(site, "ann lee") == f"hash of {PASSWORD}"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [(b"  two spaces around  ", "  two spaces around  "), (b"ends the Windows way\r\n", "ends the Windows way")],
)
def test_the_password_is_taken_as_it_is_given(site: Site, users: Users, typed: bytes, kept: str) -> None:
    assert users("create", "ann", "--role", "viewer", typed=typed).exit_code == 0
    assert stored(site, "ann") == f"hash of {kept}"


def test_a_first_user_who_is_no_admin_is_told_of(users: Users) -> None:
    assert "no admin yet" in users("create", "ann", "--role", "viewer", typed=PASSWORD).stderr
    assert users("create", "root", "--role", "admin", typed=PASSWORD).stderr == ""


@pytest.mark.parametrize(
    ("words", "typed", "told"),
    [
        (["create", "an", "--role", "admin"], PASSWORD, "3 to 64 characters"),
        (["create", "<b>ann</b>", "--role", "admin"], PASSWORD, "letters, digits"),
        (["create", "ann", "--role", "root"], PASSWORD, "viewer"),
        (["create", "ann"], PASSWORD, "--role"),
        (["create", "ann", "--role", "admin"], "", "no password"),
        (["create", "ann", "--role", "admin"], "\n", "no password"),
        (["create", "ann", "--role", "admin"], "short", "too short"),
        (["create", "ann", "--role", "admin"], "x7" * 5000, "too long"),
        (["create", "ann", "--role", "admin"], "password1234", "too easy"),
        (["create", "ann", "--role", "admin"], b"\xff" * 20, "UTF-8"),
        (["create", "ann", "--role", "admin", "--password", "x"], PASSWORD, "No such option"),
        (["create", "BOB", "--role", "admin"], PASSWORD, "already"),
        (["passwd", "bob"], "short", "too short"),
        (["role", "bob", "root"], "", "viewer"),
        (["invite", "--role", "root"], "", "viewer"),
    ],
)
def test_bad_values_are_refused_and_change_nothing(
    users: Users, words: list[str], typed: str | bytes, told: str
) -> None:
    assert users("create", "bob", "--role", "admin", typed=PASSWORD).exit_code == 0
    before = listed(users)
    result = users(*words, typed=typed)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert PASSWORD not in result.output
    assert listed(users) == before


@pytest.mark.parametrize("words", [["passwd"], ["disable"], ["enable"]])
@pytest.mark.parametrize("name", ["nobody", "", "an\nn", "x" * 500])
def test_an_unknown_name_is_told(users: Users, words: list[str], name: str) -> None:
    result = users(*words, name, typed=PASSWORD)
    assert result.exit_code == 1
    assert "there is no user" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_list_shows_everyone_and_their_state(site: Site, users: Users) -> None:
    assert "create NAME --role admin" in users("list").stdout
    users("create", "root", "--role", "admin", typed=PASSWORD)
    users("create", "Ann", "--role", "viewer", typed=PASSWORD)
    users("disable", "ann")
    assert [line.split()[:3] for line in users("list").stdout.splitlines()] == [
        ["NAME", "ROLE", "STATE"],
        ["Ann", "viewer", "disabled"],
        ["root", "admin", "active"],
    ]
    ann, root = listed(users)
    assert list(ann) == ["id", "name", "role", "state", "created_at", "disabled_at", "last_seen_at"]
    assert (ann["name"], ann["role"], ann["state"], ann["last_seen_at"]) == ("Ann", "viewer", "disabled", None)
    assert ann["disabled_at"].endswith("Z")
    assert root["disabled_at"] is None
    assert "hash" not in users("list", "--json").stdout


def test_a_new_password_ends_logins_and_what_was_held_against_the_name(site: Site, users: Users) -> None:
    users("create", "ann", "--role", "admin", typed=PASSWORD)
    database = site.runtime.database
    with database.write() as connection:
        now = database.clock(connection)
        for number in range(20):
            throttle.begin(connection, f"192.0.2.{number}", now, "ann")
    assert users("passwd", "ANN", typed=OTHER).exit_code == 0
    user = find(site, "ann")
    assert user is not None
    assert user.epoch == 1
    assert stored(site, "ann") == f"hash of {OTHER}"
    with database.read() as connection:
        assert throttle.check(connection, "198.51.100.1", now, "ann") == 0.0


def test_roles_change_and_users_are_shut_out_and_let_in(site: Site, users: Users) -> None:
    users("create", "root", "--role", "admin", typed=PASSWORD)
    users("create", "ann", "--role", "viewer", typed=PASSWORD)
    assert users("role", "ann", "operator").stdout == "ann is operator\n"
    assert users("disable", "ann").stdout == "ann is disabled\n"
    assert [one["state"] for one in listed(users)] == ["disabled", "active"]
    assert users("enable", "ann").stdout == "ann may log in again\n"
    assert [(one["role"], one["state"]) for one in listed(users)] == [("operator", "active"), ("admin", "active")]


@pytest.mark.parametrize("words", [["role", "root", "viewer"], ["disable", "root"]])
def test_the_last_admin_stays(users: Users, words: list[str]) -> None:
    users("create", "root", "--role", "admin", typed=PASSWORD)
    result = users(*words)
    assert result.exit_code == 1
    assert "last admin" in result.stderr
    assert [(one["role"], one["state"]) for one in listed(users)] == [("admin", "active")]


def test_an_invitation_prints_its_path_alone(site: Site, users: Users) -> None:
    result = users("invite", "--role", "operator")
    assert result.exit_code == 0
    assert "operator" in result.stderr
    assert "UTC" in result.stderr
    path, code = result.stdout.strip().rsplit("/", 1)
    assert path == "/invitation"
    with site.runtime.database.write() as connection:
        now = site.runtime.database.clock(connection)
        assert invitations.accept(connection, code, "ann", "hash", now).role == "operator"


def test_every_command_explains_itself(users: Users) -> None:
    for name in users_group.commands:
        result = users(name, "--help")
        assert result.exit_code == 0
        assert "Usage:" in result.stdout


# As a person types it ------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_password_is_asked_for_twice_and_not_shown(site: Site, start: Start) -> None:
    terminal, theirs = pytest.importorskip("pty").openpty()
    process = start("users", "create", "ann", "--role", "admin", stdin=theirs, stdout=theirs, stderr=theirs,
                    start_new_session=True)  # fmt: skip
    os.close(theirs)
    shown = b""

    def reads(text: bytes) -> Callable[[], bool]:
        def more() -> bool:
            nonlocal shown
            if text not in shown:
                shown += os.read(terminal, 4096)
            return text in shown

        return more

    for prompt in (b"Password: ", b"again: "):
        wait_for(reads(prompt), prompt.decode())
        os.write(terminal, PASSWORD.encode() + b"\n")
    wait_for(reads(b"may log in"), "the end")
    assert process.wait() == 0
    os.close(terminal)
    assert PASSWORD.encode() not in shown
    hashed = stored(site, "ann")
    assert hashed is not None
    assert passwords.matches(hashed, PASSWORD)


@pytest.mark.process
def test_the_command_works_in_a_process_of_its_own(site: Site, flask: Flask) -> None:
    done = flask("users", "create", "änn", "--role", "viewer", stdin=None, input=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "änn may log in, as viewer\n"
