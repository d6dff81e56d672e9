"""What the figures say: medians, and ratios of what was measured in the same round."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from bench.rows import Numbers

Rounds = list[Numbers]  # one system's numbers, a mapping a round; empty where a round failed


@dataclass(frozen=True)
class Ratio:
    """How often as much as the reference: median, least and most over the rounds."""

    middle: float
    least: float
    most: float


def values(rounds: Rounds, metric: str) -> list[float]:
    """Return the numbers that there are of a metric."""
    return [value for one in rounds if (value := one.get(metric)) is not None]


def middle(rounds: Rounds, metric: str) -> float | None:
    """Return the median of a metric, None where nothing was measured."""
    found = values(rounds, metric)
    return median(found) if found else None


def ratio(rounds: Rounds, reference: Rounds, metric: str) -> Ratio | None:
    """Return a system's metric divided by the reference's, paired by round: the machine's speed drifts between rounds.

    None where no round has both.
    """
    pairs = [(mine.get(metric), other.get(metric)) for mine, other in zip(rounds, reference, strict=False)]
    found = [one / other for one, other in pairs if one is not None and other]
    return Ratio(median(found), min(found), max(found)) if found else None


def shown(number: float | None) -> str:
    """Return a number with three digits that count."""
    if number is None:
        return "not told"
    if number == int(number) and abs(number) < 1e6:
        return str(int(number))
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def shown_ratio(found: Ratio | None) -> str:
    if found is None:
        return ""
    if found.least == found.most:
        return f"{shown(found.middle)} x"
    return f"{shown(found.middle)} x ({shown(found.least)} to {shown(found.most)})"
