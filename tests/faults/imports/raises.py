"""A module whose import misbehaves where jobs run, and nowhere else."""

from __future__ import annotations

import os
import sys
import time

from bgapp.handover import IN_RUNNER

if os.environ.get(IN_RUNNER):
    print(f"importing {__name__} of {len(sys.modules)} modules after {time.monotonic():.0f} s")
    raise RuntimeError("broken at import")


class Job:
    """Runs, if it can be imported."""

    def run(self) -> str:
        return "ran"
