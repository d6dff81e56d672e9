"""A runner's turn at the database: write what ended, claim what is next, whatever becomes of the connection.

Two things can go wrong. The database may be away: then the outcome waits, in a file that outlives this process, and
is tried again. Or the connection may break during COMMIT, so that nobody knows whether it happened: then the next
try looks first, for a claim that is committed and that nobody works on would stay `running` for ever.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from bgapp import clock, lifecycle, postgres, queries, rescue, scratch, spool
from bgapp.database import Database
from bgapp.errors import DatabaseBusy, DatabaseUnavailable, Fenced
from bgapp.failpoints import reach
from bgapp.node import Node
from bgapp.outcome import Outcome
from bgapp.records import Change, Claim, Owner
from bgapp.runtime import Runtime


@dataclass(frozen=True)
class Finished:
    """An attempt whose outcome is to be written."""

    claim: Claim
    outcome: Outcome


@dataclass(frozen=True)
class Turn:
    """What one transaction did."""

    at: datetime  # the database's time that it wrote
    finished: Finished | None
    claim: Claim | None
    changes: list[Change]
    leased_since: float  # monotonic, before the claim: the lease lasts at least until this and its length
    outdated: bool = False  # the node's code is not this runner's any more
    receipt: str | None = None  # PostgreSQL's number of the transaction


class Ledger:
    """One runner's writes of outcomes and claims."""

    def __init__(self, runtime: Runtime, database: Database, node: Node, owner: Owner) -> None:
        self._runtime, self._database, self._node, self._owner = runtime, database, node, owner
        self._unsure: Turn | None = None  # of which the commit's answer is missing
        self._kept: Finished | None = None

    def turn(self, finished: Finished | None, *, claims: bool) -> Turn:
        """Settle `finished` and, with `claims`, claim the best due job, in one transaction.

        Raises Fenced where the finished attempt belongs to somebody else by now, and DatabaseUnavailable: then the
        outcome waits in a file, and calling again with the same arguments is right and harmless.
        """
        if finished is not None:
            reach("outcome")
        try:
            done = self._try(finished, claims)
        except DatabaseUnavailable:
            self._keep(finished)
            raise
        except Fenced:
            if finished is not None:
                self._forget(finished)
            raise
        if finished is None:
            self._runtime.tell(done.changes)
        else:
            reach("settled")
            self._runtime.tell(done.changes)
            reach("logged")
            self._forget(finished)
        return done

    def _try(self, finished: Finished | None, claims: bool) -> Turn:
        since = clock.monotonic()
        with self._database.write() as connection:
            if self._unsure is not None and self._has_landed(connection, self._unsure):
                landed, self._unsure = self._unsure, None
                return landed
            self._unsure = None
            now = self._database.clock(connection)
            changes = []
            if finished is not None:
                changes += lifecycle.settle(connection, finished.claim, finished.outcome, now)
                reach("settle")
            claim, outdated, receipt = None, False, None
            if claims:
                changes += lifecycle.promote(connection, now)
                claim, begun = lifecycle.claim(connection, self._owner, now)
                changes += begun
                if claim is not None:
                    reach("claim")
                else:
                    outdated = not self._is_current(connection)
            if not self._database.is_sqlite and (finished is not None or claim is not None):
                receipt = postgres.receipt(connection)
            done = Turn(now, finished, claim, changes, since, outdated, receipt)
            self._unsure = done  # until COMMIT has answered
        self._unsure = None
        return done

    def _is_current(self, connection: Connection) -> bool:
        return queries.generation(connection, self._node.id) == self._owner.generation

    @staticmethod
    def _has_landed(connection: Connection, turn: Turn) -> bool:
        """Return whether a transaction is committed after all. Its parts were committed together or not at all.

        Raises DatabaseBusy while its COMMIT is still on its way.
        """
        if turn.receipt is not None:
            fate = postgres.fate(connection, turn.receipt)
            if fate == postgres.IN_PROGRESS:
                raise DatabaseBusy("the last transaction is not through yet: try again")
            return fate == postgres.COMMITTED
        if turn.claim is not None and queries.is_held(connection, turn.claim):
            return True
        finished = turn.finished
        return finished is not None and queries.ended_at(connection, finished.claim) == turn.at

    def is_kept(self, finished: Finished | None) -> bool:
        """Return whether nothing would be lost if this process ended now."""
        return finished is None or self._kept is finished

    def _keep(self, finished: Finished | None) -> None:
        if finished is None or self._kept is finished:
            return
        with contextlib.suppress(OSError):  # a full disk: the next try at the database tries this again too
            spool.keep(self._node, finished.claim, finished.outcome)
            self._kept = finished
            reach("spooled")

    def _forget(self, finished: Finished) -> None:
        rescue.forget_entry(self._node, finished.claim.job, finished.claim.attempt)
        scratch.clear(self._node, self._owner.process)
        if self._kept is finished:
            spool.forget(self._node, finished.claim)
            self._kept = None
