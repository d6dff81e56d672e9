"""Job code for the tests of jobs that run in this very process."""

from __future__ import annotations

import sys

from bgapp import current_job, run_background_job


class Inline:
    """Methods that meet their process in ways that a job should not."""

    def ask_wrongly(self) -> None:
        run_background_job("NoSuchClass", "run")

    def leave(self) -> None:
        sys.exit(3)

    def say(self) -> list[int]:
        return [current_job.id, current_job.attempt, current_job.retries]

    def report(self) -> None:
        current_job.progress(0.5, "half way")

    def sign_in(self, password: str) -> None:
        raise PermissionError(f"the password {password} is wrong")

    def interrupt(self) -> None:
        raise KeyboardInterrupt


class Broken:
    """A class that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("out of order")

    def run(self) -> None: ...
