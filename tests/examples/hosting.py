"""A sample host application in a folder of its own, served by a real server."""

from __future__ import annotations

import http.cookiejar
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from bgapp import system
from tests.conftest import ROOT
from tests.waiting import wait_for


class Host:
    """A copy of an example, and the processes that serve it."""

    def __init__(self, example: str, folder: Path) -> None:
        self.folder = folder / example
        shutil.copytree(
            ROOT / "examples" / example, self.folder, ignore=shutil.ignore_patterns("instance", "__pycache__")
        )
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "EXAMPLE_MARK": str(self.folder)}
        self.server: subprocess.Popen[bytes] | None = None
        self.port = 0

    def flask(self, *words: str) -> str:
        """Run a flask command to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self.environment, check=True)

    def serve(self, *command: str) -> None:
        """Start a server with `{port}` filled in; return once it listens."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        words = [word.format(port=self.port) for word in command]
        with (self.folder / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for(listens, "the server to listen")

    def jobs(self, *prefix: str) -> list[dict[str, Any]]:
        """Return the jobs as the host's own command lists them."""
        found: list[dict[str, Any]] = json.loads(self.flask(*prefix, "bgapp", "jobs", "list", "--json"))
        return found

    def processes(self) -> list[int]:
        mark = f"EXAMPLE_MARK={self.folder}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid() and system.identify(int(name)):
                try:
                    environ = Path(f"/proc/{name}/environ").read_bytes()
                except OSError:
                    continue
                if mark in environ.split(b"\0"):
                    found.append(int(name))
        return found

    def end(self) -> None:
        def gone() -> bool:
            living = self.processes()
            for pid in living:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not living

        wait_for(gone, "the example's processes to end")
        if self.server is not None:
            self.server.wait()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Visitor:
    """A browser's worth of HTTP: cookies, and no following of redirects."""

    def __init__(self, host: Host) -> None:
        self._base = f"http://127.0.0.1:{host.port}"
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar, _NoRedirect)

    def get(self, path: str) -> tuple[int, str, str]:
        """Return status, body and where a redirect leads."""
        return self._open(urllib.request.Request(self._base + path))

    def post(self, path: str, **fields: str) -> tuple[int, str, str]:
        return self._open(urllib.request.Request(self._base + path, urllib.parse.urlencode(fields).encode()))

    def _open(self, request: urllib.request.Request) -> tuple[int, str, str]:
        try:
            with self._opener.open(request, timeout=20) as response:
                return response.status, response.read().decode(), ""
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers.get("Location", "")
