"""Signals around every attempt, for error trackers and metrics; sent in the process that runs the job.

Each has the Flask application as sender and `job`, an Attempt:

    from bgapp.signals import job_failed

    @job_failed.connect_via(app)
    def report(app, job, error, **_):
        tracker.capture(error, tags={"job": job.id, "class": job.job_class})
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from blinker import Namespace, Signal
from flask import Flask

_signals = Namespace()

job_started = _signals.signal("job-started", "Just before the method is called. Arguments: job.")
job_finished = _signals.signal("job-finished", "The method returned. Arguments: job.")
job_failed = _signals.signal("job-failed", "The method, or the import of its class, raised. Arguments: job, error.")


@dataclass(frozen=True)
class Attempt:
    """Which attempt at which job a signal is about."""

    id: int
    attempt: int
    retries: int
    job_class: str
    method: str


@contextmanager
def around(app: Flask, job: Attempt) -> Iterator[None]:
    """Send the signals of the block that calls the method; what it raises goes on."""
    _send(job_started, app, job)
    try:
        yield
    except BaseException as error:  # SystemExit of a job is a failure too
        tell_failed(app, job, error)
        raise
    _send(job_finished, app, job)


def tell_failed(app: Flask, job: Attempt, error: BaseException) -> None:
    """Send `job_failed` for an attempt whose method was never reached."""
    _send(job_failed, app, job, error=error)


def _send(signal: Signal, app: Flask, job: Attempt, **values: Any) -> None:
    try:
        signal.send(app, job=job, **values)
    except Exception:  # a receiver is the application's own code: its fault must not become the job's
        traceback.print_exc()
