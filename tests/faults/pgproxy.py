"""A proxy before a PostgreSQL socket that can be told to misbehave: for tests that cut one node off.

It has real sockets and threads, reads just enough of the wire protocol to find COMMIT, and never changes a byte.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

from sqlalchemy.engine import make_url

SOCKET = ".s.PGSQL.5432"
CHUNK = 65536


class Proxy:
    """Forwards connections to the server's socket, as `mode` says.

    pass: forwards. drop: takes everything and forwards nothing, in old and new connections alike. refuse: ends old
    connections and accepts no new ones. `delay`: seconds by which each piece is held up.
    """

    def __init__(self, server_url: str) -> None:
        self._to = Path(str(make_url(server_url).query["host"])) / SOCKET
        self.folder = Path(tempfile.mkdtemp(prefix="bgapp-px-"))  # short: a socket's path has a small limit
        self.mode = "pass"
        self.delay = 0.0
        self.cuts = 0  # how many commits were cut
        self._cut: tuple[str, bytes, float, bool] | None = None
        self._open: set[socket.socket] = set()
        self._muted: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening: socket.socket | None = None
        self._listen()

    def url(self, url: str) -> str:
        """Return the URL of a database of the server, by way of this proxy."""
        return make_url(url).update_query_dict({"host": str(self.folder)}).render_as_string(hide_password=False)

    # What tests tell it ------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Forward again. What was dropped stays lost: those connections are ended."""
        self.mode = "pass"
        if self._listening is None:
            self._listen()
        self.cut_all()

    def drop(self) -> None:
        """Swallow everything from now on, and answer nothing."""
        self.mode = "drop"

    def refuse(self) -> None:
        """End every connection and accept no new one."""
        self.mode = "refuse"
        self._stop_listening()
        self.cut_all()

    def cut_all(self) -> None:
        """End every connection."""
        with self._lock:
            ending, self._open = self._open, set()
        for one in ending:
            _shut(one)

    def cut_commit(self, how: str, containing: bytes, *, after: float = 0.0, for_good: bool = False) -> None:
        """Cut the next connection that commits a transaction in which `containing` was sent.

        how: `lost`, the server never sees COMMIT; `stored`, it has answered COMMIT and the client does not get that;
        `late`, the client is cut off at once and the server gets COMMIT `after` seconds later. `for_good`: no new
        connection is accepted from then on.
        """
        self._cut = (how, containing, after, for_good)

    def close(self) -> None:
        """End everything and remove the socket."""
        self.refuse()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Sockets -----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.folder / SOCKET))
        listening.listen(64)
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def _stop_listening(self) -> None:
        if self._listening is not None:
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
            (self.folder / SOCKET).unlink()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with self._lock:
            self._open |= {client, server}
        try:
            server.connect(str(self._to))
        except OSError:  # the server is down
            _shut(client)
        else:
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump_commands(client, server)
            back.join()
        with self._lock:
            self._open -= {client, server}
            self._muted.discard(client)
        client.close()
        server.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._forward(target, data)
        _shut(target)
        _shut(source)

    def _forward(self, target: socket.socket, data: bytes) -> None:
        if self.delay:
            time.sleep(self.delay)
        if self.mode != "drop" and target not in self._muted:
            target.sendall(data)

    def _pump_commands(self, client: socket.socket, server: socket.socket) -> None:
        """Forward what a client sends, message by message: a byte for the kind, four for the length, the rest."""
        buffer, started, seen = b"", False, b""
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK):
                buffer += data
                while True:
                    head = 1 if started else 0  # the first message of all has no kind
                    if len(buffer) < head + 4:
                        break
                    size = head + int.from_bytes(buffer[head : head + 4], "big")
                    if len(buffer) < size:
                        break
                    message, buffer = buffer[:size], buffer[size:]
                    is_commit = started and message[:1] == b"Q" and message[5:].upper().startswith(b"COMMIT")
                    if is_commit and self._cut and self._cut[1] in seen:
                        self._cut_here(client, server, message)
                        return
                    seen = b"" if is_commit else seen + message
                    started = True
                    self._forward(server, message)
        _shut(server)
        _shut(client)

    def _cut_here(self, client: socket.socket, server: socket.socket, commit: bytes) -> None:
        assert self._cut is not None
        how, _, after, for_good = self._cut
        self._cut = None
        self.cuts += 1
        if for_good:
            self._stop_listening()
        if how == "lost":
            _shut(client)
            _shut(server)
            return
        self._muted.add(client)
        if how == "late":
            _shut(client)
            time.sleep(after)
        server.sendall(commit + b"X\x00\x00\x00\x04")  # with a farewell: it answers, ends, and that ends the rest


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
