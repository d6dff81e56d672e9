"""The tables of the stand-alone application's accounts: users, logins, invitations, throttled tries; and their words.

They stand on the same metadata as the jobs, so that one migration history makes both.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from bgapp.errors import BgappError, shown
from bgapp.models import Base, RowId


class Role(StrEnum):
    """What a user may do; each role may also do what those before it may."""

    VIEWER = "viewer"  # sees
    OPERATOR = "operator"  # also runs, retries, cancels
    ADMIN = "admin"  # also deletes, and manages users


ROLE_IS_ONE = "role IN ('viewer', 'operator', 'admin')"


class AccountRefused(BgappError):
    """A change of accounts was refused and nothing was changed.

    `field` names the value at fault (name, password, role, code); None where the account's state forbids the change.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownUser(AccountRefused):
    """No user has this name or id."""

    def __init__(self, who: object) -> None:
        super().__init__(f"there is no user {shown(who)}")


class UserRow(Base):
    """One person who may log in."""

    __tablename__ = "bgapp_users"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    name: Mapped[str]  # as typed, in NFKC
    name_key: Mapped[str] = mapped_column(unique=True)  # the name by which it is found: NFKC, case folded
    role: Mapped[str] = mapped_column(String(8))
    password_hash: Mapped[str | None]  # null: cannot log in yet
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    epoch: Mapped[int] = mapped_column(default=0, server_default="0")  # raised by what must end every login
    last_seen_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(ROLE_IS_ONE, name="role"),
        # Never give a deleted user's number to another: logins and jobs name users by it.
        {"sqlite_autoincrement": True},
    )


class LoginRow(Base):
    """One login of a user in one browser. The id itself is only in that browser's cookie."""

    __tablename__ = "bgapp_logins"

    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("bgapp_users.id", ondelete="CASCADE"), index=True)
    epoch: Mapped[int]  # the user's, when it began
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str]
    agent: Mapped[str]


class InvitationRow(Base):
    """One code with which a person makes an account: sent by an admin, or printed for the very first one."""

    __tablename__ = "bgapp_invitations"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256
    role: Mapped[str] = mapped_column(String(8))
    is_setup: Mapped[bool]
    created_by: Mapped[int | None] = mapped_column(RowId, ForeignKey("bgapp_users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint(ROLE_IS_ONE, name="role"),)


class ThrottleRow(Base):
    """How often tries have failed lately: for one name, one address, or one name at an address where it is known."""

    __tablename__ = "bgapp_throttle"

    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    failures: Mapped[int]
    since: Mapped[datetime]  # failures are forgotten one by one from here on
    blocked_until: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("failures >= 0", name="failures"),
        Index("ix_bgapp_throttle_since", "since"),
    )
