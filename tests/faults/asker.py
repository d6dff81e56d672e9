"""A process that asks for jobs, one after the other: `python -m tests.faults.asker FILE COUNT`.

It appends each acknowledged id to FILE, a line each, and each refusal after an exclamation mark.
"""

from __future__ import annotations

import os
import sys

from bgapp import run_background_job
from bgapp.errors import DatabaseUnavailable
from wsgi import app


def main(file: str, count: int) -> None:
    """Ask for so many jobs that wait for an hour."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with app.app_context():
        for _ in range(count):
            try:
                told = str(run_background_job("Work", "echo", [1], delay=3600).id)
            except DatabaseUnavailable as error:
                told = f"! {error}"
            os.write(descriptor, f"{told}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
