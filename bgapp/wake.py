"""Wake-ups: hints to whoever waits for work. A lost one costs a tick, never a job."""

from __future__ import annotations

from pathlib import Path

from bgapp import node as nodes
from bgapp import system

LEADER = "leader"
HOST = "host"


def wake_for_work(instance: Path) -> bool:
    """Wake the leader and one idle runner of each node of this instance; return whether anyone heard."""
    heard = False
    for node in nodes.each(instance):
        heard = system.post(node.channel(LEADER)) or heard
        heard = wake_idle(node, 1) == 1 or heard
    return heard


def wake_idle(node: nodes.Node, most: int) -> int:
    """Wake up to `most` idle runners and return how many heard.

    A runner reads its `idle-N` channel only while it waits for work, so that a wake-up never goes to a busy one.
    """
    woken = 0
    for path in sorted(node.channel("").glob("idle-*")) if most else ():
        if system.post(path):
            woken += 1
        if woken >= most:
            break
    return woken


def wake_runners(instance: Path) -> None:
    """Have every runner, busy or idle, look at the database now: a cancel or a stop was asked for."""
    for node in nodes.each(instance):
        for path in node.channel("").glob("runner-*"):
            system.post(path)
