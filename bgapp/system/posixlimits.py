"""What the kernel is told and asked of limits, on Linux and macOS: setrlimit, niceness, kills for lack of memory."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bgapp.limits import MIB, Limits

LINUX = sys.platform == "linux"
CPU_EXTRA = 2  # seconds of processor time after SIGXCPU until SIGKILL, for a job that handles the first
MEMORY_EXTRA = 16 * MIB  # bytes for telling that the limit was passed
CGROUPS = Path("/sys/fs/cgroup")


def limit_process(limits: Limits) -> None:
    """Hold this process, and what it starts, to `limits`; it dumps no core in any case.

    To be called once the application is loaded: processor time and memory count from what is used by then. A limit
    that the process came with is never raised.
    """
    _lower(resource.RLIMIT_CORE, 0, 0)
    if limits.nice:
        os.nice(limits.nice)
    if limits.open_files is not None:
        _lower(resource.RLIMIT_NOFILE, limits.open_files, limits.open_files)
    if limits.cpu is not None:
        soft = math.ceil(time.process_time()) + limits.cpu
        _lower(resource.RLIMIT_CPU, soft, soft + CPU_EXTRA)
    if limits.memory is not None and LINUX:
        # RLIMIT_DATA counts private memory that can be written, wherever it comes from (since Linux 4.7): heap, numpy
        # arrays, thread stacks. RLIMIT_AS would count what is only reserved, such as the 64 MiB of address space that
        # the C library sets aside for each thread, and end programs that use little.
        soft = _private_memory() + limits.memory
        _lower(resource.RLIMIT_DATA, soft, soft + MEMORY_EXTRA)


def lift_memory_limit() -> None:
    """Give a process that passed its memory limit the little more that it needs to tell so."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _lower(which: int, soft: int, hard: int) -> None:
    old_soft, old_hard = resource.getrlimit(which)
    hard = _least(hard, old_hard)
    resource.setrlimit(which, (_least(soft, old_soft, hard), hard))


def _least(*numbers: int) -> int:
    return min(number for number in numbers if number != resource.RLIM_INFINITY)


def _private_memory() -> int:
    """Return the bytes of private writable memory of this process; the kernel counts them in pages."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def oom_kills() -> int | None:
    """Return how many processes the kernel has killed for lack of memory, as near to this process as it counts.

    That is in this process's control group, or else on the whole machine; None where nobody counts.
    """
    for file in _counters():
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return None


def _counters() -> Iterator[Path]:
    if not LINUX:
        return
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        memberships = []
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        # In a container the path may be the one outside it; its own group is then what is mounted at the top.
        for inside in (path.lstrip("/"), ""):
            if not controllers:
                yield CGROUPS / inside / "memory.events"
                yield CGROUPS / "unified" / inside / "memory.events"
            elif "memory" in controllers.split(","):
                yield CGROUPS / "memory" / inside / "memory.oom_control"
    yield Path("/proc/vmstat")
