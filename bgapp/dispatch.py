"""One pass: due jobs against idle runners and free slots; wake some, ask the host for more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bgapp import clock, lifecycle, queries, system, wake
from bgapp.node import Node
from bgapp.runtime import Runtime
from bgapp.settings import cores

PATIENCE = timedelta(seconds=3)  # how long a woken runner may take to claim
GROWTH = 0.1  # seconds in which as many runners may be added as the machine has cores


@dataclass(frozen=True)
class Dispatched:
    """What one pass found and did. `held_back`: how many runners were not asked for yet, though there is work."""

    due: int = 0
    woken: int = 0
    asked: int = 0
    held_back: int = 0


class Growth:
    """How many runners may be added now: a core's worth at once, and as many again each tenth of a second.

    Fifty jobs of a few milliseconds are done before a third pair of runners could be made; fifty long ones wait for
    the last runner a second or so.
    """

    def __init__(self, step: int | None = None) -> None:
        self._step = step or max(2, cores())
        self._left = float(self._step)
        self._at = clock.monotonic()

    def take(self, wanted: int) -> int:
        """Return how many of the wanted runners may be added at this moment."""
        now = clock.monotonic()
        self._left = min(float(self._step), self._left + (now - self._at) / GROWTH * self._step)
        self._at = now
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken


class Dispatcher:
    """The leader's hand: one pass after another."""

    def __init__(self, runtime: Runtime, node: Node) -> None:
        self._runtime, self._node = runtime, node
        self._growth = Growth()

    def run(self) -> Dispatched:
        """Promote what fell due, and see to it that as many runners look for work as there is work and room.

        Raises DatabaseUnavailable.
        """
        database, limit = self._runtime.database, self._runtime.settings.max_running
        with database.read() as connection:
            now = database.clock(connection)
            next_due = queries.next_due(connection)
            due = queries.due(connection, limit)
            first_due = queries.first_due(connection) if due else None
        if next_due is not None and next_due <= now:
            with database.write() as connection:
                changes = lifecycle.promote(connection, now)
            self._runtime.tell(changes)
            due = min(limit, due + len(changes))
        woken = wake.wake_idle(self._node, due)
        held = len(self._node.held_slots(limit))
        # A runner that heard and takes nothing is stopped, or stuck: others must.
        ignored = first_due is not None and now - first_due > PATIENCE
        wanted = min(due - (0 if ignored else woken), limit - held)
        if wanted <= 0 and held == 0:
            wanted = 1  # one stays warm while an app process lives
        added = self._growth.take(wanted) if wanted > 0 else 0
        if added and not system.post(self._node.channel(wake.HOST), added):
            return Dispatched(due, woken)  # the host is not there yet; it begins with a runner, and the next tick asks
        return Dispatched(due, woken, added, max(0, wanted - added))
