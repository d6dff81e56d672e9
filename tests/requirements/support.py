"""What the tests of requirements share: an installation to build, commands to run, and what a call left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from bgapp import create_app, run_background_job
from bgapp.errors import JobRejected
from bgapp.handle import JobHandle
from bgapp.statements import ATTEMPTS, JOBS
from tests.conftest import ROOT
from tests.site import ALLOWED, Site

ERRORS = "background_jobs_errors.log"
SHOP = "tests.requirements.shopjobs"
SHOP_ALLOWED: dict[str, Any] = {
    **ALLOWED,
    "bgapp.jobs.samples.JobService": ["execute"],
    "bgapp.jobs.samples.SampleJob": {"allowed_methods": ["process", "execute"]},
    "bgapp.jobs.users.UserSeeder": ["seed"],
    "bgapp.jobs.folder_scan.FolderScan": ["scan"],
    f"{SHOP}.Till": {
        "methods": {name: {} for name in "where keep sell anything later add name steps ticks balance".split()},
    },
    f"{SHOP}.Cart": ["fill"],
    f"{SHOP}.NeedsPlace": ["work"],
    f"{SHOP}.Gone": ["work"],
}


def build(folder: Path, **settings: object) -> Site:
    """Return an installation in `folder` with the shop's jobs allowed and short waits; nothing runs yet."""
    folder.mkdir(mode=0o700)
    values = {
        "instance": folder,
        "allowed_jobs": json.dumps(SHOP_ALLOWED),
        "retry_backoff": "0.05 fixed",
        "kill_grace": 1,
        "tick": 0.2,
        "max_running": 3,
        **settings,
    }
    environment = {f"BGAPP_{name.upper()}": str(value) for name, value in values.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BGAPP_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        app = create_app()
    site = Site(app, environment, folder)
    site.runtime.ready()
    return site


# Asking for jobs -------------------------------------------------------------------------------------------------


def ask(site: Site, *call: Any, **options: Any) -> JobHandle:
    """Call the helper as a view would: positional arguments and all, inside the application's context."""
    with site.app.app_context():
        return run_background_job(*call, **options)


def flask(site: Site, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `flask --app wsgi` with these words and return what it said."""
    return python(site, "-m", "flask", "--app", "wsgi", *words, **options)


def runner(site: Site, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m bgapp.runner` with these words: one job, here and now."""
    return python(site, "-m", "bgapp.runner", *words, **options)


def python(site: Site, *words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **site.environment, **options.pop("env", {})}
    given = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 60, **options}
    return subprocess.run([sys.executable, *words], env=environment, text=True, encoding="utf-8", check=False, **given)


def accepted(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the job that a command with `--json` printed."""
    assert done.returncode == 0, done.stderr
    job: dict[str, Any] = json.loads(done.stdout)
    return job


# What a call left behind -------------------------------------------------------------------------------------------


def rows(site: Site) -> int:
    """Return how many jobs and attempts are stored."""
    with site.runtime.database.read() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (JOBS, ATTEMPTS)
        )


class Refusal:
    """What a refused call said and wrote."""

    error: JobRejected | None = None
    lines: list[str]


@contextmanager
def refusing(site: Site) -> Iterator[Refusal]:
    """Expect the block to be refused: nothing is stored, and there is one line, in the errors file alone."""
    refusal = Refusal()
    stored, main, errors = rows(site), site.log(), site.log(ERRORS)
    yield refusal
    assert rows(site) == stored, "a refused call stored something"
    assert site.log() == main, "a refusal is no status change of a job"
    refusal.lines = site.log(ERRORS).removeprefix(errors).splitlines()
    assert [line.split(": ")[0] for line in refusal.lines] == ["Job rejected | Class"], refusal.lines


def refused(site: Site, kind: type[JobRejected], argument: str, *call: Any, **options: Any) -> str:
    """Call the helper, expect this refusal, and return its message; its line names the kind and the argument."""
    with refusing(site) as refusal, site.app.app_context(), pytest.raises(kind) as caught:
        run_background_job(*call, **options)
    message = str(caught.value)
    assert caught.value.argument == argument, message
    assert "\n" not in message, message
    assert len(message) < 600, message
    assert kind.kind in refusal.lines[0].rpartition(" | Error: ")[2]
    return message


def refused_command(site: Site, *words: str, kind: str, argument: str) -> str:
    """Run `run-job` in this process, expect it to be refused with exit code 2, and return its message."""
    with refusing(site):
        done = site.app.test_cli_runner().invoke(args=["run-job", "--json", *words])
    assert done.exit_code == 2, done.output
    said = json.loads(done.stdout)
    assert (said["kind"], said["argument"]) == (kind, argument), said
    assert set(said) == {"error", "kind", "argument"}
    return str(said["error"])


# Log lines -------------------------------------------------------------------------------------------------------


def told(site: Site, job: JobHandle | int, name: str = "background_jobs.log") -> list[dict[str, str]]:
    """Return the lines about one job, field by field; `Status` is the words a line begins with."""
    number = job if isinstance(job, int) else job.id
    lines = (fields(line) for line in site.log(name).splitlines())
    return [line for line in lines if line.get("Job") == str(number)]


def fields(line: str) -> dict[str, str]:
    first, *others = line.split(" | ")
    return {"Status": first, **dict(re.split(": ", other, maxsplit=1) for other in others)}


def statuses(lines: list[dict[str, str]]) -> list[str]:
    return [line["Status"] for line in lines]
