"""A process that claims and settles until nothing is due, and prints what it claimed: one "job attempt" a line.

It starts at the word on its standard input, so that several begin at the same moment.
"""

from __future__ import annotations

import sys

from bgapp import lifecycle
from bgapp.database import Database
from bgapp.errors import DatabaseBusy
from tests import factories as make


def main(url: str, pid: int) -> None:
    database = Database(url)
    with database.read():
        print("ready", flush=True)
    sys.stdin.readline()
    claimed = None
    while True:
        try:
            with database.write() as connection:
                if claimed is not None:
                    lifecycle.settle(connection, claimed, make.COMPLETED, make.NOW)
                lifecycle.promote(connection, make.NOW)
                begun, _ = lifecycle.claim(connection, make.owner(pid=pid), make.NOW)
        except DatabaseBusy:
            continue
        claimed = begun
        if claimed is None:
            break
        print(claimed.job, claimed.attempt, flush=True)
    database.dispose()


main(sys.argv[1], int(sys.argv[2]))
