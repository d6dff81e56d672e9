"""One pass: say that this node lives, rescue what lost its runner, forget nodes that ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from bgapp import clock, controls, rescue, stop
from bgapp.errors import DatabaseUnavailable, NodeClash
from bgapp.node import Node
from bgapp.runtime import Runtime

SAY_ALIVE = 5.0  # seconds
LOOK_FOR_DEAD_NODES = 10.0  # seconds
FORGET_SILENT_NODES = timedelta(days=1)
MARGIN = 1 / 6  # of a lease, after its end: by then the loser has long stopped itself
CONTACT = 1 / 3  # of a lease: who came back to the database later than others must let them renew first


class Maintenance:
    """The leader's housekeeping, called at each tick."""

    def __init__(self, runtime: Runtime, node: Node, generation: str) -> None:
        self._runtime, self._node, self._generation = runtime, node, generation
        self._alive_at = 0.0
        self._nodes_at = 0.0
        self._told: set[datetime] | None = None
        self._contact_since: float | None = None

    def run(self) -> int:
        """Do what is due; return how many jobs changed. Raises DatabaseUnavailable, NodeClash."""
        try:
            return self._run(clock.monotonic())
        except DatabaseUnavailable:
            self._contact_since = None
            raise

    def _run(self, now: float) -> int:
        database = self._runtime.database
        if now >= self._alive_at:
            self._say_alive()
            self._alive_at = now + SAY_ALIVE
        changes = rescue.rescue(database, self._node, self._leases_from(now))
        self._runtime.tell(changes)
        if now >= self._nodes_at:
            self._nodes_at = now + LOOK_FOR_DEAD_NODES
            self._forget_dead_nodes()
        return len(changes)

    def _say_alive(self) -> None:
        """Say that this node lives, unless another says so too: then nothing is rescued, started or claimed here."""
        database = self._runtime.database
        try:
            with database.write() as connection:
                now = database.clock(connection)
                controls.say_alive(connection, self._node, self._generation, now, self._told)
                self._told = {*(self._told or ()), now}  # until COMMIT has answered it may be any of them
        except NodeClash as clash:
            self._node.refuse(str(clash))
            stop.ask_to_stop(self._node, now=False)
            raise
        self._told = {now}
        self._node.refuse(None)

    def _leases_from(self, now: float) -> timedelta | None:
        """Return how long after its end a lease counts as over; None while this process may not judge.

        After the database was away for everybody, the first to come back would find every lease over, and take jobs
        whose runners are about to write their outcome.
        """
        if self._contact_since is None:
            self._contact_since = now
        lease = self._runtime.settings.lease
        return timedelta(seconds=lease * MARGIN) if now - self._contact_since >= lease * CONTACT else None

    def _forget_dead_nodes(self) -> None:
        database = self._runtime.database
        gone = rescue.forget_dead_nodes(database, self._node)
        with database.write() as connection:
            for node_id in gone:
                controls.forget_node(connection, node_id)
            controls.forget_silent_nodes(connection, database.clock(connection) - FORGET_SILENT_NODES)
