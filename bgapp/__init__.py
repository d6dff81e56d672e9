"""bgapp: background jobs for Flask applications, on the database a team already has.

Names are loaded on first use, so that a process that needs one of them does not pay for all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgapp.app import create_app as create_app
    from bgapp.context import current_job as current_job
    from bgapp.enqueue import run_background_job as run_background_job
    from bgapp.enqueue import run_background_jobs as run_background_jobs
    from bgapp.extension import BackgroundJobs as BackgroundJobs
    from bgapp.extension import start as start
    from bgapp.handle import JobHandle as JobHandle
    from bgapp.handle import get_job as get_job
    from bgapp.hostmigrations import include_object as include_object
    from bgapp.scheduler import start_clock as start_clock
    from bgapp.web.access import Viewer as Viewer

__version__ = "0.1.0"

_HOMES = {
    "BackgroundJobs": "bgapp.extension",
    "JobHandle": "bgapp.handle",
    "Viewer": "bgapp.web.access",
    "create_app": "bgapp.app",
    "current_job": "bgapp.context",
    "get_job": "bgapp.handle",
    "include_object": "bgapp.hostmigrations",
    "run_background_job": "bgapp.enqueue",
    "run_background_jobs": "bgapp.enqueue",
    "start": "bgapp.extension",
    "start_clock": "bgapp.scheduler",
}

__all__ = [
    "BackgroundJobs",
    "JobHandle",
    "Viewer",
    "__version__",
    "create_app",
    "current_job",
    "get_job",
    "include_object",
    "run_background_job",
    "run_background_jobs",
    "start",
    "start_clock",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bgapp' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
