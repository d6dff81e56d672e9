"""Job code for tests of faults."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from tests.jobcode import witness


class Copier:
    """Copies a living database."""

    def copy(self, file: str, times: int) -> int:
        """Copy, and open and close, the database with its log so many times."""
        for _ in range(times):
            for name in (file, f"{file}-wal", f"{file}-shm"):
                if Path(name).exists():
                    shutil.copy(name, f"{name}.copy")
                    os.close(os.open(name, os.O_RDWR))
        return times


class Patient:
    """Runs for as long as a test wants."""

    def until(self, path: str, file: str) -> None:
        """Wait for a file to appear."""
        witness(path, "S")
        while not Path(file).exists():
            time.sleep(0.01)
        witness(path, "E")
