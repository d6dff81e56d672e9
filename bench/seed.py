"""Fills bgapp's tables with many jobs, to measure and to look at: `python -m bench.seed --jobs N --attempts M`."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, insert, literal, select

from bgapp import clock, schema
from bgapp.database import Database
from bgapp.databaseurl import of_file, read
from bgapp.errors import BgappError
from bgapp.models import FINAL, Reason, Status
from bgapp.statements import ATTEMPTS, JOBS

KINDS = ("finished", "delayed", "waiting", "mixed")
BLOCK = 1000  # jobs of one INSERT; times differ from block to block
DAY = timedelta(days=1)
COMMON = {
    "job_class": "bench.work.Work",
    "method": "note",
    "params": '{"path": "/dev/null", "tag": 1, "seconds": 0.0}',
    "secret_params": "[]",
    "priority": 0,
    "queue": "default",
    "retries": 3,
    "attempt_limit": 4,
    "lost_in_row": 0,
    "backoff": 15.0,
    "backoff_fixed": False,
}


def fill(database: Database, kind: str, jobs: int, attempts: int) -> None:
    """Add `jobs` jobs of a kind to tables that exist; those that have ended get `attempts` attempts each, 1 to 4.

    Each block of a thousand is a transaction of its own. Mixed: of 20 blocks 18 have ended, one waits for its time,
    one is due.
    """
    for number, first in enumerate(range(0, jobs, BLOCK)):
        chosen = kind if kind != "mixed" else {18: "delayed", 19: "waiting"}.get(number % 20, "finished")
        with database.write() as connection:
            _add_block(connection, chosen, number, min(BLOCK, jobs - first), attempts)


def _add_block(connection: Connection, kind: str, number: int, count: int, attempts: int) -> None:
    moment = clock.now() - DAY + timedelta(seconds=number)
    values: dict[str, Any] = COMMON | {"created_at": moment, "run_at": moment}
    if kind == "delayed":
        values |= {"status": Status.SCHEDULED, "run_at": moment + 30 * DAY, "attempt": 0}
    elif kind == "waiting":
        values |= {"status": Status.PENDING, "attempt": 0}
    else:
        failed = number % 10 == 9
        ended = {"started_at": moment, "finished_at": moment + timedelta(seconds=1), "attempt": attempts}
        values |= ended | {"status": Status.FAILED if failed else Status.COMPLETED}
        values |= {"reason": Reason.ERROR, "error": "ValueError: no such luck"} if failed else {"result": "null"}
    before = connection.execute(select(JOBS.c.id).order_by(JOBS.c.id.desc()).limit(1)).scalar() or 0
    connection.execute(insert(JOBS).from_select(list(values), _rows(values, count)))
    for one in range(1, attempts + 1):
        added = select(
            JOBS.c.id, literal(one), JOBS.c.status, JOBS.c.reason, literal("seeded"), literal(1), JOBS.c.started_at,
            JOBS.c.finished_at, JOBS.c.error,
        ).where(JOBS.c.id > before, JOBS.c.status.in_(FINAL))  # fmt: skip
        names = "job_id number status reason node runner_pid started_at finished_at error".split()
        connection.execute(insert(ATTEMPTS).from_select(names, added))


def _rows(values: dict[str, Any], count: int) -> Select[Any]:
    """Return the same row so many times, made by the database itself."""
    numbers = select(literal(1).label("number")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < count))
    return select(*(literal(value, JOBS.c[name].type) for name, value in values.items())).select_from(numbers)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.seed", description="Fill bgapp's tables with jobs.")
    parser.add_argument("--jobs", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument(
        "--attempts", type=int, default=1, choices=range(1, 5), help="of each that has ended (default 1)"
    )
    parser.add_argument("--kind", choices=KINDS, default="mixed", help="what they are (default mixed)")
    parser.add_argument("--database", help="its URL; without it a new file seeded.sqlite in this folder")
    options = parser.parse_args(words)
    if options.database is None and Path("seeded.sqlite").exists():
        parser.error("seeded.sqlite is there already: remove it, or name it with --database to add to it")
    began = time.monotonic()
    try:
        database = Database(read(options.database) if options.database else of_file(Path.cwd() / "seeded.sqlite"))
        schema.upgrade(database)
        fill(database, options.kind, options.jobs, options.attempts)
    except (BgappError, ValueError) as error:
        print(error, file=sys.stderr)
        return 4
    print(f"{options.jobs} jobs in {time.monotonic() - began:.1f} s: {database.url.render_as_string()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
