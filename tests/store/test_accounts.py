from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from bgapp import accounts, invitations, logins, schema
from bgapp.accountmodels import AccountRefused, Role, UnknownUser
from bgapp.accounts import USERS, User
from bgapp.database import Database
from bgapp.invitations import INVITATIONS, LASTS, SETUP_LASTS
from bgapp.models import Base
from tests.factories import NOW, SECOND

TABLES = ("bgapp_logins", "bgapp_invitations", "bgapp_throttle", "bgapp_users")
HASH = "scrypt:32768:8:3$salt$hash"


def add(database: Database, name: str = "ann", role: str = "viewer", password_hash: str | None = HASH) -> User:
    with database.write() as connection:
        return accounts.create_user(connection, name, role, NOW, password_hash)


def change(database: Database, action: Callable[[Connection], Any]) -> Any:
    with database.write() as connection:
        return action(connection)


def look(database: Database, action: Callable[[Connection], Any]) -> Any:
    with database.read() as connection:
        return action(connection)


def refusal(database: Database, action: Callable[[Connection], Any]) -> AccountRefused:
    with pytest.raises(AccountRefused) as caught, database.write() as connection:
        action(connection)
    return caught.value


# Tables --------------------------------------------------------------------------------------------------------------


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def is_of_accounts(_: object, name: str | None, kind: str, *__: object) -> bool:
        return kind != "table" or name in TABLES

    options = {"compare_type": True, "compare_server_default": True, "include_object": is_of_accounts}
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        assert set(TABLES) <= set(inspect(connection).get_table_names())


def test_the_database_itself_refuses_other_roles(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(USERS).values(name="ann", name_key="ann", role="root", created_at=NOW))


def test_an_older_database_is_upgraded_and_keeps_its_jobs(database: Database) -> None:
    with database.write() as connection:
        for table in TABLES:
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0001'"))
    schema.upgrade(database)
    assert schema.version(database) == schema.HEAD
    assert add(database).name == "ann"


# Names ---------------------------------------------------------------------------------------------------------------


def test_a_new_user_is_found_by_any_spelling_of_the_name(database: Database) -> None:
    user = add(database, "  Änn Straße ", "operator")
    assert (user.name, user.role, user.has_password) == ("Änn Straße", Role.OPERATOR, True)
    assert (user.created_at, user.disabled_at, user.last_seen_at, user.epoch) == (NOW, None, None, 0)
    decomposed = unicodedata.normalize("NFD", "änn strasse")
    with database.read() as connection:
        for spelling in ("Änn Straße", "änn strasse", " ÄNN STRASSE ", decomposed, "änn straße"):
            assert accounts.find(connection, spelling) == user
        assert accounts.get(connection, user.id) == user


def test_names_that_mean_the_same_are_one_name(database: Database) -> None:
    add(database, "Ann.Lee")
    for again in ("ann.lee", "ANN.LEE", "ann.lee ", "ａｎｎ.lee", "ann．lee"):
        with pytest.raises(AccountRefused, match="already") as caught:
            add(database, again)
        assert caught.value.field == "name"
    assert len(look(database, accounts.list_users)) == 1


@pytest.mark.parametrize("name", ["abc", "a.b-c_d@example.org", "Zoë 2", "李小龙", "राम शर्मा", "x" * 64, "0ab"])
def test_names_of_people_are_accepted(name: str) -> None:
    assert accounts.checked_name(name) == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize(
    "name",
    [
        "", "   ", "ab", "x" * 65, "a" * 100_000, "an\0n", "an\nn", "an\u202en", "an\u200bn", "an\u2028n", "<b>ann</b>",
        "ann;drop", "ann|bob", "ann/..", "a  b", ".ann", "ann.", "-ann", "@ann", "an\ud800n", "😀😀😀", "\u0301ann",
        "\ufdfa" * 20,
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_in_words(name: str) -> None:
    with pytest.raises(AccountRefused, match="name") as caught:
        accounts.checked_name(name)
    assert caught.value.field == "name"
    assert len(str(caught.value)) < 300


def test_nobody_is_found_by_what_is_no_name_or_id(database: Database) -> None:
    add(database)
    with database.read() as connection:
        for name in ("", "an\0n", "an\ud800n", "x" * 100_000, "' OR 1=1 --"):
            assert accounts.find(connection, name) is None
            with pytest.raises(UnknownUser) as caught:
                accounts.required(connection, name)
            assert len(str(caught.value)) < 200
        for user_id in (0, -1, 7, 10**30):
            assert accounts.get(connection, user_id) is None


def test_users_are_listed_by_name(database: Database) -> None:
    assert look(database, accounts.list_users) == []
    assert not look(database, accounts.has_users)
    for name in ("Zoe", "ann", "Bob"):
        add(database, name)
    assert [user.name for user in look(database, accounts.list_users)] == ["ann", "Bob", "Zoe"]
    assert look(database, accounts.has_users)


# Changes -------------------------------------------------------------------------------------------------------------


def signed_in(database: Database, user: User) -> str:
    login_id: str = change(database, lambda connection: logins.open_login(connection, user, "::1", "test", NOW))
    return login_id


@pytest.mark.parametrize(
    "action",
    [
        lambda connection, user_id: accounts.set_role(connection, user_id, "viewer"),
        lambda connection, user_id: accounts.set_password(connection, user_id, "another"),
        lambda connection, user_id: accounts.disable(connection, user_id, NOW),
    ],
)
def test_role_password_and_disabling_end_every_login(
    database: Database, action: Callable[[Connection, int], User]
) -> None:
    add(database, "root", "admin")
    user = add(database, "ann", "operator")
    other = signed_in(database, add(database, "bob"))
    login_ids = [signed_in(database, user) for _ in range(2)]
    changed = change(database, lambda connection: action(connection, user.id))
    assert changed.epoch == 1
    with database.read() as connection:
        assert [logins.look(connection, one, NOW) for one in login_ids] == [None, None]
        assert logins.look(connection, other, NOW) is not None


def test_the_same_role_again_ends_nothing(database: Database) -> None:
    user = add(database, "ann", "admin")
    login_id = signed_in(database, user)
    assert change(database, lambda connection: accounts.set_role(connection, user.id, "admin")).epoch == 0
    assert look(database, lambda connection: logins.look(connection, login_id, NOW)) is not None


def test_a_disabled_user_comes_back_without_the_old_logins(database: Database) -> None:
    user = add(database)
    login_id = signed_in(database, user)
    gone = change(database, lambda connection: accounts.disable(connection, user.id, NOW))
    assert gone.is_disabled
    assert gone.disabled_at == NOW
    again = change(database, lambda connection: accounts.disable(connection, user.id, NOW + SECOND))
    assert again == gone
    back = change(database, lambda connection: accounts.enable(connection, user.id))
    assert not back.is_disabled
    assert back.epoch == gone.epoch
    assert look(database, lambda connection: logins.look(connection, login_id, NOW)) is None


def test_a_rehash_keeps_logins_and_yields_to_a_change(database: Database) -> None:
    user = add(database, password_hash="old")
    change(database, lambda connection: accounts.rehash(connection, user.id, "old", "new"))
    assert look(database, lambda connection: accounts.stored_hash(connection, user.id)) == "new"
    change(database, lambda connection: accounts.rehash(connection, user.id, "old", "stale"))
    assert look(database, lambda connection: accounts.stored_hash(connection, user.id)) == "new"
    assert look(database, lambda connection: accounts.get(connection, user.id)).epoch == 0


def test_unknown_roles_are_refused(database: Database) -> None:
    user = add(database)
    for role in ("", "root", "Admin", "admin ", "viewer\0"):
        for action in (
            lambda connection, it=role: accounts.set_role(connection, user.id, it),
            lambda connection, it=role: accounts.create_user(connection, "bob", it, NOW),
            lambda connection, it=role: invitations.invite(connection, it, None, NOW),
        ):
            assert refusal(database, action).field == "role"


def test_changes_of_nobody_are_refused(database: Database) -> None:
    for action in (
        lambda connection: accounts.set_role(connection, 7, "viewer"),
        lambda connection: accounts.set_password(connection, 7, HASH),
        lambda connection: accounts.disable(connection, 7, NOW),
        lambda connection: accounts.enable(connection, 7),
    ):
        assert isinstance(refusal(database, action), UnknownUser)


# The last admin ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        lambda connection, user_id: accounts.set_role(connection, user_id, "operator"),
        lambda connection, user_id: accounts.disable(connection, user_id, NOW),
    ],
)
def test_the_last_admin_who_can_log_in_stays(database: Database, action: Callable[[Connection, int], User]) -> None:
    root = add(database, "root", "admin")
    add(database, "helper", "operator")
    add(database, "unset", "admin", password_hash=None)
    gone = add(database, "gone", "admin")
    change(database, lambda connection: accounts.disable(connection, gone.id, NOW))
    found = refusal(database, lambda connection: action(connection, root.id))
    assert found.field is None
    assert "last admin" in str(found)
    assert look(database, lambda connection: accounts.get(connection, root.id)) == root
    change(database, lambda connection: accounts.enable(connection, gone.id))
    assert change(database, lambda connection: action(connection, root.id)).epoch == 1
    assert look(database, accounts.count_admins) == 1


def test_two_admins_who_lower_each_other_at_once_do_not_both_succeed(database: Database) -> None:
    users = [add(database, name, "admin") for name in ("ann", "bob")]
    ready, outcomes = threading.Barrier(2), []

    def lower(user: User) -> None:
        ready.wait()
        try:
            change(database, lambda connection: accounts.set_role(connection, user.id, "viewer"))
            outcomes.append("lowered")
        except AccountRefused:
            outcomes.append("refused")

    threads = [threading.Thread(target=lower, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lowered", "refused"]
    assert look(database, accounts.count_admins) == 1


# Invitations ---------------------------------------------------------------------------------------------------------


def invite(database: Database, role: str = "operator", by: int | None = None) -> str:
    code: str = change(database, lambda connection: invitations.invite(connection, role, by, NOW))
    return code


def accept(database: Database, code: str, name: str = "ann", at: Any = NOW, *, setup: bool = False) -> User:
    with database.write() as connection:
        return invitations.accept(connection, code, name, HASH, at, setup=setup)


def test_an_invitation_makes_one_account_of_its_role(database: Database) -> None:
    root = add(database, "root", "admin")
    code = invite(database, "operator", root.id)
    (listed,) = look(database, lambda connection: invitations.list_open(connection, NOW))
    assert (listed.role, listed.created_by, listed.expires_at, listed.is_setup) == (
        "operator",
        root.id,
        NOW + LASTS,
        False,
    )
    assert look(database, lambda connection: invitations.look(connection, code, NOW)) == listed
    assert accept(database, code).role is Role.OPERATOR
    with pytest.raises(AccountRefused) as caught:
        accept(database, code, "bob")
    assert caught.value.field == "code"
    assert look(database, lambda connection: invitations.list_open(connection, NOW)) == []


def test_a_taken_name_leaves_the_invitation_usable(database: Database) -> None:
    add(database, "ann")
    code = invite(database)
    with pytest.raises(AccountRefused) as caught:
        accept(database, code, "ANN")
    assert caught.value.field == "name"
    assert accept(database, code, "bob").name == "bob"


def test_a_wrong_code_is_refused(database: Database) -> None:
    invite(database)
    setup_code(database)
    for code in ("", "x", "x" * 100_000, "\0", "\ud800", "' OR 1=1 --"):
        for setup in (False, True):
            with database.read() as connection:
                assert invitations.look(connection, code, NOW, setup=setup) is None
            with pytest.raises(AccountRefused):
                accept(database, code, setup=setup)
    assert not look(database, accounts.has_users)


def test_an_invitation_ends_after_three_days_or_when_withdrawn(database: Database) -> None:
    old, withdrawn = invite(database), invite(database)
    with pytest.raises(AccountRefused):
        accept(database, old, at=NOW + LASTS)
    newest, _ = look(database, lambda connection: invitations.list_open(connection, NOW))
    assert change(database, lambda connection: invitations.withdraw(connection, newest.id))
    assert not change(database, lambda connection: invitations.withdraw(connection, newest.id))
    with pytest.raises(AccountRefused):
        accept(database, withdrawn)
    assert accept(database, old, at=NOW + LASTS - SECOND).name == "ann"
    assert timedelta(hours=72) == LASTS


def test_neither_codes_nor_login_ids_stand_in_the_database(database: Database) -> None:
    setup = change(database, lambda connection: invitations.setup_code(connection, NOW))
    code, login_id = invite(database), signed_in(database, add(database))
    with database.read() as connection:
        stored = [repr(row) for table in Base.metadata.sorted_tables for row in connection.execute(select(table))]
    for secret in (setup, setup.replace("-", ""), code, login_id):
        assert len(secret) >= 25
        assert not any(secret in row for row in stored)


# Set-up --------------------------------------------------------------------------------------------------------------


def setup_code(database: Database) -> str | None:
    code: str | None = change(database, lambda connection: invitations.setup_code(connection, NOW))
    return code


def test_any_of_several_setup_codes_makes_the_first_admin_and_then_none_works(database: Database) -> None:
    codes = [setup_code(database) for _ in range(3)]
    assert all(codes)
    assert len(set(codes)) == 3
    typed = f" {codes[1]} ".lower().replace("-", " ")
    assert accept(database, typed, setup=True).role is Role.ADMIN
    for code in codes:
        assert code is not None
        with pytest.raises(AccountRefused):
            accept(database, code, "bob", setup=True)
    assert setup_code(database) is None
    assert look(database, lambda connection: connection.execute(select(INVITATIONS)).all()) == []


def test_a_setup_code_is_void_once_a_command_made_a_user(database: Database) -> None:
    code = setup_code(database)
    assert code is not None
    add(database)
    assert look(database, lambda connection: invitations.look(connection, code, NOW, setup=True)) is None
    with pytest.raises(AccountRefused):
        accept(database, code, "bob", setup=True)


def test_a_setup_code_ends_after_a_day(database: Database) -> None:
    code = setup_code(database)
    assert code is not None
    with pytest.raises(AccountRefused):
        accept(database, code, at=NOW + SETUP_LASTS, setup=True)
    assert accept(database, code, at=NOW + SETUP_LASTS - SECOND, setup=True).name == "ann"


def test_setup_codes_and_invitations_do_not_stand_for_each_other(database: Database) -> None:
    setup, code = setup_code(database), invite(database, "viewer")
    assert setup is not None
    for text_, as_setup in ((setup, False), (setup.replace("-", ""), False), (code, True)):
        with pytest.raises(AccountRefused):
            accept(database, text_, setup=as_setup)
    assert [one.is_setup for one in look(database, lambda it: invitations.list_open(it, NOW))] == [False]


def test_of_two_people_with_two_setup_codes_one_becomes_admin(database: Database) -> None:
    codes = [setup_code(database), setup_code(database)]
    ready, outcomes = threading.Barrier(2), []

    def use(number: int) -> None:
        ready.wait()
        try:
            accept(database, codes[number] or "", f"person {number}", setup=True)
            outcomes.append("made")
        except AccountRefused:
            outcomes.append("refused")

    threads = [threading.Thread(target=use, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", "refused"]
    assert len(look(database, accounts.list_users)) == 1
