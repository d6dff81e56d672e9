"""A job that fills a table with demo users, and adds none twice however often it is tried."""

from __future__ import annotations

from typing import Any

from bgapp import current_job
from bgapp.errors import shown
from bgapp.jobs import demo_tables

MAX_COUNT = 100_000
BATCH = 500

FIRST_NAMES = ("Ada", "Chidi", "Elif", "Goran", "Ingrid", "Kenji", "Lucía")
LAST_NAMES = ("Adeyemi", "Brandt", "Castillo", "Demir", "Eriksen", "Fontaine", "Gupta", "Horvat", "Ito", "Kaya", "Lee")


class UserSeeder:
    """Fills the table `demo_users` with made-up people."""

    def seed(self, count: int) -> dict[str, Any]:
        """Add demo users to the application's database.

        count: how many, 1 to 100000.

        The users of one job are named `demo-<job id>-<number>`. Called outside a job, the id is 0.
        Raises ValueError if `count` is out of its range.
        """
        if not 1 <= count <= MAX_COUNT:
            raise ValueError(f"count must be 1 to {MAX_COUNT}, not {shown(count)}")
        # The name is made of the job's id, which every attempt at the job shares: a retry makes the same names,
        # and the unique column passes over those that an earlier attempt had committed before it was killed.
        prefix = f"demo-{current_job.id if current_job else 0}"
        session = demo_tables.open_session(demo_tables.users)
        for first in range(1, count + 1, BATCH):
            last = min(first + BATCH - 1, count)
            demo_tables.insert_new(
                session, demo_tables.users, [_user(prefix, number) for number in range(first, last + 1)]
            )
            session.commit()
            current_job.progress(last / count, f"{last} of {count} users")
        print(f"users {prefix}-1 to {prefix}-{count} are in the database")
        return {"users": count, "first": f"{prefix}-1", "last": f"{prefix}-{count}"}


def _user(prefix: str, number: int) -> dict[str, Any]:
    username = f"{prefix}-{number}"
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    last = LAST_NAMES[number % len(LAST_NAMES)]
    return {"username": username, "name": f"{first} {last}", "email": f"{username}@example.com"}
