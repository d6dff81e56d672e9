"""The rows: a module each, whose `ROW` says what it measures, of which systems, and a function that does it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Mode:
    """How much is measured: `short` keeps a whole run under two minutes, `long` adds the sizes that take minutes."""

    short: bool = False
    long: bool = False


@dataclass(frozen=True)
class Row:
    """One row. `measure` measures one system once and returns its numbers by metric.

    `metrics`: each with its unit and what is better. `systems` are measured always, `more` not in short mode.
    `together`: all systems at once, since nothing is timed. `counts`: absolute numbers say it, not ratios.
    """

    name: str
    says: str
    measure: Callable[[str, Mode], Numbers]
    metrics: dict[str, str]
    systems: tuple[str, ...]
    more: tuple[str, ...] = field(default=())
    together: bool = False
    counts: bool = False
