"""Server-side logins: a browser holds only a random id, the row behind it can be ended at any time.

The id is stored as its hash, so that neither a backup nor a look into the database gives anyone a login.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from bgapp.accounts import LOGINS, USER, USERS, User
from bgapp.database import Database
from bgapp.errors import DatabaseUnavailable

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
SEEN_STEP = timedelta(minutes=1)  # how exactly it is known when a login was last used
TOUCH_WAIT = 0.1  # seconds: whoever only looks at a page does not wait for another program's write
LONGEST_ID = 128  # characters; a cookie may hold anything
LONGEST_ADDRESS = 64
LONGEST_AGENT = 200


@dataclass(frozen=True)
class Login:
    """One login, as a page may list it. `key` names it in a form and is worth nothing as a cookie."""

    key: str
    user: User
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    agent: str


def open_login(connection: Connection, user: User, address: str | None, agent: str | None, now: datetime) -> str:
    """Begin a login and return its id, the cookie's value, which is stored nowhere. Old logins are cleared away."""
    login_id = secrets.token_urlsafe(32)
    connection.execute(
        insert(LOGINS).values(
            id_hash=hashed(login_id),
            user_id=user.id,
            epoch=user.epoch,
            created_at=now,
            seen_at=now,
            expires_at=now + LONGEST,
            address=_kept(address, LONGEST_ADDRESS),
            agent=_kept(agent, LONGEST_AGENT),
        )
    )
    connection.execute(update(USERS).where(USERS.c.id == user.id).values(last_seen_at=now))
    connection.execute(delete(LOGINS).where((LOGINS.c.expires_at <= now) | (LOGINS.c.seen_at <= now - IDLE)))
    return login_id


def load(database: Database, login_id: str, *, is_activity: bool = True) -> Login | None:
    """Return the login behind a cookie, None where it does not live any more; note, once a minute, that it was used.

    With `is_activity=False`, for what a page asks by itself, that is not noted. Raises DatabaseUnavailable.
    """
    with database.read() as connection:
        now = database.clock(connection)
        login = look(connection, login_id, now)
    if login is not None and is_activity and now - login.seen_at >= SEEN_STEP:
        try:
            with database.write(wait=TOUCH_WAIT) as connection:
                touch(connection, login_id, now)
        except DatabaseUnavailable:  # busy: the next request notes it, and a page that only reads need not fail
            return login
    return login


def look(connection: Connection, login_id: str, now: datetime) -> Login | None:
    """Return the login of this id if its user may use it now: enabled, nothing changed since, not idle, not too old."""
    if not 0 < len(login_id) <= LONGEST_ID:
        return None
    chosen = _living(now).where(LOGINS.c.id_hash == hashed(login_id))
    row = connection.execute(chosen).one_or_none()
    return None if row is None else _login(row)


def touch(connection: Connection, login_id: str, now: datetime) -> None:
    """Note that a login was used."""
    mine = LOGINS.c.id_hash == hashed(login_id)
    connection.execute(update(LOGINS).where(mine, LOGINS.c.seen_at < now).values(seen_at=now))
    user = select(LOGINS.c.user_id).where(mine).scalar_subquery()
    connection.execute(update(USERS).where(USERS.c.id == user).values(last_seen_at=now))


def close(connection: Connection, login_id: str) -> None:
    """End one login: whoever still holds its id is nobody."""
    connection.execute(delete(LOGINS).where(LOGINS.c.id_hash == hashed(login_id)))


def close_key(connection: Connection, user_id: int, key: str) -> bool:
    """End one of a user's logins by its key; return whether there was such a one."""
    found = connection.execute(delete(LOGINS).where(LOGINS.c.user_id == user_id, LOGINS.c.id_hash == key))
    return found.rowcount > 0


def close_all(connection: Connection, user_id: int, but: str | None = None) -> int:
    """End a user's logins, all or all but the one with the id `but`; return how many."""
    ending = delete(LOGINS).where(LOGINS.c.user_id == user_id)
    if but is not None:
        ending = ending.where(LOGINS.c.id_hash != hashed(but))
    return connection.execute(ending).rowcount


def list_logins(connection: Connection, user_id: int, now: datetime) -> list[Login]:
    """Return a user's living logins, the last used first."""
    chosen = _living(now).where(LOGINS.c.user_id == user_id).order_by(LOGINS.c.seen_at.desc(), LOGINS.c.id_hash)
    return [_login(row) for row in connection.execute(chosen)]


def hashed(login_id: str) -> str:
    """Return the key of a login's id. The id is random and long, so a plain hash cannot be guessed back."""
    return hashlib.sha256(login_id.encode(errors="surrogatepass")).hexdigest()


def _living(now: datetime) -> Any:
    columns = [column.label(f"login_{column.name}") for column in LOGINS.c]
    return (
        select(*USER, *columns)
        .join_from(LOGINS, USERS, LOGINS.c.user_id == USERS.c.id)
        .where(
            LOGINS.c.epoch == USERS.c.epoch,
            USERS.c.disabled_at.is_(None),
            LOGINS.c.expires_at > now,
            LOGINS.c.seen_at > now - IDLE,
        )
    )


def _login(row: Row[Any]) -> Login:
    return Login(
        key=row.login_id_hash,
        user=User.of(row),
        created_at=row.login_created_at,
        seen_at=row.login_seen_at,
        expires_at=row.login_expires_at,
        address=row.login_address,
        agent=row.login_agent,
    )


def _kept(text: str | None, most: int) -> str:
    """Return what a browser said of itself as it may be stored and shown."""
    return "".join(one if one.isprintable() else "?" for one in (text or "")[:most])
