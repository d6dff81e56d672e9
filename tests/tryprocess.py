"""A process that tries to log in again and again; run it as `python -m tests.tryprocess URL TRIES`."""

from __future__ import annotations

import sys

from bgapp import throttle
from bgapp.database import Database


def main(url: str, tries: int) -> int:
    """Return how many tries would have reached the password's hash."""
    database = Database(url)
    looked_at = 0
    for _ in range(tries):
        with database.write() as connection:
            wait = throttle.begin(connection, "192.0.2.1", database.clock(connection), "ann")
        looked_at += wait == 0.0
    return looked_at


if __name__ == "__main__":
    sys.stdin.read()  # until all processes of the test are there
    print(main(sys.argv[1], int(sys.argv[2])))
