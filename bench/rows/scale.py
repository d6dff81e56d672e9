"""What claiming, listing and counting cost with a hundred thousand jobs in the table, against a thousand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from typing import Any

from sqlalchemy import Connection, insert

from bench import seed
from bench.place import Place
from bench.rows import Mode, Numbers, Row
from bgapp import clock, lifecycle, queries, schema, system
from bgapp.database import Database
from bgapp.models import Node
from bgapp.records import Owner
from bgapp.system import ProcessIdentity

SMALL, LARGE, LARGEST = 1000, 100_000, 1_000_000
DUE = 200  # jobs that can be claimed, whatever else is in the table
TIMES = 50


def measure(kind: str, mode: Mode) -> Numbers:
    """Fill one small and one large SQLite file with jobs of a kind; time the same statements on both."""
    small = times(kind, SMALL)
    numbers: Numbers = {f"{name} at 1,000, ms": 1000 * seconds for name, seconds in small.items()}
    for size in (LARGE, *((LARGEST,) if mode.long else ())):
        large = times(kind, size)
        numbers |= {f"{name}, {size:,} / 1,000": large[name] / small[name] for name in small}
    return numbers


def times(kind: str, size: int) -> dict[str, float]:
    """Return the median seconds of each: a claim's statements without its commit, a page of the list, the counts."""
    place = Place()
    database = Database(f"sqlite:///{place.folder / 'jobs.sqlite'}")
    try:
        schema.upgrade(database)
        seed.fill(database, kind, size, 1)
        seed.fill(database, "waiting", DUE, 1)
        owner = _owner(database)
        return {
            "claim": _claims(database, owner),
            "list": _reads(database, queries.jobs),
            "counts": _reads(database, queries.counts),
        }
    finally:
        database.dispose()
        place.end()


def _owner(database: Database) -> Owner:
    me = system.identify(1) or ProcessIdentity(1, 1)
    now = clock.now()
    with database.write() as connection:
        facts = {"hostname": "bench", "boot_id": "bench", "pid_namespace": "bench", "generation": "bench"}
        connection.execute(insert(Node).values(id="bench", started_at=now, seen_at=now, **facts))
    return Owner("bench", me, "bench", timedelta(seconds=30))


def _claims(database: Database, owner: Owner) -> float:
    took = []
    for _ in range(TIMES):
        with database.write() as connection:
            began = time.perf_counter()
            now = database.clock(connection)
            lifecycle.promote(connection, now)
            claim, _changes = lifecycle.claim(connection, owner, now)
            took.append(time.perf_counter() - began)
        assert claim is not None
    return median(took)


def _reads(database: Database, read: Callable[[Connection], Any]) -> float:
    took = []
    for _ in range(TIMES):
        with database.read() as connection:
            began = time.perf_counter()
            read(connection)
            took.append(time.perf_counter() - began)
    return median(took)


PARTS = ("claim", "list", "counts")

ROW = Row(
    name="scale",
    says=(
        "SQLite files filled with jobs that have ended, that wait for their time, and that are due. A claim is its"
        " statements without the commit; the list is its first page; counting stops at 10,000 for each status."
    ),
    measure=measure,
    metrics={
        **{f"{part} at 1,000, ms": "" for part in PARTS},
        **{f"{part}, {LARGE:,} / 1,000": "1 is best" for part in PARTS},
        **{f"{part}, {LARGEST:,} / 1,000": "1 is best" for part in PARTS},
    },
    systems=("finished", "delayed", "waiting"),
    counts=True,
)
