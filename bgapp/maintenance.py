"""One pass: say that this node lives, rescue what lost its runner, forget nodes that ended."""

from __future__ import annotations

from bgapp import clock, controls, rescue
from bgapp.node import Node
from bgapp.runtime import Runtime

SAY_ALIVE = 5.0  # seconds
LOOK_FOR_DEAD_NODES = 10.0  # seconds


class Maintenance:
    """The leader's housekeeping, called at each tick."""

    def __init__(self, runtime: Runtime, node: Node, generation: str) -> None:
        self._runtime, self._node, self._generation = runtime, node, generation
        self._alive_at = 0.0
        self._nodes_at = 0.0

    def run(self) -> int:
        """Do what is due; return how many jobs changed. Raises DatabaseUnavailable."""
        now = clock.monotonic()
        database = self._runtime.database
        if now >= self._alive_at:
            with database.write() as connection:
                controls.say_alive(connection, self._node, self._generation, database.clock(connection))
            self._alive_at = now + SAY_ALIVE
        changes = rescue.rescue(database, self._node)
        self._runtime.tell(changes)
        if now >= self._nodes_at:
            self._nodes_at = now + LOOK_FOR_DEAD_NODES
            self._forget_dead_nodes()
        return len(changes)

    def _forget_dead_nodes(self) -> None:
        gone = rescue.forget_dead_nodes(self._node)
        if gone:
            with self._runtime.database.write() as connection:
                for node_id in gone:
                    controls.forget_node(connection, node_id)
