"""Whether the kernel killed a process for lack of memory, by its own count, read at most once a second."""

from __future__ import annotations

from bgapp import clock, system

PAUSE = 1.0  # seconds between two readings: a job that ends sooner costs none


class OomKills:
    """Remembers the kernel's count from before a job's process ended."""

    def __init__(self) -> None:
        self._read_at = clock.monotonic()
        self._before = self._newest = system.oom_kills()

    def look(self) -> None:
        """Read the count if that is due; to be called at an attempt's start and while it runs."""
        now = clock.monotonic()
        if now - self._read_at < PAUSE:
            return
        # One reading older than the newest is kept: the newest may have been made between a kill and news of it. But
        # what was counted long ago, while no job ran here, was another's.
        count = system.oom_kills()
        self._before = self._newest if now - self._read_at < 2 * PAUSE else count
        self._read_at, self._newest = now, count

    def rose(self) -> bool | None:
        """Return whether the kernel counts a kill that it did not before; None where it counts none at all."""
        before, count = self._before, system.oom_kills()
        self._before = self._newest = count
        return None if before is None or count is None else count > before
