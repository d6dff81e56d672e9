"""Blows at named points of a job's path, and the one check of what was promised."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from bgapp import failpoints, system
from bgapp.handle import JobHandle
from tests.site import Site
from tests.waiting import wait_for

KINDS = ("app", "host", "runner", "forker", "child")


class Blows:
    """Blows that fall on an installation's processes at a named point of a job's path."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder

    def arm(self, point: str, action: str) -> None:
        failpoints.arm(self.folder, point, action)

    def wait_taken(self, point: str) -> int:
        """Wait until a process has reached the point; return its pid."""
        wait_for(lambda: failpoints.taken_by(self.folder, point), f"a process at {point!r}\n{self.site.diagnosis()}")
        found = failpoints.taken_by(self.folder, point)
        assert found is not None
        return found

    def release(self, point: str) -> None:
        failpoints.release(self.folder, point)

    def strike(self, kinds: Iterable[str], number: int = signal.SIGKILL) -> None:
        """Signal every living process of these kinds; return once those that are killed are gone."""
        wanted = set(kinds)
        self._signal([process for kind, process in self.site.by_kind() if kind in wanted], number)

    def strike_one(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Signal one process, as `strike` does."""
        process = system.identify(pid)
        self._signal([process] if process else [], number)

    @staticmethod
    def _signal(struck: list[system.ProcessIdentity], number: int) -> None:
        for process in struck:
            system.terminate(process, number)
        if number == signal.SIGKILL:
            wait_for(lambda: not any(map(system.is_alive, struck)), "the end of what was killed")


def check(site: Site, job: JobHandle, found: dict[str, Any]) -> None:
    """Hold one ended job against every promise; the witness is believed, not bgapp."""
    starts, ends = site.starts(job.id), site.ends(job.id)
    lost = [one for one in found["attempts"] if one["reason"] in ("lost", "no_result")]
    told = f"{found}\n{starts}\n{ends}\n{site.diagnosis()}"
    if found["status"] == "completed":
        assert ends, f"completed without an end: {told}"
    else:
        assert (found["status"], found["reason"], found["retries"]) == ("failed", "lost", 0), told
        assert "may have had effects" in found["error"], told
    assert len(starts) <= 1 + len(lost), f"a start that no lost attempt explains: {told}"
    assert len(starts) <= 1 + found["retries"], told
    for first, second in pairwise(starts):
        assert int(first[3]) < int(second[3]), told
        assert system.identify(int(first[4])) is None, f"two at once: {told}"
    for one in found["attempts"]:
        if one["reason"] == "not_started":
            assert all(start[2] != str(one["number"]) for start in starts), f"entered after all: {told}"


def nothing_is_left(site: Site) -> None:
    """Wait until nothing of an attempt lives and nothing waits to be reaped."""

    def clean() -> bool:
        kinds = [kind for kind, _ in site.by_kind()]
        node = site.node
        assert node is not None
        entries = os.listdir(node.folder / "entries")
        outcomes = os.listdir(node.outcomes) if node.outcomes.exists() else []
        return "child" not in kinds and not zombies(site) and not entries and not outcomes

    wait_for(clean, f"an installation without leftovers: {site.by_kind()}")


def zombies(site: Site) -> list[int]:
    """Return ended processes that a process of this installation has not reaped."""
    parents = {process.pid for _, process in site.by_kind()}
    found = []
    for name in os.listdir("/proc"):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split() if name.isdigit() else []
        except OSError:
            continue
        if fields and fields[0] == "Z" and int(fields[1]) in parents:
            found.append(int(name))
    return found
