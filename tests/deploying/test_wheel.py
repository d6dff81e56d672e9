"""The wheel, built and installed in an empty place far from the checkout: pages with styles, jobs, commands, tables."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("hatchling", reason="the builder comes with the tests' own environment")


class Installed:
    """A folder with the wheel in it, and what is started there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BGAPP_")},
            "PYTHONPATH": str(folder / "packages"),
            "BGAPP_INSTANCE": str(folder / "instance"),
            "BGAPP_APP": "bgapp:create_app()",
        }
        self.server: subprocess.Popen[str] | None = None

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def flask(self, *words: str) -> str:
        return self.run("-m", "flask", "--app", "bgapp:create_app()", *words)

    def serve(self) -> str:
        """Start the server and return its address."""
        self.server = subprocess.Popen(
            [sys.executable, "-m", "bgapp", "--no-sample", "--port", "0"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        found = re.search(r"http://\S+/", line)
        assert found, line
        return found[0]

    def end(self) -> None:
        if self.server is not None:
            assert self.server.stdout is not None
            self.flask("runners", "stop", "--now")
            self.server.send_signal(signal.SIGINT)
            self.server.wait()
            self.server.stdout.close()
            self.flask("runners", "stop", "--now")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel of this checkout, installed; what it needs comes from the tests' environment."""
    folder = tmp_path_factory.mktemp("elsewhere")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = ["--no-deps", "--no-index", "--quiet", "--target", str(folder / "packages")]
    subprocess.run([sys.executable, "-m", "pip", "install", *target, str(wheel)], check=True, capture_output=True)
    found = Installed(folder)
    yield found
    found.end()


def fetch(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as response:
        return str(response.read().decode())


def test_the_package_is_not_the_checkouts(installed: Installed) -> None:
    file = installed.run("-c", "import bgapp; print(bgapp.__file__)").strip()
    assert file.startswith(str(installed.folder))


def test_it_serves_pages_with_styles_and_runs_jobs(installed: Installed) -> None:
    address = installed.serve()
    page = fetch(address + "login")
    styles = re.findall(r'href="(/static/[^"]+\.css[^"]*)"', page)
    assert styles
    assert "color-scheme" in fetch(address.rstrip("/") + styles[0])
    words = ("run-job", "JobService", "execute", "Hello", "wheel", "--wait", "--json")
    job = json.loads(installed.flask(*words))
    assert (job["status"], job["attempt"]) == ("completed", 1)


def test_it_has_its_commands_and_migrations(installed: Installed) -> None:
    commands = installed.flask("--help")
    for name in ("run-job", "jobs", "runners", "scheduler", "doctor", "users"):
        assert name in commands
    assert '"completed"' in installed.flask("jobs", "stats", "--json")
