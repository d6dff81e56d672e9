"""What processes use: processor time and memory, read from the kernel (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """`cpu` in seconds since the process began; `private` and `shared_out` in bytes: its memory that no other process
    has, and with each shared page divided by those who share it."""

    name: str
    cpu: float
    private: int
    shared_out: int


def usage(pid: int) -> Usage | None:
    """Return what a process uses, None where it is gone."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        memory = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    fields = rest.split()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in memory.splitlines()[1:]}
    private = sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0)
    return Usage(name, (int(fields[11]) + int(fields[12])) / TICK, private, sizes.get("Pss", 0))


def usages(pids: list[int]) -> dict[int, Usage]:
    """Return what each living one of them uses."""
    return {pid: found for pid in pids if (found := usage(pid)) is not None}
