"""Codes with which people make their accounts: an admin's invitations, and the set-up code of the very first admin.

Each works once, for a limited time, for one role. A code is shown once; what is stored is its hash.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from bgapp import accounts
from bgapp.accountmodels import AccountRefused, InvitationRow, Role
from bgapp.accounts import User

INVITATIONS: Table = InvitationRow.__table__  # type: ignore[assignment] # declared as FromClause

LASTS = timedelta(hours=72)
SETUP_LASTS = timedelta(hours=24)
LONGEST_CODE = 128  # characters; a form may send anything
SETUP_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that is taken for another
SETUP_GROUPS = 5  # of five letters each: 123 bits

GONE = "this code is not valid: it was used, withdrawn, has expired, or was not typed as it was given"


@dataclass(frozen=True)
class Invitation:
    """One code's row; the code itself is known only to whom it was given."""

    id: int
    role: Role
    is_setup: bool
    created_by: int | None  # a user's id; None where a command or the server made it
    created_at: datetime
    expires_at: datetime


def invite(connection: Connection, role: str, created_by: int | None, now: datetime) -> str:
    """Return a new invitation's code, for a link. Raises AccountRefused (role)."""
    code = secrets.token_urlsafe(32)
    _add(connection, code, accounts.checked_role(role), now, LASTS, created_by=created_by)
    return code


def setup_code(connection: Connection, now: datetime) -> str | None:
    """Return a new code for the first admin, made to be typed; None once any user exists.

    Each server process may print one; all of them work until the first is used.
    """
    if accounts.has_users(connection):
        return None
    letters = [secrets.choice(SETUP_LETTERS) for _ in range(SETUP_GROUPS * 5)]
    code = "-".join("".join(letters[start : start + 5]) for start in range(0, len(letters), 5))
    _add(connection, code, Role.ADMIN, now, SETUP_LASTS, is_setup=True)
    return code


def look(connection: Connection, code: str, now: datetime, *, setup: bool = False) -> Invitation | None:
    """Return the invitation (or with `setup` the set-up code) that a code stands for, None where it is not valid."""
    row = connection.execute(_valid(code, now, setup)).one_or_none()
    return None if row is None or (setup and accounts.has_users(connection)) else _invitation(row)


def accept(
    connection: Connection, code: str, name: str, password_hash: str, now: datetime, *, setup: bool = False
) -> User:
    """Use a code up and make the account it stands for. Raises AccountRefused (code, name); the code then stays."""
    if setup:
        # All of them are locked, so that of two people with two codes at the same time one makes the account.
        every = select(INVITATIONS.c.id).where(INVITATIONS.c.is_setup).order_by(INVITATIONS.c.id)
        connection.execute(every.with_for_update()).all()
    row = connection.execute(_valid(code, now, setup).with_for_update()).one_or_none()
    if row is None or (setup and accounts.has_users(connection)):
        raise AccountRefused(GONE, "code")
    user = accounts.create_user(connection, name, row.role, now, password_hash)
    connection.execute(update(INVITATIONS).where(INVITATIONS.c.id == row.id).values(used_at=now))
    if setup:
        connection.execute(delete(INVITATIONS).where(INVITATIONS.c.is_setup))
    return user


def list_open(connection: Connection, now: datetime) -> list[Invitation]:
    """Return the invitations that can still be used, the newest first."""
    chosen = select(INVITATIONS).where(*_open(now), ~INVITATIONS.c.is_setup).order_by(INVITATIONS.c.id.desc())
    return [_invitation(row) for row in connection.execute(chosen)]


def withdraw(connection: Connection, invitation_id: int) -> bool:
    """Make an invitation invalid; return whether it was open."""
    if not 0 < invitation_id <= accounts.LARGEST_ID:
        return False
    mine = (INVITATIONS.c.id == invitation_id) & INVITATIONS.c.used_at.is_(None) & ~INVITATIONS.c.is_setup
    return connection.execute(delete(INVITATIONS).where(mine)).rowcount > 0


def _add(
    connection: Connection,
    code: str,
    role: Role,
    now: datetime,
    lasts: timedelta,
    *,
    is_setup: bool = False,
    created_by: int | None = None,
) -> None:
    connection.execute(delete(INVITATIONS).where(INVITATIONS.c.expires_at <= now))
    connection.execute(
        insert(INVITATIONS).values(
            code_hash=_hashed(code, is_setup),
            role=role.value,
            is_setup=is_setup,
            created_by=created_by,
            created_at=now,
            expires_at=now + lasts,
        )
    )


def _valid(code: str, now: datetime, setup: bool) -> Any:
    return select(INVITATIONS).where(
        INVITATIONS.c.code_hash == _hashed(code[:LONGEST_CODE], setup), INVITATIONS.c.is_setup.is_(setup), *_open(now)
    )


def _open(now: datetime) -> tuple[Any, Any]:
    return INVITATIONS.c.used_at.is_(None), INVITATIONS.c.expires_at > now


def _hashed(code: str, setup: bool) -> str:
    if setup:  # typed by hand: dashes, spaces and case do not matter
        code = "".join(code.split()).replace("-", "").upper()
    return hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()


def _invitation(row: Row[Any]) -> Invitation:
    return Invitation(row.id, Role(row.role), bool(row.is_setup), row.created_by, row.created_at, row.expires_at)
