"""A child that runs several jobs, one after another: for methods whose allow-list entry says `reuse`.

Between two jobs the forker keeps it and hands it the next order over a socket, with the two pipes of that attempt.
Whoever writes `reuse` says that the method leaves nothing behind. What can be seen is not taken on trust: a child
with a thread or a process left over, or one that met its memory limit, is not kept.
"""

from __future__ import annotations

import array
import os
import socket
import sys
import threading
from typing import Any

from flask import Flask

from bgapp.context import current_job
from bgapp.runner import child, frames
from bgapp.runner.child import Order
from bgapp.system import posixlimits

PIPES = 2  # of an attempt: its output and its frames
TAKES_WITHIN = 1.0  # seconds for a kept child to take its next order


class Kept:
    """The forker's side of a child that may run more than one job."""

    def __init__(self, pid: int, link: socket.socket, order: Order) -> None:
        self.pid = pid
        self.link = link
        link.settimeout(TAKES_WITHIN)  # a large order does not fit where nobody reads, and the forker must not wait
        self._kind = _kind(order)
        self._left = order.reuse - 1
        self._unpacker = frames.Unpacker()

    def takes(self, order: Order) -> bool:
        """Return whether it may run this job: of the same method under the same limits, and not one too many."""
        return self._left > 0 and _kind(order) == self._kind

    def hand_over(self, order: Order, output: int, frames_to: int) -> bool:
        """Give it the next job; False where it has ended meanwhile, or is stopped and takes nothing."""
        self._left -= 1
        data = frames.pack(order.as_message())
        try:
            sent = socket.send_fds(self.link, [data], [output, frames_to])
            self.link.sendall(data[sent:])
        except OSError:
            return False
        return True

    def done(self) -> dict[str, Any] | None:
        """Return what it says of the job it has done: `cpu_seconds`, `peak_memory_bytes`. None where it has ended.

        Also where it says anything else: a job may have written to the socket.
        """
        try:
            (used,) = self._unpacker.feed(self.link.recv(4096))
            return {"cpu_seconds": float(used["cpu_seconds"]), "peak_memory_bytes": int(used["peak_memory_bytes"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def is_used_up(self) -> bool:
        return self._left == 0


def _kind(order: Order) -> tuple[object, ...]:
    return order.job_class, order.method, order.limits, order.temp


def go_on(app: Flask, frames_to: int, frame: dict[str, Any] | None, link: socket.socket, folder: str) -> None:
    """In the child, after its first job: take further ones until it is not to be kept, or nobody has any.

    Each begins in `folder`.
    """
    used, reader = posixlimits.Usage(), _Reader(link)
    while _may_stay(frame):
        current_job.end()
        try:
            _detach(frames_to)
            link.sendall(frames.pack(used.since_last()))
            next_order = reader.order()
        except (OSError, ValueError, AttributeError):  # the job closed what is needed here, or the forker is gone
            return
        if next_order is None:
            return
        order, output, frames_to = next_order
        os.chdir(folder)
        child.take_on(order, output, frames_to)
        posixlimits.renew_cpu_limit(order.limits)
        frame = child.run(app, order, child.Reporter(frames_to), limited=True)


def _may_stay(frame: dict[str, Any] | None) -> bool:
    """Return whether the job ended in an ordinary way and left no thread."""
    return frame is not None and "cause" not in frame and frame["kind"] != "refused" and threading.active_count() == 1


def _detach(frames_to: int) -> None:
    """Let go of the attempt's pipes: what is written between two jobs belongs to neither."""
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
    os.close(frames_to)


class _Reader:
    """Reads orders and the pipes that come with them."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._unpacker = frames.Unpacker()
        self._pipes = array.array("i")

    def order(self) -> tuple[Order, int, int] | None:
        while True:
            data, pipes, _, _ = socket.recv_fds(self._link, 65536, PIPES)
            if not data:
                return None
            self._pipes.extend(pipes)
            for message in self._unpacker.feed(data):
                output, frames_to = self._pipes[:PIPES]
                del self._pipes[:PIPES]
                return Order.from_message(message), output, frames_to
