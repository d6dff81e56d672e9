"""Settle attempts whose runner is gone, by proof and not by a clock.

On this node the proof is in the processes: the runner is dead, the child is dead, and so is everything it started.
Of another node only its lock (where that is proof) or its lease (another machine, another boot) speaks.
"""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from bgapp import lifecycle, queries, scratch, spool, system
from bgapp import node as nodes
from bgapp.database import Database
from bgapp.errors import Fenced
from bgapp.failpoints import reach
from bgapp.models import Reason, Status
from bgapp.node import Node
from bgapp.outcome import Outcome, signal_words
from bgapp.records import Change, Fence
from bgapp.system import ProcessIdentity


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


def rescue(database: Database, node: Node, leases_from: timedelta | None = None) -> list[Change]:
    """Settle every running job whose runner is proven gone; return the committed changes.

    `leases_from`: how long after its end another machine's lease is believed to be over; None to judge no lease,
    as a process must that has not itself had the database for a while: its owner may be about to renew it.
    """
    # First, so that each of them has its row among those read next.
    waiting, entries = list(spool.each(node)), node.entries()
    with database.read() as connection:
        rows = queries.running(connection)
        now = database.clock(connection)
    changes = []
    unsettled = set()
    for row in rows:
        if row.node == node.id:
            found = _of_this_node(node, row)
        else:
            found = _of_another(database, node, row, None if leases_from is None else now - leases_from)
        if found is not None:
            changes += _settle(database, row, found.outcome)
            _forget_files(found.node, row)
        else:
            unsettled.add(ProcessIdentity(row.runner_pid, row.runner_ticks))
    _forget_unwanted(node, waiting, entries, rows)
    scratch.remove_of_dead(node, unsettled)
    return changes


@dataclass(frozen=True)
class _Found:
    """What became of a lost attempt, and on which node its files are."""

    outcome: Outcome
    node: Node


def _of_this_node(node: Node, row: Row[Any]) -> _Found | None:
    runner = ProcessIdentity(row.runner_pid, row.runner_ticks)
    if system.is_alive(runner) or not end_tree(node, row.id, row.attempt):
        return None
    return _Found(_what_is_known(node, row, f"its runner (process {row.runner_pid}) {_death(node, runner)}"), node)


def _of_another(database: Database, node: Node, row: Row[Any], lease_ended_by: datetime | None) -> _Found | None:
    other = Node(node.folder.parent / str(row.node))
    if other.lock_proves(one_machine=database.is_sqlite):
        # Every process of a node holds its lock, and the kernel frees it with the last of them.
        return _Found(_what_is_known(other, row, "its node ended"), other) if other.is_dead() else None
    if lease_ended_by is None or row.lease_until is None or row.lease_until > lease_ended_by:
        return None
    why = f"its node {row.node} has not been heard of since its lease ended"
    lost = Outcome(Status.FAILED, Reason.LOST, f"{why}; the method may have had effects")
    return _Found(_outcome_left(other, row) or lost, other)


def _what_is_known(node: Node, row: Row[Any], why: str) -> Outcome:
    """Return the outcome that its runner left in a file, else what the entry file tells."""
    return _outcome_left(node, row) or lost_or_not_started(read_entry(node, row.id, row.attempt), why)


def _outcome_left(node: Node, row: Row[Any]) -> Outcome | None:
    left = spool.kept(node, row.id, row.attempt)
    return left.outcome if left is not None and left.fence.token == row.token else None


def lost_or_not_started(entry: Entry, why: str) -> Outcome:
    """Return the outcome of an attempt whose processes are all gone."""
    pid = entry.process.pid if entry.process else None
    if entry.entered:
        return Outcome(Status.FAILED, Reason.LOST, f"{why} while the method ran, so it may have had effects", pid=pid)
    return Outcome(Status.FAILED, Reason.NOT_STARTED, f"{why} before the method was entered", pid=pid)


def _settle(database: Database, row: Row[Any], outcome: Outcome) -> list[Change]:
    reach("rescue")
    try:
        with database.write() as connection:
            fence = Fence(row.id, row.attempt, row.token)
            changes = lifecycle.settle(connection, fence, outcome, database.clock(connection))
    except Fenced:  # somebody settled it in the meantime
        return []
    reach("rescued")
    return changes


# Files of attempts and runners that are gone --------------------------------------------------------------------


def note_death(node: Node, process: ProcessIdentity, exit_code: int) -> None:
    """Write down how a runner ended that left its job behind; `exit_code` is negative for a signal."""
    path = node.death_path(process)
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(json.dumps(exit_code))


def _death(node: Node, process: ProcessIdentity) -> str:
    try:
        code = int(json.loads(node.death_path(process).read_text()))
    except (OSError, ValueError, TypeError):
        return "was lost"
    return f"ended with exit code {code}" if code >= 0 else f"was {signal_words(-code)}"


def _forget_files(node: Node, row: Row[Any]) -> None:
    forget_entry(node, row.id, row.attempt)
    spool.forget(node, Fence(row.id, row.attempt, row.token))
    with contextlib.suppress(OSError):
        node.death_path(ProcessIdentity(row.runner_pid, row.runner_ticks)).unlink()


def _forget_unwanted(node: Node, waiting: list[spool.Kept], entries: list[tuple[int, int]], rows: Any) -> None:
    """Remove files of attempts that are settled: their runner was killed in between, or somebody else settled them."""
    running = {(row.id, row.attempt): row.token for row in rows}
    for kept in waiting:
        if running.get((kept.fence.job, kept.fence.attempt)) != kept.fence.token:
            spool.forget(node, kept.fence)
    for job, attempt in entries:
        process = read_entry(node, job, attempt).process if (job, attempt) not in running else None
        if process is not None and not system.is_alive(process):
            forget_entry(node, job, attempt)


def forget_dead_nodes(database: Database, node: Node) -> list[str]:
    """Remove the folders of nodes that ended and have no job left; return the ids of those that are proven dead.

    Call after `rescue`.
    """
    with database.read() as connection:
        kept = {node.id, *(row.node for row in queries.running(connection))}
    with nodes.one_at_a_time(node.folder.parent):  # a folder that another process is just making is not dead
        nodes.remove_copies(node.folder.parent.parent)
        gone = [other for other in nodes.each(node.folder.parent.parent) if other.id not in kept and other.is_dead()]
        proven = [other.id for other in gone if other.lock_proves(one_machine=database.is_sqlite)]
        for other in gone:
            scratch.remove_all(other)
            other.remove()
    return proven
