"""The stand-alone application with receivers of bgapp's signals, which write down what they hear."""

from __future__ import annotations

import json
import os
from typing import Any

from bgapp import create_app, system
from bgapp.runtime import of
from bgapp.signals import Attempt, job_failed, job_finished, job_started

app = create_app()
HEARD = of(app).settings.instance / "heard"


def hear(name: str) -> Any:
    """Return a receiver that writes a line for each signal."""

    def receive(sender: object, job: Attempt, error: BaseException | None = None) -> None:
        is_own = sender is app
        line = json.dumps([name, is_own, os.getpid(), job.id, job.attempt, job.job_class, job.method, repr(error)])
        with open(system.open_private(HEARD, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as opened:
            opened.write(line + "\n")

    return receive


job_started.connect(hear("started"), app, weak=False)
job_finished.connect(hear("finished"), app, weak=False)
job_failed.connect(hear("failed"), app, weak=False)
