"""Jobs, attempts, nodes."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from bgapp.models import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REASON = (
    "reason IS NULL OR reason IN ('error', 'timeout', 'lost', 'poison', 'not_allowed', 'no_result', 'not_started', "
    "'limit', 'expired', 'cancelled')"
)


def upgrade() -> None:
    op.create_table(
        "bgapp_jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job_class", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("secret_params", sa.Text(), server_default="[]", nullable=False),
        sa.Column("status", sa.String(length=9), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(length=64), nullable=False),
        sa.Column("unique_key", sa.String(length=255), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt_limit", sa.Integer(), nullable=False),
        sa.Column("lost_in_row", sa.Integer(), server_default="0", nullable=False),
        sa.Column("backoff", sa.Float(), nullable=False),
        sa.Column("backoff_fixed", sa.Boolean(), nullable=False),
        sa.Column("timeout", sa.Float(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("run_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("created_by", sa.String(length=255), nullable=True),
        sa.Column("retry_of", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("node", sa.String(length=32), nullable=True),
        sa.Column("runner_pid", sa.Integer(), nullable=True),
        sa.Column("runner_ticks", sa.BigInteger(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("cancel_requested_at", UtcDateTime(), nullable=True),
        sa.Column("cancelled_by", sa.String(length=255), nullable=True),
        sa.CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name=op.f("ck_bgapp_jobs_lease_until")),
        sa.CheckConstraint("(status = 'running') = (token IS NOT NULL)", name=op.f("ck_bgapp_jobs_token")),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_bgapp_jobs_finished_at"),
        ),
        sa.CheckConstraint(
            REASON,
            name=op.f("ck_bgapp_jobs_reason"),
        ),
        sa.CheckConstraint(
            "status IN ('scheduled', 'pending', 'running', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_bgapp_jobs_status"),
        ),
        sa.CheckConstraint("attempt >= 0 AND attempt <= attempt_limit", name=op.f("ck_bgapp_jobs_attempt")),
        sa.CheckConstraint("priority BETWEEN -100 AND 100", name=op.f("ck_bgapp_jobs_priority")),
        sa.CheckConstraint("retries BETWEEN 0 AND 100", name=op.f("ck_bgapp_jobs_retries")),
        sa.CheckConstraint("timeout IS NULL OR timeout > 0", name=op.f("ck_bgapp_jobs_timeout")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bgapp_jobs")),
        sqlite_autoincrement=True,
    )
    waiting = "unique_key IS NOT NULL AND status IN ('scheduled', 'pending', 'running')"
    indexes: list[tuple[str, list[Any], str]] = [
        ("ix_bgapp_jobs_pending", [sa.text("priority DESC"), "run_at", "id"], "status = 'pending'"),
        ("ix_bgapp_jobs_scheduled", ["run_at", "id"], "status = 'scheduled'"),
        ("ix_bgapp_jobs_running", ["node", "id"], "status = 'running'"),
    ]
    for name, columns, where in indexes:
        op.create_index(name, "bgapp_jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_index(
        "uq_bgapp_jobs_unique_key",
        "bgapp_jobs",
        ["unique_key"],
        unique=True,
        sqlite_where=sa.text(waiting),
        postgresql_where=sa.text(waiting),
    )
    op.create_index("ix_bgapp_jobs_status_id", "bgapp_jobs", ["status", "id"])
    op.create_index("ix_bgapp_jobs_finished_at", "bgapp_jobs", ["finished_at", "id"])
    op.create_table(
        "bgapp_nodes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("pid_namespace", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bgapp_nodes")),
    )
    op.create_table(
        "bgapp_attempts",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.String(length=9), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=True),
        sa.Column("node", sa.String(length=32), nullable=False),
        sa.Column("runner_pid", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.String(length=16), nullable=True),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.CheckConstraint("(status = 'running') = (finished_at IS NULL)", name=op.f("ck_bgapp_attempts_finished_at")),
        sa.CheckConstraint(
            REASON,
            name=op.f("ck_bgapp_attempts_reason"),
        ),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'failed', 'cancelled')", name=op.f("ck_bgapp_attempts_status")
        ),
        sa.CheckConstraint("exit_code IS NULL OR signal IS NULL", name=op.f("ck_bgapp_attempts_one_ending")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["bgapp_jobs.id"], name=op.f("fk_bgapp_attempts_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_bgapp_attempts")),
    )


def downgrade() -> None:
    op.drop_table("bgapp_attempts")
    op.drop_table("bgapp_nodes")
    op.drop_table("bgapp_jobs")
