"""Every call that differs between operating systems, behind one set of names.

`posix` holds Linux and macOS, `windows` holds Windows; this package shows whichever fits. Nothing else in
bgapp asks which system it runs on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for another: its pid and the ticks at which the kernel started it."""

    pid: int
    ticks: int


@dataclass(frozen=True)
class Ended:
    """How a job's process ended and what it used. Times in seconds, memory in bytes; None where unknown."""

    exit_code: int | None
    signal: str | None
    cpu_seconds: float | None
    peak_memory_bytes: int | None


if sys.platform == "win32":
    from bgapp.system.windows import (
        CAN_FORK,
        DIES_WITH_PARENT,
        FileLock,
        Mailbox,
        SpawnedTree,
        adopt_orphans,
        boot_id,
        die_with_parent,
        identify,
        inherited_frame_fd,
        is_alive,
        lift_memory_limit,
        limit_process,
        oom_kills,
        open_private,
        pid_namespace,
        post,
        private_umask,
        readable,
        set_name,
        spawn_detached,
        sweep,
        sync_folder,
        terminate,
        thread_count,
    )
else:
    from bgapp.system.posix import (
        CAN_FORK,
        DIES_WITH_PARENT,
        FileLock,
        Mailbox,
        adopt_orphans,
        boot_id,
        die_with_parent,
        identify,
        inherited_frame_fd,
        is_alive,
        open_private,
        pid_namespace,
        post,
        private_umask,
        readable,
        set_name,
        spawn_detached,
        sweep,
        sync_folder,
        terminate,
        thread_count,
    )
    from bgapp.system.posixlimits import lift_memory_limit, limit_process, oom_kills
    from bgapp.system.posixtree import SpawnedTree

__all__ = [
    "CAN_FORK",
    "DIES_WITH_PARENT",
    "Ended",
    "FileLock",
    "Mailbox",
    "ProcessIdentity",
    "SpawnedTree",
    "adopt_orphans",
    "boot_id",
    "die_with_parent",
    "identify",
    "inherited_frame_fd",
    "is_alive",
    "lift_memory_limit",
    "limit_process",
    "oom_kills",
    "open_private",
    "pid_namespace",
    "post",
    "private_umask",
    "readable",
    "set_name",
    "spawn_detached",
    "sweep",
    "sync_folder",
    "terminate",
    "thread_count",
]
