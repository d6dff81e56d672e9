"""Outcomes that the database could not take yet: a small file for each, in the node's folder.

Such a file is written whole or not at all, and survives its runner: whoever settles the attempt later, its own
runner or a rescue, writes this outcome and not "lost". Writing it twice is harmless, for it names attempt and token.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bgapp import system
from bgapp.failpoints import reach
from bgapp.models import Reason, Status
from bgapp.node import Node
from bgapp.outcome import Outcome
from bgapp.records import Fence
from bgapp.system import Ended

UNFINISHED = ".new"  # what a writer that was killed leaves


@dataclass(frozen=True)
class Kept:
    """An outcome that waits, and the attempt whose it is."""

    fence: Fence
    outcome: Outcome


def keep(node: Node, fence: Fence, outcome: Outcome) -> None:
    """Write an outcome so that it outlives this process and this machine's power. Raises OSError."""
    path = node.outcome_path(fence.job, fence.attempt)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_suffix(UNFINISHED)  # an attempt has one writer
    facts = {"job": fence.job, "attempt": fence.attempt, "token": fence.token, "outcome": asdict(outcome)}
    descriptor = system.open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        reach("spool")
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    system.sync_folder(path.parent)


def kept(node: Node, job: int, attempt: int) -> Kept | None:
    """Return the outcome that waits for this attempt, None where there is none that can be read."""
    return _read(node.outcome_path(job, attempt))


def each(node: Node) -> Iterator[Kept]:
    """Yield every outcome that waits on this node."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(node.outcomes.glob("*.json")):
            found = _read(path)
            if found is not None:
                yield found


def forget(node: Node, fence: Fence) -> None:
    """Remove an outcome that is settled, or that nobody wants any more."""
    path = node.outcome_path(fence.job, fence.attempt)
    for one in (path, path.with_suffix(UNFINISHED)):
        with contextlib.suppress(OSError):
            one.unlink()


def _read(path: Path) -> Kept | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Kept(Fence(facts["job"], facts["attempt"], facts["token"]), _outcome(facts["outcome"]))
    except (OSError, ValueError, KeyError, TypeError):  # gone, or damaged by hand: as if it were not there
        return None


def _outcome(facts: dict[str, Any]) -> Outcome:
    reason, ended = facts["reason"], facts["ended"]
    return Outcome(
        **facts
        | {
            "status": Status(facts["status"]),
            "reason": None if reason is None else Reason(reason),
            "ended": None if ended is None else Ended(**ended),
        }
    )
