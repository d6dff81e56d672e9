"""The writes that are no transition of a job: what a node says of itself."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from bgapp.errors import NodeClash
from bgapp.models import Node as NodeRow
from bgapp.node import Node, hostname
from bgapp.statements import JOBS, RUNNING

HEARD_OF = timedelta(minutes=1)  # a leader says every few seconds that it lives


def say_alive(
    connection: Connection, node: Node, generation: str, now: datetime, told: Set[datetime] | None = None
) -> None:
    """Write that this node's leader lives, and which generation of the code its runners must hold.

    `told`: the times of which this leader may have written the newest, None where it has written none yet. Raises
    NodeClash where another leader writes as this node, from another machine or another folder.
    """
    row = connection.execute(select(NodeRow.__table__).where(NodeRow.id == node.id).with_for_update()).one_or_none()
    identity = node.identity() or {}
    values = {
        "generation": generation,
        "seen_at": now,
        "hostname": hostname(),
        "boot_id": identity.get("boot_id", ""),
        "pid_namespace": identity.get("pid_namespace", ""),
    }
    if row is None:
        connection.execute(insert(NodeRow).values(id=node.id, started_at=now, **values))
        return
    if row.seen_at is not None and now - row.seen_at < HEARD_OF and _is_anothers(row, values, told):
        there = f"{row.hostname} (boot {row.boot_id}, heard of at {row.seen_at:%H:%M:%S} UTC)"
        here = f"{values['hostname']} (boot {values['boot_id']}, folder {node.folder})"
        raise NodeClash(
            f"node {node.id} is in use twice: on {there} and on {here}. The machine or its instance folder was copied: "
            "stop one of them, delete this folder there, and start it again"
        )
    connection.execute(update(NodeRow).where(NodeRow.id == node.id).values(values))


def _is_anothers(row: Row[Any], mine: dict[str, Any], told: Set[datetime] | None) -> bool:
    """Return whether a row of this node was written elsewhere.

    A leader is alone while it holds its lock, so a time that it did not write is another's; but a process that runs
    jobs inline writes there too, with a generation of its own.
    """
    if told is not None and row.generation == mine["generation"] and row.seen_at not in told:
        return True
    return bool((row.boot_id, row.pid_namespace) != (mine["boot_id"], mine["pid_namespace"]))


def try_to_write(connection: Connection, node_id: str) -> None:
    """Write what a node's row says already: proof that the database takes writes, to be rolled back."""
    connection.execute(update(NodeRow).where(NodeRow.id == node_id).values(hostname=NodeRow.hostname))


def forget_node(connection: Connection, node_id: str) -> None:
    """Delete a dead node's row, once no job of it runs."""
    connection.execute(delete(NodeRow).where(NodeRow.id == node_id))


def forget_silent_nodes(connection: Connection, before: datetime) -> int:
    """Delete the rows of nodes that were last heard of before that time and run nothing; return how many."""
    runs = select(JOBS.c.id).where(JOBS.c.node == NodeRow.id, RUNNING).exists()
    return connection.execute(delete(NodeRow).where(NodeRow.seen_at < before, ~runs)).rowcount
