"""The processes of one installation, found in the kernel's own list and proven to belong to it (Linux)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from bgapp.system import ProcessIdentity

PROC = Path("/proc")
NAMES = {"bgapp-host": "host", "bgapp-runner": "runner", "bgapp-forker": "forker"}
COMMANDS = {b"--host": "host", b"--runner": "runner", b"--child": "child"}
STATE, PARENT, GROUP, TICKS = 0, 1, 2, 19  # places in /proc/PID/stat after the name; proc(5) counts from 3 there


@dataclass(frozen=True)
class Process:
    """A process of an installation. `role`: app, host, runner, forker, child, or program for all else."""

    identity: ProcessIdentity
    role: str
    parent: int
    group: int
    is_zombie: bool

    @property
    def pid(self) -> int:
        return self.identity.pid


def can_look() -> bool:
    """Return whether this system shows its processes the way that is read here."""
    return (PROC / "self" / "environ").exists()


class Finder:
    """Finds an installation's processes by the setting that each of them carries in its environment."""

    def __init__(self, instance: Path) -> None:
        self._mark = f"BGAPP_INSTANCE={instance}".encode()
        self._known: set[ProcessIdentity] = set()
        self.apps: set[int] = set()  # pids of the app processes, which nothing else tells from other programs

    def find(self) -> list[Process]:
        """Return every process of the installation, zombies included, but never this one."""
        looked = [one for name in os.listdir(PROC) if name.isdigit() and (one := self._look(int(name)))]
        ours = [one for one in looked if self._is_ours(one)]
        pids = {one.pid for one in ours} | {os.getpid()}
        # A zombie has no environment any more; its parent tells whose it is.
        return ours + [one for one in looked if one.is_zombie and one.parent in pids and one not in ours]

    def _look(self, pid: int) -> Process | None:
        if pid == os.getpid():
            return None
        try:
            name, _, rest = (PROC / str(pid) / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        except OSError:
            return None
        fields = rest.split()
        identity = ProcessIdentity(pid, int(fields[TICKS]))
        return Process(identity, self._role(pid, name), int(fields[PARENT]), int(fields[GROUP]), fields[STATE] in "ZX")

    def _role(self, pid: int, name: str) -> str:
        if pid in self.apps:
            return "app"
        if name in NAMES:
            return NAMES[name]
        if name.startswith("bgapp-job"):
            return "child"
        with contextlib.suppress(OSError):  # until it has loaded far enough, its command tells what it will be
            words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
            if b"bgapp.runner" in words:
                return next((role for word, role in COMMANDS.items() if word in words), "program")
        return "program"

    def _is_ours(self, process: Process) -> bool:
        if process.identity in self._known:
            return True
        with contextlib.suppress(OSError):
            if self._mark in (PROC / str(process.pid) / "environ").read_bytes().split(b"\0"):
                self._known.add(process.identity)
                return True
        return False


def holds(pid: int, path: Path) -> bool:
    """Return whether a process has this file open."""
    wanted = str(path)
    with contextlib.suppress(OSError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(descriptor) == wanted:
                    return True
    return False


def memory(pid: int) -> tuple[int, int]:
    """Return a process's resident and private bytes; 0 where it is gone."""
    resident = private = 0
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Rss":
                resident = int(rest.split()[0]) * 1024
            elif name in ("Private_Clean", "Private_Dirty"):
                private += int(rest.split()[0]) * 1024
    return resident, private


def descriptors(pid: int) -> int:
    """Return how many files a process has open; 0 where it is gone."""
    with contextlib.suppress(OSError):
        return len(os.listdir(PROC / str(pid) / "fd"))
    return 0
