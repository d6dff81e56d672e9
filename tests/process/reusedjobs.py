"""Job code that a reused process runs; every method tells its process, and what it found there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from flask import current_app

from bgapp import current_job
from tests.jobcode import Work


class Reused:
    """Methods whose entries say `reuse`."""

    def pid(self) -> int:
        return os.getpid()

    def other(self) -> int:
        return os.getpid()

    def say(self, text: str) -> int:
        print(text)
        return os.getpid()

    def change(self) -> dict[str, Any]:
        """Return what this attempt found, and leave things otherwise than they were."""
        found = {
            "pid": os.getpid(),
            "job": current_job.id,
            "folder": os.getcwd(),
            "handler": str(signal.getsignal(signal.SIGTERM)),
            "files": os.listdir(os.environ["TMPDIR"]),
            "marked": hasattr(current_app.extensions["sqlalchemy"].session(), "marked"),
        }
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(os.path.join(os.environ["TMPDIR"], "left"), "w") as file:
            file.write("x")
        current_app.extensions["sqlalchemy"].session().marked = True
        return found

    def fail(self) -> None:
        raise ValueError(str(os.getpid()))

    def leave(self, what: str) -> int:
        """Leave a thread or a program behind."""
        if what == "thread":
            thread = threading.Timer(0.2, str)
            thread.daemon = True
            thread.start()
        elif what == "program":
            subprocess.Popen(["sleep", "60"])
        return os.getpid()

    def close_all(self) -> int:
        """Close whatever is open, as careless daemon code does."""
        os.closerange(3, 1024)
        sys.stdout.close()
        return os.getpid()

    def burn(self, seconds: float) -> int:
        """Use so many seconds of processor time."""
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass
        return os.getpid()

    def fill(self, megabytes: int) -> int:
        return len(b"x" * (megabytes << 20)) and os.getpid()

    def note(self, path: str, seconds: float) -> int:
        Work().note(path, seconds)
        return os.getpid()
