"""Users, logins, invitations, throttled tries."""

import sqlalchemy as sa
from alembic import op

from bgapp.models import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLE_IS_ONE = "role IN ('viewer', 'operator', 'admin')"


def _row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "bgapp_users",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("disabled_at", UtcDateTime(), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(ROLE_IS_ONE, name=op.f("ck_bgapp_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bgapp_users")),
        sa.UniqueConstraint("name_key", name=op.f("uq_bgapp_users_name_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "bgapp_logins",
        sa.Column("id_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", _row_id(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["bgapp_users.id"], name=op.f("fk_bgapp_logins_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_bgapp_logins")),
    )
    op.create_index("ix_bgapp_logins_user_id", "bgapp_logins", ["user_id"])
    op.create_index("ix_bgapp_logins_expires_at", "bgapp_logins", ["expires_at"])
    op.create_table(
        "bgapp_invitations",
        sa.Column("id", _row_id(), autoincrement=True, nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("is_setup", sa.Boolean(), nullable=False),
        sa.Column("created_by", _row_id(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(ROLE_IS_ONE, name=op.f("ck_bgapp_invitations_role")),
        sa.ForeignKeyConstraint(
            ["created_by"], ["bgapp_users.id"], name=op.f("fk_bgapp_invitations_created_by"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bgapp_invitations")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_bgapp_invitations_code_hash")),
    )
    op.create_table(
        "bgapp_throttle",
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("blocked_until", UtcDateTime(), nullable=True),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_bgapp_throttle_failures")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_bgapp_throttle")),
    )
    op.create_index("ix_bgapp_throttle_since", "bgapp_throttle", ["since"])


def downgrade() -> None:
    op.drop_table("bgapp_throttle")
    op.drop_table("bgapp_invitations")
    op.drop_table("bgapp_logins")
    op.drop_table("bgapp_users")
