"""The tables: jobs, their attempts, the nodes that run them; and the words for their states.

Plain SQLAlchemy on metadata of its own, so that a host application's models and migrations never meet it.
Times are aware UTC. The database itself refuses nonsense: every rule that a CHECK can say is a CHECK.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine


class Status(StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"  # waiting for its time: a delay, or the wait before a retry
    PENDING = "pending"  # due, waiting for a runner
    RUNNING = "running"  # claimed by a runner
    COMPLETED = "completed"  # the method returned
    FAILED = "failed"  # no retries left, or no longer allowed, or poison
    CANCELLED = "cancelled"  # stopped on request


WAITING = (Status.SCHEDULED, Status.PENDING)
UNFINISHED = (Status.SCHEDULED, Status.PENDING, Status.RUNNING)
FINAL = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Reason(StrEnum):
    """Why a job or an attempt did not complete; null on success."""

    ERROR = "error"  # the method, or its import, raised
    TIMEOUT = "timeout"  # the time limit passed
    LOST = "lost"  # a signal that was not ours ended it, or its runner was lost
    POISON = "poison"  # lost three times in a row
    NOT_ALLOWED = "not_allowed"  # the allow-list no longer names it
    NO_RESULT = "no_result"  # the process ended by itself without reporting a result
    NOT_STARTED = "not_started"  # the process could not be created, or never entered the method
    LIMIT = "limit"  # its CPU or memory limit was hit
    EXPIRED = "expired"  # it waited past the time at which it was still wanted
    CANCELLED = "cancelled"  # stopped on request


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: `timestamptz` on PostgreSQL; on SQLite fixed-width text, so that it sorts as time."""

    impl = String(26)
    cache_ok = True
    TEXT = "%Y-%m-%d %H:%M:%S.%f"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(String(26))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time cannot be stored: {value!r}")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.strftime(self.TEXT)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        try:
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        except (TypeError, ValueError):  # null, or edited by hand on SQLite: no reason for a page or a claim to fail
            return None


NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

# BIGINT would not be an alias of the row id on SQLite, and only that counts up by itself.
RowId = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, words: tuple[str, ...] | type[StrEnum]) -> str:
    listed = ", ".join(f"'{word}'" for word in words)
    return f"{column} IN ({listed})"


class Base(DeclarativeBase):
    """Declarative base on bgapp's own metadata."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime, str: Text, int: Integer, float: Float}


class Node(Base):
    """One (instance folder, PID namespace): a place where runners run."""

    __tablename__ = "bgapp_nodes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    hostname: Mapped[str]
    boot_id: Mapped[str]
    pid_namespace: Mapped[str]
    generation: Mapped[str]  # of the code: a runner of another generation leaves
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class Job(Base):
    """One requested run."""

    __tablename__ = "bgapp_jobs"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    job_class: Mapped[str]  # the allow-list's key
    method: Mapped[str]
    params: Mapped[str]  # JSON object, bound by name; the execution copy, masked wherever it is shown
    secret_params: Mapped[str] = mapped_column(default="[]", server_default="[]")  # JSON list of names to mask
    status: Mapped[str] = mapped_column(String(9))
    reason: Mapped[str | None] = mapped_column(String(16))
    priority: Mapped[int]
    queue: Mapped[str] = mapped_column(String(64))
    unique_key: Mapped[str | None] = mapped_column(String(255))
    retries: Mapped[int]  # further tries after the first
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")  # number of the newest one; only goes up
    attempt_limit: Mapped[int]  # the attempt number after which a failure is final
    lost_in_row: Mapped[int] = mapped_column(default=0, server_default="0")  # three are poison
    backoff: Mapped[float]  # seconds before the first retry
    backoff_fixed: Mapped[bool]  # the same wait each time, else doubling
    timeout: Mapped[float | None]  # seconds one attempt may take
    created_at: Mapped[datetime]
    run_at: Mapped[datetime]
    started_at: Mapped[datetime | None]  # of the newest attempt
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]
    result: Mapped[str | None]  # JSON
    progress: Mapped[str | None]  # JSON object: fraction 0..1 or null, message
    created_by: Mapped[str | None] = mapped_column(String(255))
    retry_of: Mapped[int | None] = mapped_column(RowId)  # the job this is an edited copy of

    # The newest attempt's right to write (fence) and the identity of its processes.
    token: Mapped[str | None] = mapped_column(String(32))
    node: Mapped[str | None] = mapped_column(String(32))
    runner_pid: Mapped[int | None]
    runner_ticks: Mapped[int | None] = mapped_column(BigInteger)  # start time; with the pid, an identity
    pid: Mapped[int | None]
    lease_until: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None] = mapped_column(String(255))

    __table_args__ = (
        CheckConstraint(_one_of("status", Status), name="status"),
        CheckConstraint(f"reason IS NULL OR {_one_of('reason', Reason)}", name="reason"),
        CheckConstraint("retries BETWEEN 0 AND 100", name="retries"),
        CheckConstraint("priority BETWEEN -100 AND 100", name="priority"),
        CheckConstraint("attempt >= 0 AND attempt <= attempt_limit", name="attempt"),
        CheckConstraint("timeout IS NULL OR timeout > 0", name="timeout"),
        CheckConstraint(f"({_one_of('status', FINAL)}) = (finished_at IS NOT NULL)", name="finished_at"),
        CheckConstraint("(status = 'running') = (token IS NOT NULL)", name="token"),
        CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease_until"),
        # Each index is partial, so that a million finished jobs cost a claim nothing.
        Index(
            "ix_bgapp_jobs_pending",
            text("priority DESC"),
            "run_at",
            "id",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "ix_bgapp_jobs_scheduled",
            "run_at",
            "id",
            sqlite_where=text("status = 'scheduled'"),
            postgresql_where=text("status = 'scheduled'"),
        ),
        Index(
            "ix_bgapp_jobs_running",
            "node",
            "id",
            sqlite_where=text("status = 'running'"),
            postgresql_where=text("status = 'running'"),
        ),
        Index(
            "uq_bgapp_jobs_unique_key",
            "unique_key",
            unique=True,
            sqlite_where=text("unique_key IS NOT NULL AND status IN ('scheduled', 'pending', 'running')"),
            postgresql_where=text("unique_key IS NOT NULL AND status IN ('scheduled', 'pending', 'running')"),
        ),
        Index("ix_bgapp_jobs_status_id", "status", "id"),
        Index("ix_bgapp_jobs_finished_at", "finished_at", "id"),
        # Never give a deleted job's number to another: logs and links name jobs by it.
        {"sqlite_autoincrement": True},
    )


class Attempt(Base):
    """One numbered try at a job: its outcome and its cost."""

    __tablename__ = "bgapp_attempts"

    job_id: Mapped[int] = mapped_column(
        RowId, ForeignKey("bgapp_jobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    status: Mapped[str] = mapped_column(String(9))
    reason: Mapped[str | None] = mapped_column(String(16))
    node: Mapped[str] = mapped_column(String(32))
    runner_pid: Mapped[int]
    pid: Mapped[int | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    signal: Mapped[str | None] = mapped_column(String(16))
    cpu_seconds: Mapped[float | None]
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None]
    traceback: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(_one_of("status", (Status.RUNNING, *FINAL)), name="status"),
        CheckConstraint(f"reason IS NULL OR {_one_of('reason', Reason)}", name="reason"),
        CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished_at"),
        CheckConstraint("exit_code IS NULL OR signal IS NULL", name="one_ending"),
    )
