"""Asking every runner of a node to stop, by a file in the node's folder that outlives whoever asked."""

from __future__ import annotations

import os

from bgapp import clock, system, wake
from bgapp.node import Node

FILE = "stop"


def ask_to_stop(node: Node, *, now: bool) -> None:
    """Have every runner leave after its job, or, with `now`, end its job as well. Runners started later go on."""
    path = node.folder / FILE
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = system.open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, b"now" if now else b"after")
    os.close(descriptor)
    os.utime(fresh, (clock.monotonic(), clock.monotonic()))  # a wall clock may be set back before a runner looks
    fresh.replace(path)
    wake.wake_runners(node.folder.parent.parent)


def stop_asked(node: Node, since: float) -> str | None:
    """Return "after" or "now" where a stop was asked for since that time (monotonic seconds), else None."""
    path = node.folder / FILE
    try:
        if os.stat(path).st_mtime < since:
            return None
        return path.read_text()
    except OSError:
        return None
