"""Tests that need what not every machine has: the run's last lines say which of them ran."""

from __future__ import annotations

from collections import defaultdict

import pytest

NEEDS = "needs"  # a user property of a test, and how the reason begins for which it is skipped elsewhere


def note_needs(items: list[pytest.Item]) -> None:
    """Note for each test what it needs, by the reason of its `skipif`."""
    for item in items:
        for mark in item.iter_markers("skipif"):
            reason = str(mark.kwargs.get("reason", ""))
            if reason.startswith(NEEDS):
                item.user_properties.append((NEEDS, reason))


def tell(terminal: pytest.TerminalReporter) -> None:
    """Write which tests with a need ran; the skipped ones are told with their reasons by -rs."""
    ran: dict[str, list[str]] = defaultdict(list)
    for outcome in ("passed", "failed"):
        for report in terminal.stats.get(outcome, []):
            for name, reason in getattr(report, "user_properties", ()):
                if name == NEEDS and report.when == "call":
                    ran[reason].append(report.nodeid.rpartition("::")[2])
    for reason, names in sorted(ran.items()):
        terminal.write_line(f"ran, though it {reason}: {', '.join(sorted(names))}")
