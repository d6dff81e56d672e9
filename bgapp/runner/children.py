"""How a runner gets its children: from its forker, or, where forking is not safe, spawned as new programs.

Both give the same news in the same order - started, (stuck,) ended - on a descriptor that a selector can wait on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from flask import Flask

from bgapp import clock, system
from bgapp.runner import forker, frames
from bgapp.runner.child import MARKER, Order
from bgapp.system import Ended


@dataclass(frozen=True)
class News:
    """What happened to the child. `kind`: started, not_created, stuck, ended, or lost (with the forker)."""

    kind: str
    pid: int | None = None
    error: str | None = None
    ended: Ended | None = None
    leftovers: int = 0
    lease_over: bool = False
    pids: Sequence[int] = ()


class Children(Protocol):
    """One child at a time."""

    def start(self, order: Order, output: int, frames_to: int, until: float | None) -> None:
        """Make a child; both descriptors go to it and are closed here. At `until` (monotonic) it is killed."""

    def extend(self, until: float | None) -> None:
        """Let it live until that moment. Whoever keeps it does so even while this process is stopped or waits."""

    def fileno(self) -> int:
        """Return what to wait on for news."""

    def news(self) -> list[News]:
        """Return what happened since the last call."""

    def stop(self) -> None:
        """Ask the child's whole group to end."""

    def kill(self) -> None:
        """End it."""

    def close(self) -> None:
        """End the means of making children, and with it any child."""


class ForkedChildren:
    """Children made by a forker. Create this before anything that a fork must not inherit is opened."""

    def __init__(self, app: Flask) -> None:
        self._control, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        self.forker = os.fork()
        if self.forker == 0:
            self._control.close()
            forker.main(theirs, app)
        theirs.close()
        self._control.setblocking(True)
        self._unpacker = frames.Unpacker()

    def start(self, order: Order, output: int, frames_to: int, until: float | None) -> None:
        data = frames.pack({"kind": "start", "order": order.as_message(), "until": until})
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next news is that it is lost
                sent = socket.send_fds(self._control, [data], [output, frames_to])
                self._control.sendall(data[sent:])
        finally:
            os.close(output)
            os.close(frames_to)

    def fileno(self) -> int:
        return self._control.fileno()

    def news(self) -> list[News]:
        try:
            data = self._control.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return [News("lost")]
        return [self._understand(message) for message in self._unpacker.feed(data)]

    @staticmethod
    def _understand(message: dict[str, object]) -> News:
        kind = str(message.pop("kind"))
        if kind != "ended":
            return News(kind, **message)  # type: ignore[arg-type] # the forker's words are News's own
        leftovers, lease_over = int(str(message.pop("leftovers"))), bool(message.pop("lease_over"))
        return News("ended", ended=Ended(**message), leftovers=leftovers, lease_over=lease_over)  # type: ignore[arg-type] # as above

    def extend(self, until: float | None) -> None:
        self._order({"kind": "extend", "until": until})

    def stop(self) -> None:
        self._order({"kind": "stop"})

    def kill(self) -> None:
        self._order({"kind": "kill"})

    def _order(self, message: dict[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(frames.pack(message))

    def close(self) -> None:
        self._control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.forker, 0)


class SpawnedChildren:
    """Children started as new programs, which load the application again: slower, and right everywhere."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._tree: system.SpawnedTree | None = None
        self._order: Order | None = None
        self._stdin: int | None = None
        self._until: threading.Timer | None = None
        self._lease_over = False
        self._news: list[News] = []

    def start(self, order: Order, output: int, frames_to: int, until: float | None) -> None:
        child_stdin, self._stdin = os.pipe()
        self._order = order = replace(order, reuse=1)  # there is no socket to hand it a second job
        argv = [sys.executable, "-m", "bgapp.runner", "--child"]
        try:
            self._tree = system.SpawnedTree(argv, {**os.environ, MARKER: order.marker}, child_stdin, output, frames_to)
        except OSError as error:
            self._close_stdin()
            self._tell(News("not_created", error=error.strerror or str(error)))
            return
        finally:
            for descriptor in (child_stdin, output, frames_to):
                os.close(descriptor)
        self._news.append(News("started", pid=self._tree.pid))
        self._lease_over = False
        self.extend(until)
        # The pipe stays open: its end tells the child that its runner is gone.
        with contextlib.suppress(BrokenPipeError):
            data = frames.pack(order.as_message())
            while data:
                data = data[os.write(self._stdin, data) :]
        threading.Thread(target=self._watch, args=(self._tree,), daemon=True, name="bgapp-child-watch").start()

    def _watch(self, tree: system.SpawnedTree) -> None:
        tree.wait()
        assert self._order is not None
        ended = tree.reap(self._order.marker)
        self._tell(News("ended", ended=ended, lease_over=self._lease_over))

    def _tell(self, news: News) -> None:
        self._news.append(news)
        with contextlib.suppress(OSError):
            self._writer.send(b".")

    def fileno(self) -> int:
        return self._reader.fileno()

    def news(self) -> list[News]:
        self._reader.recv(4096)
        told, self._news = self._news, []
        if any(one.kind == "ended" for one in told):
            self._close_stdin()
            self._tree = None
            self.extend(None)
        return told

    def _close_stdin(self) -> None:
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def extend(self, until: float | None) -> None:
        if self._until is not None:
            self._until.cancel()
        if until is not None:
            self._until = threading.Timer(max(0.0, until - clock.monotonic()), self._end_of_lease)
            self._until.daemon = True
            self._until.start()

    def _end_of_lease(self) -> None:
        self._lease_over = True
        self.kill()

    def stop(self) -> None:
        if self._tree is not None:
            self._tree.stop()

    def kill(self) -> None:
        if self._tree is not None:
            self._tree.kill()

    def close(self) -> None:
        self.kill()
        self._close_stdin()
