"""What a long run measures every few seconds, and the verdict over it: flat, or grown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bgapp import attemptlog, eventlog
from bgapp.runtime import Runtime
from bgapp.testing.processes import Process, descriptors, memory

Sample = dict[str, float]

ROLES = ("app", "host", "runner", "forker")
SHARE = 0.05  # of the first quarter's median that the last one's may be larger
MEBIBYTE = 1024 * 1024
# What a small number may grow by before that counts, by the last word of its name.
SLACK = {"descriptors": 2.0, "private": 2.0 * MEBIBYTE, "rss": 2.0 * MEBIBYTE, "wal": 4.0 * MEBIBYTE, "waiting": 10.0}
OTHER_SLACK = 3.0
# What grows with the number of jobs, as it is meant to: written down, and judged by what each job adds.
TOLD = ("seconds", "ended", "database", "logs", "attempt files")


@dataclass(frozen=True)
class Verdict:
    """One measure's medians in the first and in the last quarter, and whether it grew."""

    name: str
    first: float
    last: float
    grown: bool


def of_processes(processes: Sequence[Process]) -> Sample:
    """Return how many processes of each role there are, and the most descriptors and bytes that one of them has."""
    sample: Sample = {}
    for role in ROLES:
        pids = [one.pid for one in processes if one.role == role]
        sample[f"{role} processes"] = len(pids)
        if pids:
            sizes = [memory(pid) for pid in pids]
            sample[f"{role} descriptors"] = max(descriptors(pid) for pid in pids)
            sample[f"{role} rss"] = max(resident for resident, _ in sizes)
            sample[f"{role} private"] = max(private for _, private in sizes)
    return sample


def of_files(runtime: Runtime, ended: int) -> Sample:
    """Return what the instance folder holds; `ended` is the number of jobs that ended so far."""
    settings = runtime.settings
    logs = [settings.log_dir / name for name in (eventlog.MAIN_NAME, eventlog.ERRORS_NAME, "runner.log")]
    attempts = attemptlog.path(settings.log_dir, 1, 1).parent.parent
    outputs = _entries(attempts)
    sample = {
        "logs": sum(map(_size, logs)),
        "attempt files": outputs,
        "entries": _entries(settings.instance) - outputs,
    }
    if ended:
        sample["log bytes per job"] = sample["logs"] / ended
    file = settings.database_file
    if file is not None:
        sample |= {"database": _size(file), "wal": _size(file.with_name(f"{file.name}-wal"))}
        if ended:
            sample["database bytes per job"] = sample["database"] / ended
    return sample


def _size(path: Path) -> float:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _entries(folder: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def compare(samples: Sequence[Sample]) -> list[Verdict]:
    """Return a verdict on each measure; those that are absent from the first or the last quarter have none."""
    quarter = max(1, len(samples) // 4)
    first, last = _medians(samples[:quarter]), _medians(samples[-quarter:])
    return [
        Verdict(name, first[name], last[name], _has_grown(name, first[name], last[name]))
        for name in first
        if name in last
    ]


def _medians(samples: Sequence[Sample]) -> Mapping[str, float]:
    names = dict.fromkeys(name for sample in samples for name in sample)
    return {name: median(sample[name] for sample in samples if name in sample) for name in names}


def _has_grown(name: str, first: float, last: float) -> bool:
    if name in TOLD:
        return False
    return last - first > max(SHARE * first, SLACK.get(name.rpartition(" ")[2], OTHER_SLACK))
