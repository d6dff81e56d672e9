"""Everything in which a password is looked at: throttled first, hashed outside any transaction, then one short write.

Unknown, disabled and passwordless names take the same path, the same time and give the same answer as a wrong password.
"""

from __future__ import annotations

from dataclasses import dataclass

from bgapp import accounts, invitations, logins, passwords, throttle
from bgapp.accountmodels import AccountRefused, Role
from bgapp.accounts import User
from bgapp.database import Database
from bgapp.logins import Login


@dataclass(frozen=True)
class SignedIn:
    """A login was opened; `login_id` is the cookie's value and stands nowhere else."""

    user: User
    login_id: str


@dataclass(frozen=True)
class Denied:
    """The password was wrong; or, where `wait` is above zero, it was not looked at: the next try may come then."""

    wait: float = 0.0  # seconds


def sign_in(database: Database, name: str, password: str, address: str | None, agent: str | None) -> SignedIn | Denied:
    """Open a login for a name and a password. Raises DatabaseUnavailable."""
    wait = _begin(database, address, name)
    if wait:
        return Denied(wait)
    with database.read() as connection:
        user = accounts.find(connection, name)
        stored = None if user is None or user.is_disabled else accounts.stored_hash(connection, user.id)
    if not passwords.matches(stored, password) or user is None or stored is None:
        return Denied()
    renewed = passwords.hashed(password) if passwords.needs_rehash(stored) else None
    with database.write() as connection:
        now = database.clock(connection)
        user = accounts.get(connection, user.id)
        if user is None or user.is_disabled or accounts.stored_hash(connection, user.id) != stored:
            return Denied()  # disabled, or given another password, while this one was looked at
        throttle.succeed(connection, address, now, name)
        if renewed is not None:
            accounts.rehash(connection, user.id, stored, renewed)
        return SignedIn(user, logins.open_login(connection, user, address, agent, now))


def confirm(database: Database, user: User, password: str, address: str | None) -> Denied | None:
    """Ask a signed-in user for the password again: None where it is right. Raises DatabaseUnavailable."""
    wait = _begin(database, address, user.name)
    if wait:
        return Denied(wait)
    with database.read() as connection:
        stored = accounts.stored_hash(connection, user.id)
    if not passwords.matches(stored, password):
        return Denied()
    with database.write() as connection:
        throttle.succeed(connection, address, database.clock(connection), user.name)
    return None


def change_password(
    database: Database, login: Login, old: str, new: str, address: str | None, agent: str | None
) -> SignedIn | Denied:
    """Give a signed-in user a new password; every login of theirs ends and a new one begins.

    Raises AccountRefused where the new password will not do, DatabaseUnavailable.
    """
    passwords.check(new, login.user.name)
    denied = confirm(database, login.user, old, address)
    if denied is not None:
        return denied
    password_hash = passwords.hashed(new)
    with database.write() as connection:
        user = accounts.get(connection, login.user.id)
        if user is None or user.is_disabled or user.epoch != login.user.epoch:
            return Denied()  # ended by someone else meanwhile
        user = accounts.set_password(connection, user.id, password_hash)
        return SignedIn(user, logins.open_login(connection, user, address, agent, database.clock(connection)))


def accept(
    database: Database,
    code: str,
    name: str,
    password: str,
    address: str | None,
    agent: str | None,
    *,
    setup: bool = False,
) -> SignedIn | Denied:
    """Make the account that an invitation, or with `setup` a set-up code, stands for, and sign it in.

    Raises AccountRefused (code, name, password), DatabaseUnavailable. Tries at codes are throttled by address.
    """
    wait = _begin(database, address)
    if wait:
        return Denied(wait)
    with database.write() as connection:
        now = database.clock(connection)
        if invitations.look(connection, code, now, setup=setup) is None:
            raise AccountRefused(invitations.GONE, "code")
        throttle.succeed(connection, address, now)  # the code was right; what else may be wrong is only a slip
    name = accounts.checked_name(name)
    passwords.check(password, name)
    password_hash = passwords.hashed(password)
    with database.write() as connection:
        now = database.clock(connection)
        user = invitations.accept(connection, code, name, password_hash, now, setup=setup)
        return SignedIn(user, logins.open_login(connection, user, address, agent, now))


def register(database: Database, name: str, password: str, address: str | None, agent: str | None) -> SignedIn | Denied:
    """Make a viewer's account without a code, where registration is open. Raises AccountRefused, DatabaseUnavailable.

    Each account counts against its address as a failed try does, so that nobody makes them by the thousand.
    """
    name = accounts.checked_name(name)
    passwords.check(password, name)
    wait = _begin(database, address)
    if wait:
        return Denied(wait)
    password_hash = passwords.hashed(password)
    with database.write() as connection:
        now = database.clock(connection)
        user = accounts.create_user(connection, name, Role.VIEWER, now, password_hash)
        return SignedIn(user, logins.open_login(connection, user, address, agent, now))


def _begin(database: Database, address: str | None, name: str | None = None) -> float:
    """Count a try; one that must wait anyway costs a read alone."""
    with database.read() as connection:
        wait = throttle.check(connection, address, database.clock(connection), name)
    if wait:
        return wait
    with database.write() as connection:
        return throttle.begin(connection, address, database.clock(connection), name)
