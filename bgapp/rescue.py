"""Settle attempts whose runner is gone, by proof and not by a clock.

On this node the proof is in the processes: the runner is dead, the child is dead, and so is everything it started.
Of another node only its lock (same machine) or its lease (another machine) speaks.
"""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from bgapp import lifecycle, queries, system
from bgapp import node as nodes
from bgapp.database import Database
from bgapp.errors import Fenced
from bgapp.models import Reason, Status
from bgapp.node import Node
from bgapp.outcome import Outcome
from bgapp.records import Change, Claim
from bgapp.system import ProcessIdentity

LEASE_MARGIN = timedelta(seconds=5)  # the loser must have stopped itself before anyone else takes over


@dataclass(frozen=True)
class Entry:
    """What an attempt's entry file says: its process, and whether it entered the method."""

    process: ProcessIdentity | None
    entered: bool


def marker(node: Node, job: int, attempt: int) -> str:
    """Return the text that every program started by this attempt carries in its environment."""
    return f"{node.id}:{job}:{attempt}:"


def read_entry(node: Node, job: int, attempt: int) -> Entry:
    """Return what the attempt's process wrote of itself; nothing where it never came to that."""
    try:
        first, _, rest = node.entry_path(job, attempt).read_text().partition("\n")
        pid, ticks = first.split()
        return Entry(ProcessIdentity(int(pid), int(ticks)), "E" in rest)
    except (OSError, ValueError):
        return Entry(None, False)


def forget_entry(node: Node, job: int, attempt: int) -> None:
    """Remove a settled attempt's entry file."""
    with contextlib.suppress(OSError):
        node.entry_path(job, attempt).unlink()


def end_tree(node: Node, job: int, attempt: int) -> bool:
    """Kill whatever lives of an attempt; return True once nothing does. Call again until then."""
    entry = read_entry(node, job, attempt)
    living = False
    if entry.process is not None and system.is_alive(entry.process):
        system.terminate(entry.process, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        living = True
    # The session's number is the child's pid; its own members kept it from being given out again.
    session = entry.process.pid if entry.process is not None and living else None
    return not (system.sweep(session, marker(node, job, attempt)) or living)


def rescue(database: Database, node: Node) -> list[Change]:
    """Settle every running job whose runner is proven gone; return the committed changes."""
    with database.read() as connection:
        rows = queries.running(connection)
        now = database.clock(connection)
    changes = []
    for row in rows:
        outcome = _of_this_node(node, row) if row.node == node.id else _of_another(node, row, now)
        if outcome is not None:
            changes += _settle(database, row, outcome)
            if row.node == node.id:
                forget_entry(node, row.id, row.attempt)
    return changes


def _of_this_node(node: Node, row: Row[Any]) -> Outcome | None:
    runner = ProcessIdentity(row.runner_pid, row.runner_ticks)
    if system.is_alive(runner) or not end_tree(node, row.id, row.attempt):
        return None
    return lost_or_not_started(read_entry(node, row.id, row.attempt), f"its runner (process {row.runner_pid}) was lost")


def lost_or_not_started(entry: Entry, why: str) -> Outcome:
    """Return the outcome of an attempt whose processes are all gone."""
    pid = entry.process.pid if entry.process else None
    if entry.entered:
        return Outcome(Status.FAILED, Reason.LOST, f"{why} while the method ran; it may have had effects", pid=pid)
    return Outcome(Status.FAILED, Reason.NOT_STARTED, f"{why} before the method was entered", pid=pid)


def _of_another(node: Node, row: Row[Any], now: Any) -> Outcome | None:
    other = Node(node.folder.parent / str(row.node))
    if other.folder.is_dir():
        # Every process of a node holds its lock, and the kernel frees it with the last of them.
        if not other.is_dead():
            return None
        return lost_or_not_started(read_entry(other, row.id, row.attempt), "its node ended")
    if row.lease_until is not None and now < row.lease_until + LEASE_MARGIN:
        return None
    return Outcome(Status.FAILED, Reason.LOST, f"its node {row.node} has not been heard of since its lease ended")


def _settle(database: Database, row: Row[Any], outcome: Outcome) -> list[Change]:
    claimed = Claim(
        row.id, row.attempt, row.token, row.job_class, row.method, row.params, row.secret_params,
        row.retries, row.timeout, row.queue, row.created_at,
    )  # fmt: skip
    try:
        with database.write() as connection:
            return lifecycle.settle(connection, claimed, outcome, database.clock(connection))
    except Fenced:  # somebody settled it in the meantime
        return []


def forget_dead_nodes(node: Node) -> list[str]:
    """Remove the folders of this instance's nodes that ended; return their ids. Call after `rescue`."""
    with nodes.one_at_a_time(node.folder.parent):  # a folder that another process is just making is not dead
        gone = [other for other in nodes.each(node.folder.parent.parent) if other.id != node.id and other.is_dead()]
        for other in gone:
            other.remove()
    return [other.id for other in gone]
