"""The users of the stand-alone application: made, found, changed, disabled; the last admin is always kept.

Like the jobs' transitions, each function takes the connection of a transaction that the caller commits. Passwords
arrive as hashes: making one takes too long for a transaction (see `passwords`, and `signin` for both together).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from bgapp.accountmodels import AccountRefused, LoginRow, Role, UnknownUser, UserRow
from bgapp.errors import shown

USERS: Table = UserRow.__table__  # type: ignore[assignment] # declared as FromClause
LOGINS: Table = LoginRow.__table__  # type: ignore[assignment] # as above

SHORTEST_NAME = 3  # characters
LONGEST_NAME = 64
SIGNS = "._-@ "  # allowed inside a name, beside letters and digits
LARGEST_ID = 2**63 - 1  # what the databases can hold


@dataclass(frozen=True)
class User:
    """One user, without the password's hash."""

    id: int
    name: str
    key: str  # the name by which it is found
    role: Role
    has_password: bool
    created_at: datetime
    disabled_at: datetime | None
    last_seen_at: datetime | None
    epoch: int

    @property
    def is_disabled(self) -> bool:
        return self.disabled_at is not None

    @classmethod
    def of(cls, row: Row[Any]) -> User:
        """Return the user of a row that holds the columns of USER."""
        return cls(
            id=row.id,
            name=row.name,
            key=row.name_key,
            role=Role(row.role),
            has_password=bool(row.has_password),
            created_at=row.created_at,
            disabled_at=row.disabled_at,
            last_seen_at=row.last_seen_at,
            epoch=row.epoch,
        )


USER = (
    USERS.c.id,
    USERS.c.name,
    USERS.c.name_key,
    USERS.c.role,
    USERS.c.password_hash.is_not(None).label("has_password"),
    USERS.c.created_at,
    USERS.c.disabled_at,
    USERS.c.last_seen_at,
    USERS.c.epoch,
)
_CAN_ADMINISTER = (USERS.c.role == Role.ADMIN) & USERS.c.disabled_at.is_(None) & USERS.c.password_hash.is_not(None)


# Names ---------------------------------------------------------------------------------------------------------


def name_key(name: str) -> str:
    """Return what a name is found by: without outer spaces, NFKC, case folded. Any text has one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).strip().casefold())


def checked_name(name: str) -> str:
    """Return a new user's name as it will be stored. Raises AccountRefused for one that cannot be a name."""
    stored = unicodedata.normalize("NFKC", name).strip()
    if not SHORTEST_NAME <= len(stored) <= LONGEST_NAME or len(name_key(stored)) > 2 * LONGEST_NAME:
        raise AccountRefused(f"a name has {SHORTEST_NAME} to {LONGEST_NAME} characters, {shown(name)} does not", "name")
    strange = next((one for one in stored if not (_is_letter(one) or one in SIGNS)), None)
    if strange is not None:
        raise AccountRefused(
            f"the name {shown(name)} holds {shown(strange)}: letters, digits, spaces and . _ - @ are allowed", "name"
        )
    if "  " in stored or not (stored[0].isalnum() and _is_letter(stored[-1])):
        raise AccountRefused(
            f"the name {shown(name)} must begin and end with a letter or digit and have single spaces alone", "name"
        )
    return stored


def name_is_taken(name: str) -> AccountRefused:
    """Return the refusal of a name that another user has."""
    return AccountRefused(f"there is a user {shown(name)} already (upper and lower case are the same)", "name")


def _is_letter(character: str) -> bool:
    # Marks too: in many scripts a letter is written with one.
    return unicodedata.category(character)[0] in "LMN"


def checked_role(role: str) -> Role:
    """Return the role that a word names. Raises AccountRefused."""
    try:
        return Role(role)
    except ValueError:
        raise AccountRefused(f"a role is viewer, operator or admin, not {shown(role)}", "role") from None


# Reading -------------------------------------------------------------------------------------------------------


def find(connection: Connection, name: str) -> User | None:
    """Return the user of this name, in any case and spelling that means the same; None where there is none."""
    return _one(connection, USERS.c.name_key == name_key(name)) if _can_be_asked(name) else None


def get(connection: Connection, user_id: int) -> User | None:
    """Return the user of this id, None where there is none."""
    return _one(connection, USERS.c.id == user_id) if 0 < user_id <= LARGEST_ID else None


def required(connection: Connection, name: str) -> User:
    """Return the user of this name. Raises UnknownUser."""
    user = find(connection, name)
    if user is None:
        raise UnknownUser(name)
    return user


def list_users(connection: Connection) -> list[User]:
    """Return every user, by name."""
    return [User.of(row) for row in connection.execute(select(*USER).order_by(USERS.c.name_key))]


def has_users(connection: Connection) -> bool:
    """Return whether any account exists; before that, and only then, a set-up code makes the first."""
    return connection.execute(select(literal(1)).select_from(USERS).limit(1)).scalar() is not None


def stored_hash(connection: Connection, user_id: int) -> str | None:
    """Return a user's password hash, None where none is set."""
    return connection.execute(select(USERS.c.password_hash).where(USERS.c.id == user_id)).scalar()


def _one(connection: Connection, which: Any) -> User | None:
    row = connection.execute(select(*USER).where(which)).one_or_none()
    return None if row is None else User.of(row)


def _can_be_asked(name: str) -> bool:
    # No stored name is so long; PostgreSQL takes no NUL, neither takes half a surrogate pair.
    return len(name) <= 4 * LONGEST_NAME and "\0" not in name and not any("\ud800" <= one <= "\udfff" for one in name)


# Writing -------------------------------------------------------------------------------------------------------


def create_user(connection: Connection, name: str, role: str, now: datetime, password_hash: str | None = None) -> User:
    """Add a user; without a password hash it cannot log in yet. Raises AccountRefused (name, role)."""
    stored, chosen = checked_name(name), checked_role(role)
    values = {
        "name": stored,
        "name_key": name_key(stored),
        "role": chosen.value,
        "password_hash": password_hash,
        "created_at": now,
    }
    try:
        with connection.begin_nested():
            user_id = connection.execute(insert(USERS).values(values).returning(USERS.c.id)).scalar_one()
    except IntegrityError:
        raise name_is_taken(stored) from None
    return _required(connection, user_id)


def set_role(connection: Connection, user_id: int, role: str) -> User:
    """Give a user a role and end its logins. Raises AccountRefused: role, or the last admin would be gone."""
    chosen = checked_role(role)
    user = _required(connection, user_id)
    if user.role is chosen:
        return user
    if chosen is not Role.ADMIN:
        _keep_an_admin(connection, user, "be given another role")
    return _change(connection, user_id, role=chosen.value, epoch=USERS.c.epoch + 1)


def set_password(connection: Connection, user_id: int, password_hash: str) -> User:
    """Give a user a new password and end its logins. Raises UnknownUser."""
    return _change(connection, user_id, password_hash=password_hash, epoch=USERS.c.epoch + 1)


def rehash(connection: Connection, user_id: int, old: str, new: str) -> None:
    """Store the same password hashed anew, unless it was changed meanwhile; logins go on."""
    same = (USERS.c.id == user_id) & (USERS.c.password_hash == old)
    connection.execute(update(USERS).where(same).values(password_hash=new))


def disable(connection: Connection, user_id: int, now: datetime) -> User:
    """Shut a user out at once. Raises AccountRefused where it is the last admin."""
    user = _required(connection, user_id)
    if user.is_disabled:
        return user
    _keep_an_admin(connection, user, "be disabled")
    return _change(connection, user_id, disabled_at=now, epoch=USERS.c.epoch + 1)


def enable(connection: Connection, user_id: int) -> User:
    """Let a disabled user log in again. Raises UnknownUser."""
    return _change(connection, user_id, disabled_at=None)


def _change(connection: Connection, user_id: int, **values: Any) -> User:
    changed = connection.execute(update(USERS).where(USERS.c.id == user_id).values(values)).rowcount
    if not changed:
        raise UnknownUser(user_id)
    if "epoch" in values:
        connection.execute(delete(LOGINS).where(LOGINS.c.user_id == user_id))
    return _required(connection, user_id)


def _required(connection: Connection, user_id: int) -> User:
    user = get(connection, user_id)
    if user is None:
        raise UnknownUser(user_id)
    return user


def _keep_an_admin(connection: Connection, user: User, action: str) -> None:
    # The rows are locked, so that two admins who lower each other at once cannot both succeed.
    locked = select(USERS.c.id).where(_CAN_ADMINISTER).order_by(USERS.c.id).with_for_update()
    admins = connection.execute(locked).scalars().all()
    if list(admins) == [user.id]:
        raise AccountRefused(f"{user.name} is the last admin and cannot {action}: make another admin first")


def count_admins(connection: Connection) -> int:
    """Return how many admins can log in."""
    return connection.execute(select(func.count()).select_from(USERS).where(_CAN_ADMINISTER)).scalar_one()
