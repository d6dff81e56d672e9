from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from bgapp import accounts, logins, passwords, signin, throttle
from bgapp.accountmodels import AccountRefused
from bgapp.accounts import LOGINS, USERS, User
from bgapp.database import Database
from bgapp.logins import IDLE, LONGEST, SEEN_STEP, Login
from bgapp.signin import Denied, SignedIn
from tests.factories import NOW, SECOND

PASSWORD = "violet harbour 73 lamps"
OTHER = "quiet river 12 stones"
CHEAPER = "scrypt:1024:8:1"  # a hash of another cost, as an older release may have made


@pytest.fixture(scope="session")
def password_hash() -> str:
    return passwords.hashed(PASSWORD)


@pytest.fixture
def ann(database: Database, password_hash: str) -> User:
    with database.write() as connection:
        return accounts.create_user(connection, "Ann", "operator", NOW, password_hash)


def begin(database: Database, user: User, at: Any = NOW, address: str | None = "192.0.2.1") -> str:
    with database.write() as connection:
        return logins.open_login(connection, user, address, "Firefox", at)


def look(database: Database, login_id: str, at: Any = NOW) -> Login | None:
    with database.read() as connection:
        return logins.look(connection, login_id, at)


def change(database: Database, action: Callable[[Connection], Any]) -> Any:
    with database.write() as connection:
        return action(connection)


# Logins --------------------------------------------------------------------------------------------------------------


def test_a_login_is_known_by_its_id_alone(database: Database, ann: User) -> None:
    login_id = begin(database, ann)
    login = look(database, login_id)
    assert login is not None
    assert (login.user.name, login.address, login.agent) == ("Ann", "192.0.2.1", "Firefox")
    assert (login.created_at, login.seen_at, login.expires_at) == (NOW, NOW, NOW + LONGEST)
    assert login.user.last_seen_at == NOW
    assert begin(database, ann) != login_id
    for wrong in ("", login_id[:-1], login_id + "x", login_id.swapcase(), login.key, "x" * 100_000, "\0", "\ud800"):
        assert look(database, wrong) is None


def test_a_login_that_is_not_used_ends_after_half_an_hour(database: Database, ann: User) -> None:
    login_id = begin(database, ann)
    assert look(database, login_id, NOW + IDLE - SECOND) is not None
    assert look(database, login_id, NOW + IDLE) is None
    change(database, lambda connection: logins.touch(connection, login_id, NOW + IDLE - SECOND))
    assert look(database, login_id, NOW + IDLE) is not None
    assert timedelta(minutes=30) == IDLE


def test_no_use_keeps_a_login_beyond_twelve_hours(database: Database, ann: User) -> None:
    login_id = begin(database, ann)
    change(database, lambda connection: logins.touch(connection, login_id, NOW + LONGEST - SECOND))
    assert look(database, login_id, NOW + LONGEST - SECOND) is not None
    assert look(database, login_id, NOW + LONGEST) is None
    assert timedelta(hours=12) == LONGEST


def test_a_use_is_noted_once_a_minute_and_not_for_what_pages_ask_by_themselves(database: Database, ann: User) -> None:
    def back(by: timedelta) -> None:
        change(database, lambda connection: connection.execute(update(LOGINS).values(seen_at=now - by)))

    def seen() -> Any:
        with database.read() as connection:
            return connection.execute(select(LOGINS.c.seen_at)).scalar_one()

    with database.read() as connection:
        now = database.clock(connection)
    login_id = begin(database, ann, now)
    back(SEEN_STEP / 4)
    assert logins.load(database, login_id) is not None
    assert seen() == now - SEEN_STEP / 4
    back(2 * SEEN_STEP)
    assert logins.load(database, login_id, is_activity=False) is not None
    assert seen() == now - 2 * SEEN_STEP
    assert logins.load(database, login_id) is not None
    assert seen() >= now
    with database.read() as connection:
        user = accounts.get(connection, ann.id)
    assert user is not None
    assert user.last_seen_at is not None
    assert user.last_seen_at >= now


def test_a_login_ends_by_id_by_key_or_with_all_others(database: Database, ann: User) -> None:
    with database.write() as connection:
        bob = accounts.create_user(connection, "Bob", "viewer", NOW)
    ids = [begin(database, ann) for _ in range(4)]
    bobs = begin(database, bob)
    change(database, lambda connection: logins.close(connection, ids[0]))
    assert [look(database, one) is None for one in ids] == [True, False, False, False]
    login = look(database, ids[1])
    assert login is not None
    assert not change(database, lambda connection: logins.close_key(connection, bob.id, login.key))
    assert change(database, lambda connection: logins.close_key(connection, ann.id, login.key))
    assert look(database, ids[1]) is None
    assert change(database, lambda connection: logins.close_all(connection, ann.id, but=ids[2])) == 1
    assert look(database, ids[3]) is None
    assert look(database, ids[2]) is not None
    assert change(database, lambda connection: logins.close_all(connection, ann.id)) == 1
    assert look(database, ids[2]) is None
    assert look(database, bobs) is not None


def test_a_users_living_logins_are_listed_the_last_used_first(database: Database, ann: User) -> None:
    ids = [begin(database, ann, NOW + step * SECOND, f"192.0.2.{step}") for step in range(3)]
    change(database, lambda connection: logins.touch(connection, ids[0], NOW + 9 * SECOND))
    with database.read() as connection:
        found = logins.list_logins(connection, ann.id, NOW + 10 * SECOND)
        assert [one.address for one in found] == ["192.0.2.0", "192.0.2.2", "192.0.2.1"]
        assert len({one.key for one in found}) == 3
        assert not {one.key for one in found} & set(ids)
        assert logins.list_logins(connection, ann.id, NOW + LONGEST) == []


def test_dead_logins_are_cleared_away_by_the_next_one(database: Database, ann: User) -> None:
    for step in range(3):
        begin(database, ann, NOW + step * SECOND)
    begin(database, ann, NOW + IDLE + SECOND)
    with database.read() as connection:
        assert len(connection.execute(select(LOGINS)).all()) == 2


def test_what_a_browser_says_of_itself_is_kept_short_and_visible(database: Database, ann: User) -> None:
    with database.write() as connection:
        login_id = logins.open_login(connection, ann, "x" * 500, "A\0\x1b[31m\u202e\ud800\n<b>" + "y" * 9999, NOW)
        nothing = logins.open_login(connection, ann, None, None, NOW)
    login, other = look(database, login_id), look(database, nothing)
    assert login is not None
    assert other is not None
    assert login.address == "x" * 64
    assert len(login.agent) == 200
    assert login.agent.startswith("A??[31m???<b>yy")
    assert (other.address, other.agent) == ("", "")


def test_logins_go_with_their_user(database: Database, ann: User) -> None:
    login_id = begin(database, ann)
    change(database, lambda connection: connection.execute(delete(USERS).where(USERS.c.id == ann.id)))
    assert look(database, login_id) is None
    with database.read() as connection:
        assert connection.execute(select(LOGINS)).all() == []


# Signing in ----------------------------------------------------------------------------------------------------------


def sign_in(database: Database, name: str, password: str, address: str = "192.0.2.1") -> SignedIn | Denied:
    return signin.sign_in(database, name, password, address, "Firefox")


def login_of(database: Database, found: SignedIn | Denied) -> Login:
    assert isinstance(found, SignedIn)
    login = logins.load(database, found.login_id)
    assert login is not None
    return login


def test_the_right_password_opens_a_login(database: Database, ann: User) -> None:
    login = login_of(database, sign_in(database, " aNN", PASSWORD))
    assert (login.user.id, login.address) == (ann.id, "192.0.2.1")


def test_unknown_disabled_and_passwordless_names_are_denied_as_a_wrong_password_is(
    database: Database, ann: User, password_hash: str
) -> None:
    with database.write() as connection:
        accounts.create_user(connection, "fresh", "viewer", NOW)
        gone = accounts.create_user(connection, "gone", "viewer", NOW, password_hash)
        accounts.disable(connection, gone.id, NOW)
    tries = [("Ann", PASSWORD + " "), ("nobody", PASSWORD), ("gone", PASSWORD), ("fresh", PASSWORD), ("Ann", "\ud800")]
    for number, (name, password) in enumerate(tries):
        assert sign_in(database, name, password, f"192.0.2.{number}") == Denied()
    with database.read() as connection:
        assert connection.execute(select(LOGINS)).all() == []


def test_a_try_too_many_is_not_looked_at_even_with_the_right_password(database: Database, ann: User) -> None:
    with database.write() as connection:
        while throttle.begin(connection, "192.0.2.1", database.clock(connection), "nobody") == 0.0:
            pass
    found = sign_in(database, "Ann", PASSWORD)
    assert isinstance(found, Denied)
    assert 0 < found.wait <= 1
    assert isinstance(sign_in(database, "Ann", PASSWORD, "192.0.2.2"), SignedIn)


def test_a_hash_of_another_cost_is_renewed_and_the_login_lives(database: Database) -> None:
    from werkzeug.security import generate_password_hash

    with database.write() as connection:
        old = generate_password_hash(PASSWORD, CHEAPER)
        user = accounts.create_user(connection, "Ann", "viewer", NOW, old)
    login_of(database, sign_in(database, "Ann", PASSWORD))
    with database.read() as connection:
        stored = accounts.stored_hash(connection, user.id)
    assert stored is not None
    assert stored.startswith("scrypt:32768:8:3$")
    login_of(database, sign_in(database, "Ann", PASSWORD))


def test_a_new_password_ends_every_login_and_begins_a_new_one(database: Database, ann: User) -> None:
    login = login_of(database, sign_in(database, "Ann", PASSWORD))
    login_of(database, sign_in(database, "Ann", PASSWORD))
    for new in ("short", PASSWORD[:5] * 3, "x" * 2000):
        with pytest.raises(AccountRefused):
            signin.change_password(database, login, PASSWORD, new, None, None)
    assert signin.change_password(database, login, "wrong", OTHER, None, None) == Denied()
    changed = login_of(database, signin.change_password(database, login, PASSWORD, OTHER, None, None))
    assert changed.key != login.key
    with database.read() as connection:
        now = database.clock(connection)
        assert [one.key for one in logins.list_logins(connection, ann.id, now)] == [changed.key]
    assert signin.change_password(database, login, OTHER, PASSWORD, None, None) == Denied()  # of a login that ended
    assert isinstance(sign_in(database, "Ann", OTHER), SignedIn)


def test_a_code_makes_an_account_that_is_signed_in(database: Database) -> None:
    from bgapp import invitations

    with database.write() as connection:
        code = invitations.setup_code(connection, database.clock(connection))
    assert code is not None
    for name, password, field in (("a", PASSWORD, "name"), ("root", "short", "password")):
        with pytest.raises(AccountRefused) as caught:
            signin.accept(database, code, name, password, "::1", None, setup=True)
        assert caught.value.field == field
    login = login_of(database, signin.accept(database, code, "root", PASSWORD, "::1", None, setup=True))
    assert (login.user.name, login.user.role) == ("root", "admin")
    for _ in range(5):
        with pytest.raises(AccountRefused):
            signin.accept(database, code, "bob", PASSWORD, "::1", None, setup=True)
    found = signin.accept(database, code, "bob", PASSWORD, "::1", None, setup=True)
    assert isinstance(found, Denied)
    assert found.wait > 0


def test_open_registration_makes_viewers_and_not_many(database: Database) -> None:
    login = login_of(database, signin.register(database, "visitor", PASSWORD, "192.0.2.9", None))
    assert login.user.role == "viewer"
    with pytest.raises(AccountRefused):
        signin.register(database, "Visitor", PASSWORD, "192.0.2.9", None)
    with database.write() as connection:
        tries = [throttle.begin(connection, "192.0.2.9", database.clock(connection)) for _ in range(throttle.FREE)]
    assert tries.count(0.0) == throttle.FREE - 2  # the account and the refused one counted
    found = signin.register(database, "another", PASSWORD, "192.0.2.9", None)
    assert isinstance(found, Denied)
    assert found.wait > 0
