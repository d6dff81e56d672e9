"""Installations for the tests of commands, and two ways to give a command: in this process, and in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import Result

from tests.conftest import ROOT
from tests.process.conftest import make_site, site
from tests.requirements.support import build
from tests.site import Site

__all__ = ["make_site", "site"]

Invoke = Callable[..., Result]
Flask = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def invoke(site: Site) -> Invoke:
    """Give a command in this process."""
    return lambda *words: site.app.test_cli_runner().invoke(args=list(words))


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation that tests share which only look at their own command's answer."""
    found = build(tmp_path_factory.mktemp("quiet") / "instance")
    yield found
    found.end()


@pytest.fixture
def ask(quiet: Site) -> Invoke:
    """Give a command in this process, to the shared installation."""
    return lambda *words: quiet.app.test_cli_runner().invoke(args=list(words))


@pytest.fixture
def flask(site: Site) -> Flask:
    """Give a command in a process of its own, as a shell does; environment by `env`."""

    def run(*words: str | bytes, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *words],
            cwd=ROOT,
            env={**os.environ, **site.environment, **(env or {})},
            text=True,
            encoding="utf-8",
            check=False,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "timeout": 60,
                **options,
            },
        )

    return run


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Start a command in a process of its own and let it run; its pipes are closed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: str, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = site.run_python("-m", "flask", "--app", "wsgi", *words, **pipes)
        started.append(process)
        return process

    yield run
    for process in started:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
