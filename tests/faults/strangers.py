"""Other programs on the same SQLite file, and a browser that has no more than HTTP."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from bgapp import logins
from bgapp.runtime import of
from bgapp.web.standalone_access import COOKIE
from tests.conftest import ROOT
from tests.site import Site
from tests.web.conftest import add_user

HOLD = """
import sys
from bgapp.sqlitelibrary import sqlite_library
connection = sqlite_library().connect(sys.argv[1], isolation_level=None, timeout=60)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holding(file: Path, *statements: str) -> Iterator[None]:
    """Let another process run these statements on a SQLite file, and keep its connection open for as long as this."""
    words = [sys.executable, "-c", HOLD, str(file), *statements]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield
    finally:
        process.communicate()


def database_file(site: Site) -> Path:
    file = site.runtime.settings.database_file
    assert file is not None
    return file


class Server:
    """The stand-alone application, served by a process of its own, and somebody signed in there."""

    def __init__(self, site: Site) -> None:
        user = add_user(site.app, "operator", "operator")
        database = of(site.app).database
        with database.write() as connection:
            login = logins.open_login(connection, user, "127.0.0.1", "test", database.clock(connection))
        self.process = site.run_python("-m", "tests.browser.serving", stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.address = json.loads(self.process.stdout.readline())[0]
        self.process.stdout.close()
        self._login = login
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))

    def get(self, path: str) -> tuple[int, str, dict[str, str]]:
        """Return status, text and headers of an answer."""
        return self._ask(path, None)

    def post(self, path: str, token: str, **fields: str) -> tuple[int, str, dict[str, str]]:
        return self._ask(path, urlencode({"csrf_token": token, **fields}).encode())

    def token(self, page: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(page)[1])
        assert found, f"{page} carries no token"
        return found[1]

    def _ask(self, path: str, data: bytes | None) -> tuple[int, str, dict[str, str]]:
        request = urllib.request.Request(f"{self.address}/{path}", data)
        self._jar.add_cookie_header(request)
        kept = request.get_header("Cookie")
        request.add_unredirected_header("Cookie", "; ".join(filter(None, (kept, f"{COOKIE}={self._login}"))))
        request.add_header("Origin", self.address)
        try:
            answer = self._opener.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read().decode(), dict(answer.headers)


def flask(site: Site, *words: str) -> tuple[int, str]:
    """Run a command in a process of its own; return its exit code and what it wrote to standard error."""
    process = site.run_python("-m", "flask", "--app", "wsgi", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    errors = process.communicate()[1]
    return process.returncode, errors.decode()
