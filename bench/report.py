"""The results as tables of Markdown, and as JSON."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.figures import Rounds, middle, ratio, shown, shown_ratio
from bench.rows import Row
from bench.systems import SYSTEMS

REFERENCE = "bgapp"
PACKAGES = ("rq", "celery", "huey", "dramatiq", "procrastinate", "apscheduler", "redis")


def table(row: Row, rounds: dict[str, Rounds], missing: dict[str, str]) -> str:
    """Return one row's table: a line a system, for each metric its ratio to bgapp's and its median."""
    metrics = [name for name in row.metrics if any(name in one for found in rounds.values() for one in found)]
    heads = ["", *(f"{name} ({row.metrics[name]})" if row.metrics[name] else name for name in metrics)]
    lines = [
        f"### {row.name}",
        "",
        row.says,
        "",
        *_lines(heads, [_cells(row, name, rounds, metrics) for name in rounds]),
    ]
    if missing:
        lines += ["", *(f"- {name}: not measured, because {why}" for name, why in missing.items())]
    return "\n".join(lines)


def _cells(row: Row, name: str, rounds: dict[str, Rounds], metrics: list[str]) -> list[str]:
    reference = rounds.get(REFERENCE, [])
    cells = []
    for metric in metrics:
        text = shown(middle(rounds[name], metric)) if any(metric in one for one in rounds[name]) else ""
        compared = not row.counts and name != REFERENCE and text
        against = shown_ratio(ratio(rounds[name], reference, metric)) if compared else ""
        cells.append(f"{against} {text}" if not against else f"{against}: {text}")
    says = f" ({SYSTEMS[name].says})" if name in SYSTEMS and not row.counts else ""
    return [f"{name}{says}", *(cell.strip() for cell in cells)]


def _lines(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def machine() -> dict[str, Any]:
    """Return what was measured on, without a name or a path of it."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "sqlite": sqlite3.sqlite_version,
        "redis_server": _redis(),
        "packages": {name: metadata.version(name) for name in PACKAGES if _is_installed(name)},
    }


def headline(facts: dict[str, Any]) -> str:
    """Return the machine in a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{facts['date']}, {facts['cores']} cores ({facts['processor']}), {facts['system']}, Python {facts['python']},"
        f" load {facts['load_at_start']} at the start; {packages}; redis-server {facts['redis_server']}."
    )


def _is_installed(name: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
    return False


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown processor"


def _redis() -> str:
    with contextlib.suppress(OSError):
        told = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
        return next((word[2:] for word in told.split() if word.startswith("v=")), "unknown")
    return "none"
