"""The forker: a process without connection, lock or thread that makes each child and sees its end.

The runner keeps one database connection, and SQLite forbids carrying one over a fork; so the runner forks this
process first, opens its connection after that, and has this process fork. It adopts every orphan of the job, so
that once a child is reaped, "no child left" proves that nothing of the attempt lives.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from flask import Flask

from bgapp import system
from bgapp.failpoints import reach
from bgapp.runner import child, frames
from bgapp.runner.reuse import PIPES, Kept, go_on
from bgapp.system import posixtree

LEFTOVER_GRACE = 1.0  # seconds between asking what a method left behind to end, and ending it
LEAVE_TIME = 1.0  # seconds for a kept child to run its exit handlers
STUCK_AFTER = 10.0  # seconds after SIGKILL that a process is reported as stuck in the kernel


def main(control: socket.socket, app: Flask) -> NoReturn:
    """Serve orders until the runner is gone. Never returns."""
    code = 1
    try:
        _Forker(control, app).serve()
        code = 0
    except BaseException:  # the edge of a process: its traceback belongs in the host's log
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


class _Forker:
    def __init__(self, control: socket.socket, app: Flask) -> None:
        self._control = control
        self._app = app
        self._unpacker = frames.Unpacker()
        self._descriptors: list[int] = []
        self._child: int | None = None  # that runs an attempt
        self._kept: Kept | None = None  # the same, or one that waits for its next
        self._until: float | None = None  # monotonic: when the child's lease is over
        self._lease_over = False
        system.set_name("bgapp-forker")
        system.die_with_parent(os.getppid())
        system.adopt_orphans()
        # It ends with its runner, and not before. Blocked rather than ignored: what is sent to a child that has not
        # yet made itself at home waits there, and is not lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        self._wake, wake_end = socket.socketpair()
        self._wake.setblocking(False)
        wake_end.setblocking(False)
        self._wake_end = wake_end
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select(self._time_left()):
                if key.fileobj is self._wake:
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                    self._orphans()
                elif key.fileobj is self._control:
                    if not self._read_orders():
                        return
                elif self._kept is not None and key.fileobj is self._kept.link:
                    self._read_done(self._kept)
            if self._child is not None and posixtree.has_ended(self._child):
                reach("ended")
                self._settle(self._child)
            elif self._child is None and self._kept is not None and posixtree.has_ended(self._kept.pid):
                self._let_go(self._kept)
            elif self._time_left() == 0.0:
                self._end_of_lease()

    def _time_left(self) -> float | None:
        if self._child is None or self._until is None:
            return None
        return max(0.0, self._until - time.monotonic())

    def _end_of_lease(self) -> None:
        """End the child although nobody said so: the runner may be stopped, or waits for a dead connection."""
        self._until, self._lease_over = None, True
        assert self._child is not None
        posixtree.signal_group(self._child, signal.SIGKILL)

    def _read_orders(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 4)
        except ConnectionResetError:  # the runner died with news unread
            return False
        self._descriptors += descriptors
        if not data:
            return False
        for message in self._unpacker.feed(data):
            kind = message["kind"]
            if kind == "start":
                self._until, self._lease_over = message["until"], False
                self._start(child.Order.from_message(message["order"]))
            elif kind == "extend":
                self._until = None if self._lease_over else message["until"]
            elif self._child is not None:
                posixtree.signal_group(self._child, signal.SIGTERM if kind == "stop" else signal.SIGKILL)
        return True

    def _start(self, order: child.Order) -> None:
        output, frames_to = self._descriptors[:PIPES]
        del self._descriptors[:PIPES]
        if not self._hand_over(order, output, frames_to):
            self._fork(order, output, frames_to)
        os.close(output)
        os.close(frames_to)

    def _hand_over(self, order: child.Order, output: int, frames_to: int) -> bool:
        """Give a job to the child that is kept, if it may have it; else that child leaves."""
        kept = self._kept
        if kept is None:
            return False
        if not kept.takes(order) or not kept.hand_over(order, output, frames_to):
            self._let_go(kept)
            return False
        self._child = kept.pid
        self._send({"kind": "started", "pid": kept.pid})
        return True

    def _fork(self, order: child.Order, output: int, frames_to: int) -> None:
        parent = os.getpid()
        link, theirs = socket.socketpair() if order.reuse > 1 else (None, None)
        reach("fork")
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"kind": "not_created", "error": error.strerror or str(error)})
            pid = None
        if pid == 0:
            if link is not None:
                link.close()
            self._be_child(order, output, frames_to, parent, theirs)
        if theirs is not None:
            theirs.close()
        if pid is None:
            if link is not None:
                link.close()
            return
        self._child = pid
        if link is not None:
            self._kept = Kept(pid, link, order)
            self._selector.register(link, selectors.EVENT_READ)
        reach("forked")
        self._send({"kind": "started", "pid": pid})

    def _be_child(
        self, order: child.Order, output: int, frames_to: int, parent: int, link: socket.socket | None
    ) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            self._selector.close()
            for end in (self._control, self._wake, self._wake_end):
                end.close()
            child.become(order, output, frames_to, parent)
            folder = os.getcwd()
            frame = child.run(self._app, order, child.Reporter(frames_to))
            if link is not None:
                go_on(self._app, frames_to, frame, link, folder)
        except BaseException:  # the edge of a process
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        child.finish()

    def _read_done(self, kept: Kept) -> None:
        """The child has done a job and waits for another. It leaves instead where anything is left of the first."""
        used = kept.done()
        if (
            used is None
            or kept.pid != self._child
            or kept.is_used_up
            or posixtree.children(kept.pid)
            or self._orphans()
        ):
            self._forget(kept)
            return
        self._child = None
        self._send(
            {"kind": "ended", "leftovers": 0, "lease_over": self._lease_over, "exit_code": None, "signal": None, **used}
        )

    def _forget(self, kept: Kept) -> None:
        """Have a child leave once it has done what it does; from here on it is a child as every other."""
        self._selector.unregister(kept.link)
        kept.link.close()
        self._kept = None

    def _let_go(self, kept: Kept) -> None:
        """End a child that waits for a job."""
        self._forget(kept)
        leaves_by = time.monotonic() + LEAVE_TIME
        while not posixtree.has_ended(kept.pid) and time.monotonic() < leaves_by:
            time.sleep(0.001)
        posixtree.signal_group(kept.pid, signal.SIGKILL)
        os.wait4(kept.pid, 0)
        self._end_orphans()

    def _settle(self, pid: int) -> None:
        """A child ended: end what it left behind, prove that nothing is left, and tell."""
        if self._kept is not None:
            self._forget(self._kept)
        leftovers = self._ask_leftovers(pid)
        if leftovers:
            posixtree.signal_group(pid, signal.SIGKILL)  # while it is unreaped, the group's number is its own
        _, status, usage = os.wait4(pid, 0)
        self._child = None
        self._end_orphans()
        ended = posixtree.ended_from(status, usage)
        self._send({"kind": "ended", "leftovers": leftovers, "lease_over": self._lease_over, **vars(ended)})

    def _orphans(self) -> set[int]:
        """Return the living processes this one adopted; those that ended are reaped.

        Whatever the job started and left is here, or descends from one that is: the kernel hands a dead process's
        children over before it shows the death itself.
        """
        living = set()
        for pid in posixtree.children(os.getpid()) - {self._child, self._kept and self._kept.pid}:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    living.add(pid)
        return living

    def _ask_leftovers(self, pid: int) -> int:
        """Give what the method left behind a moment to act on SIGTERM; return how many processes there were."""
        asked: set[int] = set()
        deadline = time.monotonic() + LEFTOVER_GRACE
        while (living := self._orphans()) and time.monotonic() < deadline:
            if not asked:
                posixtree.signal_group(pid, signal.SIGTERM)
            for orphan in living - asked:
                _signal(orphan, signal.SIGTERM)
            asked |= living
            time.sleep(0.005)
        return len(asked)

    def _end_orphans(self) -> None:
        """Kill and reap adopted orphans until the kernel says that there is no child left (ECHILD)."""
        stuck_at = time.monotonic() + STUCK_AFTER
        while True:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            for orphan in self._orphans():
                _signal(orphan, signal.SIGKILL)
            if time.monotonic() > stuck_at:
                self._send({"kind": "stuck", "pids": sorted(posixtree.children(os.getpid()))})
                stuck_at += STUCK_AFTER
            time.sleep(0.002)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the runner is gone: so are we, in a moment
            self._control.sendall(frames.pack(message))


def _signal(pid: int, number: int) -> None:
    # A child of this process keeps its number until this process reaps it, so this cannot meet another.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
