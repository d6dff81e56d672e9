"""One pass: due jobs against idle runners and free slots; wake some, ask the host for more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bgapp import lifecycle, queries, system, wake
from bgapp.node import Node
from bgapp.runtime import Runtime

PATIENCE = timedelta(seconds=3)  # how long a woken runner may take to claim


@dataclass(frozen=True)
class Dispatched:
    """What one pass found and did."""

    due: int = 0
    woken: int = 0
    asked: int = 0


def dispatch(runtime: Runtime, node: Node) -> Dispatched:
    """Promote what fell due, and see to it that as many runners look for work as there is work and room."""
    database, limit = runtime.database, runtime.settings.max_running
    with database.read() as connection:
        now = database.clock(connection)
        next_due = queries.next_due(connection)
        due = queries.due(connection, limit)
        first_due = queries.first_due(connection) if due else None
    if next_due is not None and next_due <= now:
        with database.write() as connection:
            changes = lifecycle.promote(connection, now)
        runtime.tell(changes)
        due = min(limit, due + len(changes))
    woken = wake.wake_idle(node, due)
    held = len(node.held_slots(limit))
    # A runner that heard and takes nothing is stopped, or stuck: others must.
    ignored = first_due is not None and now - first_due > PATIENCE
    wanted = min(due - (0 if ignored else woken), limit - held)
    if wanted <= 0 and held == 0:
        wanted = 1  # one stays warm while an app process lives
    if wanted > 0 and system.post(node.channel(wake.HOST), wanted):
        return Dispatched(due, woken, wanted)
    return Dispatched(due, woken)
