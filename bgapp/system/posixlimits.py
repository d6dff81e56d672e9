"""What the kernel is told and asked of limits, on Linux and macOS: setrlimit, niceness, kills for lack of memory."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bgapp.limits import MIB, Limits

LINUX = sys.platform == "linux"
CPU_EXTRA = 2  # seconds of processor time after SIGXCPU until SIGKILL, for a job that handles the first
MEMORY_EXTRA = 16 * MIB  # bytes for telling that the limit was passed
CGROUPS = Path("/sys/fs/cgroup")


def limit_process(limits: Limits, *, may_go_on: bool = False) -> None:
    """Hold this process, and what it starts, to `limits`; it dumps no core in any case.

    To be called once the application is loaded: processor time and memory count from what is used by then. A limit
    that the process came with is never raised. One that `may_go_on` with another job keeps its hard limit of
    processor time, which nobody but root could raise again.
    """
    _lower(resource.RLIMIT_CORE, 0, 0)
    if limits.nice:
        os.nice(limits.nice)
    if limits.open_files is not None:
        _lower(resource.RLIMIT_NOFILE, limits.open_files, limits.open_files)
    if limits.cpu is not None and may_go_on:
        renew_cpu_limit(limits)
    elif limits.cpu is not None:
        soft = math.ceil(time.process_time()) + limits.cpu
        _lower(resource.RLIMIT_CPU, soft, soft + CPU_EXTRA)
    if limits.memory is not None and LINUX:
        # RLIMIT_DATA counts private memory that can be written, wherever it comes from (since Linux 4.7): heap, numpy
        # arrays, thread stacks. RLIMIT_AS would count what is only reserved, such as the 64 MiB of address space that
        # the C library sets aside for each thread, and end programs that use little.
        soft = _private_memory() + limits.memory
        _lower(resource.RLIMIT_DATA, soft, soft + MEMORY_EXTRA)


def renew_cpu_limit(limits: Limits) -> None:
    """Let a process use as much processor time as `limits` say from now on."""
    if limits.cpu is not None:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (_least(math.ceil(time.process_time()) + limits.cpu, hard), hard))


class Usage:
    """What a process that runs several jobs used for each: from its own beginning or the last question to the next."""

    def __init__(self) -> None:
        self._cpu, self._children_peak = 0.0, 0

    def since_last(self) -> dict[str, Any]:
        """Return `cpu_seconds` and `peak_memory_bytes`, of this process and of those it waited for (getrusage(2)).

        The peak is the attempt's own where the kernel forgets the one before (Linux with clear_refs), and else the
        process's so far.
        """
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
        grown = children.ru_maxrss if children.ru_maxrss > self._children_peak else 0
        used = {
            "cpu_seconds": round(cpu - self._cpu, 6),
            "peak_memory_bytes": max(own.ru_maxrss, grown) * (1024 if LINUX else 1),
        }
        self._cpu, self._children_peak = cpu, children.ru_maxrss
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): from now on the peak counts anew
        return used


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
