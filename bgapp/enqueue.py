"""The way in: `run_background_job` and its bulk form. Checked, stored, committed; then a wake-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection

from bgapp import clock, lifecycle, newjob, queries, repeat, wake
from bgapp import runtime as runtimes
from bgapp.errors import BadOption, DatabaseUnavailable, JobRejected, QueueFull, shown
from bgapp.failpoints import reach
from bgapp.handle import JobHandle
from bgapp.hostsession import after_commit, connection_of, refuse_self_lock
from bgapp.inline import run_inline
from bgapp.records import Change, NewJob
from bgapp.runtime import Runtime

Added = TypeVar("Added", int, list[int])


def run_background_job(
    job_class: object,
    method: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    retries: int | None = None,
    delay: float | timedelta | datetime = 0,
    priority: int | str = 0,
    *,
    queue: str = "default",
    timeout: float | None = None,
    backoff: float | str | None = None,
    unique_key: str | None = None,
    session: Any = None,
) -> JobHandle:
    """Ask for `job_class().method(*params)` to run in the background; return a handle at once.

    job_class: a class, its dotted path, or a bare name that is unique in the allow-list.
    params: positional (list) or named (dict) JSON values, checked against signature and type hints.
    retries: further tries after the first, 0 to 100; 0 means at most once, more means at least once.
    delay: seconds, a timedelta, or an aware datetime.
    priority: -100 to 100, or low (-10), normal (0), high (10), critical (20); larger runs first.
    queue: the line it waits in; the allow-list's own where it names one, else "default".
    timeout: seconds one attempt may take. backoff: seconds before the first retry, doubling; "5 fixed" keeps it.
    unique_key: while a job with it waits or runs, that job is returned and `.created` is false.
    session: your own SQLAlchemy session; the job appears if and when that commits.

    Raises a subclass of JobRejected (nothing stored, one line in the errors log), DatabaseUnavailable (nothing
    stored), and CommitUnknown, a kind of it, where nobody can tell whether the job was stored.
    """
    runtime = runtimes.current()
    wanted = {
        "retries": retries,
        "delay": delay,
        "priority": priority,
        "queue": queue,
        "timeout": timeout,
        "backoff": backoff,
        "unique_key": unique_key,
    }
    return enqueue(runtime, job_class, method, params, wanted, session=session)


def enqueue(
    runtime: Runtime,
    job_class: object,
    method: object,
    params: object,
    wanted: Mapping[str, Any],
    *,
    session: Any = None,
    created_by: str | None = None,
) -> JobHandle:
    """Do what `run_background_job` says for a given application; `wanted` holds its options by name."""
    try:
        now = clock.now()
        new = newjob.build(
            runtime.settings, runtime.allowlist, job_class, method, params, created_by=created_by, now=now, **wanted
        )
        return _store(runtime, new, absolute=isinstance(wanted.get("delay"), datetime), session=session)
    except JobRejected as refusal:
        runtime.tell_refusal(job_class, method, params, refusal)
        raise


def _store(runtime: Runtime, new: NewJob, *, absolute: bool, session: Any) -> JobHandle:
    def add(connection: Connection) -> tuple[int, list[Change]]:
        _refuse_when_full(runtime, connection, [new])
        return lifecycle.add(connection, _by_database_time(new, runtime.database.clock(connection), absolute))

    job_id, changes = _in_transaction(runtime, session, add)
    return JobHandle(runtime, job_id, created=bool(changes))


def _in_transaction(
    runtime: Runtime, session: Any, add: Callable[[Connection], tuple[Added, list[Change]]]
) -> tuple[Added, list[Change]]:
    """Add in a transaction of our own, or in the caller's; what changed is told once it has committed."""

    def adding(connection: Connection) -> tuple[Added, list[Change]]:
        found = add(connection)
        reach("insert")
        return found

    if session is None or not runtime.is_ready:
        refuse_self_lock(runtime.database)
    runtime.ready()
    if session is None:
        added, changes = repeat.write(runtime.database, adding, lambda stored: _numbers(stored[0]))
        reach("inserted")
        _announce(runtime, changes)
    else:
        with connection_of(session, runtime.database) as connection:
            added, changes = add(connection)
        if changes:
            after_commit(session, lambda: _announce_if_stored(runtime, changes))
    return added, changes


def _numbers(added: int | list[int]) -> str:
    if isinstance(added, int):
        return f"job {added}"
    return f"job {added[0]}" if len(added) == 1 else f"the {len(added)} jobs {added[0]} to {added[-1]}"


def _announce(runtime: Runtime, changes: list[Change]) -> None:
    runtime.tell(changes)
    if runtime.settings.inline:
        run_inline(runtime)
    else:
        wake.wake_for_work(runtime.settings.instance)


def _announce_if_stored(runtime: Runtime, changes: list[Change]) -> None:
    try:
        with runtime.database.read() as connection:
            if queries.job(connection, changes[0].job) is None:
                return  # the session's transaction was a part of one that is not committed, as in test suites
    except DatabaseUnavailable:  # the caller's commit has succeeded, and must not fail because of a log line
        pass
    _announce(runtime, changes)


def _by_database_time(new: NewJob, now: datetime, absolute: bool) -> NewJob:
    """Count a relative delay from the database's clock: machines that share it may disagree about the time."""
    run_at = new.run_at if absolute and new.run_at > new.created_at else now + (new.run_at - new.created_at)
    return replace(new, created_at=now, run_at=run_at)


def _refuse_when_full(runtime: Runtime, connection: Connection, news: Sequence[NewJob]) -> None:
    most = runtime.settings.max_queued
    if most is None:
        return
    adding = sum(new.unique_key is None or lifecycle.holder(connection, new.unique_key) is None for new in news)
    if adding and queries.waiting(connection, most + 1) + adding > most:
        raise QueueFull(f"{most} jobs wait already, the most that BGAPP_MAX_QUEUED allows: try again later", "job")


def run_background_jobs(jobs: Sequence[Mapping[str, Any]], *, session: Any = None) -> list[JobHandle]:
    """Ask for many jobs at once, all or none; each a mapping of `run_background_job`'s arguments by name.

    Raises as that does; the message begins with the place of the job at fault, such as `jobs[3]`.
    """
    runtime = runtimes.current()
    now = clock.now()
    news = [_one_of_many(runtime, number, wanted, now) for number, wanted in enumerate(jobs)]
    if not news:
        return []
    try:
        ids, changes = _in_transaction(runtime, session, lambda connection: _add_all(runtime, connection, news))
    except JobRejected as refusal:
        runtime.tell_refusal(news[0][0].job_class, news[0][0].method, None, refusal)
        raise
    born = {change.job for change in changes}
    handles = []
    for job_id in ids:
        handles.append(JobHandle(runtime, job_id, created=job_id in born))
        born.discard(job_id)  # a unique key that stands twice among them makes one job
    return handles


def _add_all(
    runtime: Runtime, connection: Connection, news: list[tuple[NewJob, bool]]
) -> tuple[list[int], list[Change]]:
    _refuse_when_full(runtime, connection, [new for new, _ in news])
    now = runtime.database.clock(connection)
    timed = [_by_database_time(new, now, absolute) for new, absolute in news]
    if all(new.unique_key is None for new in timed):
        return lifecycle.add_many(connection, timed)
    ids, changes = [], []
    for new in timed:
        job_id, born = lifecycle.add(connection, new)
        ids.append(job_id)
        changes += born
    return ids, changes


def _one_of_many(runtime: Runtime, number: int, wanted: object, now: datetime) -> tuple[NewJob, bool]:
    """Return one checked job, and whether its delay is a moment."""
    given: dict[Any, Any] = dict(wanted) if isinstance(wanted, Mapping) else {}
    job_class, method, params = given.pop("job_class", None), given.pop("method", None), given.pop("params", None)
    try:
        if not isinstance(wanted, Mapping):
            raise BadOption(f"this is a {type(wanted).__name__}, not a mapping of arguments by name", "jobs")
        unknown = [name for name in given if name not in OPTIONS]
        if unknown:
            raise BadOption(
                f"there is no argument {shown(unknown[0])}: known are {', '.join(sorted(OPTIONS))}", shown(unknown[0])
            )
        new = newjob.build(runtime.settings, runtime.allowlist, job_class, method, params, now=now, **given)
    except JobRejected as refusal:
        told = type(refusal)(f"jobs[{number}]: {refusal}", refusal.argument)
        runtime.tell_refusal(job_class, method, params, told)
        raise told from refusal
    return new, isinstance(given.get("delay"), datetime)


OPTIONS = frozenset({"retries", "delay", "priority", "queue", "timeout", "backoff", "unique_key"})
