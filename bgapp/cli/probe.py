"""`python -m bgapp.cli.probe`: load the application as a runner host does, and report what became of it.

A process of its own, since an import may print, start threads, hang or end the process. The report is one JSON
object on standard output; whatever the application prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from bgapp import system
from bgapp.errors import BgappError, JobRejected
from bgapp.handover import APP, PYTHONPATH

PATIENCE = 60.0  # seconds an application's import may take


@dataclass(frozen=True)
class Report:
    """What loading the application showed. Nothing but `error` is there where it cannot be loaded."""

    error: str | None = None
    instance: str = ""
    threads: int = 1  # after the application, before any job class
    threaded: dict[str, int] = field(default_factory=dict)  # threads that importing a class added, by its key
    problems: list[str] = field(default_factory=list)  # of the allow-list


def probe(app: str) -> Report:
    """Load the application `app` (such as `wsgi:app`) in a new process and return the report."""
    environment = {**os.environ, APP: app, PYTHONPATH: os.environ.get("PYTHONPATH", "")}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    environment.pop("FLASK_RUN_FROM_CLI", None)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bgapp.cli.probe"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Report(error=f"it took more than {PATIENCE:g} s to import")
    try:
        return Report(**json.loads(done.stdout))
    except (ValueError, TypeError):
        return Report(error=f"importing it ended the process (exit code {done.returncode})")


def main() -> None:
    """Report on the application that the environment names, and end the process."""
    report_to = os.dup(1)
    os.dup2(2, 1)
    try:
        found = _load()
    except BgappError as error:
        found = {"error": str(error)}
    with os.fdopen(report_to, "w") as report:
        json.dump(found, report)
    os._exit(0)  # threads that the application left behind must not hold this up


def _load() -> dict[str, Any]:
    from bgapp.runner import loading
    from bgapp.runtime import of

    loading.restore_environment()
    runtime = of(loading.load_application())
    count = threads = system.thread_count()
    threaded = {}
    for key in list(runtime.allowlist.keys()):
        with contextlib.suppress(JobRejected):  # told with the other problems below
            runtime.allowlist.load(key)
        if (now := system.thread_count()) > count:
            threaded[key] = now - count
        count = now
    return {
        "instance": str(runtime.settings.instance),
        "threads": threads,
        "threaded": threaded,
        "problems": runtime.allowlist.problems(),
    }


if __name__ == "__main__":
    main()
