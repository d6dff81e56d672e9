"""The writes that are no transition of a job: what a node says of itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, update

from bgapp.models import Node as NodeRow
from bgapp.node import Node, hostname


def say_alive(connection: Connection, node: Node, generation: str, now: datetime) -> None:
    """Write that this node's leader lives, and which generation of the code its runners must hold."""
    values = {"generation": generation, "seen_at": now}
    if connection.execute(update(NodeRow).where(NodeRow.id == node.id).values(values)).rowcount == 0:
        identity = node.identity() or {}
        connection.execute(
            insert(NodeRow).values(
                id=node.id,
                hostname=hostname(),
                boot_id=identity.get("boot_id", ""),
                pid_namespace=identity.get("pid_namespace", ""),
                started_at=now,
                **values,
            )
        )


def try_to_write(connection: Connection, node_id: str) -> None:
    """Write what a node's row says already: proof that the database takes writes, to be rolled back."""
    connection.execute(update(NodeRow).where(NodeRow.id == node_id).values(hostname=NodeRow.hostname))


def forget_node(connection: Connection, node_id: str) -> None:
    """Delete a dead node's row, once no job of it runs."""
    connection.execute(delete(NodeRow).where(NodeRow.id == node_id))
