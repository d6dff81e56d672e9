"""A job that goes on for exactly as long as a test wants."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE = 120.0  # seconds, after which a test that forgot it is told


class Gate:
    """Stands before a gate until it is opened."""

    def stand(self, folder: str) -> str:
        """Write a file `waiting`, return once there is a file `open`."""
        Path(folder, "waiting").touch()
        deadline = time.monotonic() + PATIENCE
        while not Path(folder, "open").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody opened the gate")
            time.sleep(0.01)
        return "through"
