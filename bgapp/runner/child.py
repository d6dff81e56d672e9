"""The process of one attempt: from a fresh process to a result frame.

It holds no connection, lock or secret of bgapp's; the job's own `db.session` opens connections when it is used.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import faulthandler
import logging
import math
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any, NoReturn

from flask import Flask

from bgapp import invoke, jsontext, signals, system
from bgapp.context import current_job
from bgapp.errors import BgappError, ClassUnknown, JobRejected
from bgapp.failpoints import reach
from bgapp.limits import Limits
from bgapp.outcome import CUT, OUT_OF_MEMORY
from bgapp.runner import frames
from bgapp.runtime import of

RESULT_LIMIT = 256 * 1024  # bytes
MARKER = "_BGAPP_ATTEMPT"  # in the environment, so that programs a job starts can be found again
PROGRESS_INTERVAL = 0.2  # seconds between two progress frames


@dataclass(frozen=True)
class Order:
    """What a child is told: which attempt it is, and what to call."""

    job: int
    attempt: int
    retries: int
    job_class: str
    method: str
    params: str  # JSON object
    marker: str
    entry: str  # path of the attempt's entry file
    temp: str  # path of the attempt's own temporary folder; empty for the system's
    limits: Limits
    reuse: int = 1  # how many jobs its process may run

    def as_message(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Order:
        return cls(**{**message, "limits": Limits(**message["limits"])})


class Reporter:
    """The child's end of the frame pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pipe = _identity(descriptor)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._next = 0.0
        self._fraction: float | None = None

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame whole. A process that the job forked sends nothing; a closed pipe is the job's doing.

        A job that closed it may have opened a file of its own under the same number, which must not be written.
        """
        if os.getpid() != self._pid or _identity(self._descriptor) != self._pipe:
            return
        data = frames.pack(message)
        with self._lock, contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Send progress, but not more often than it can be shown; a last step (1.0) always.

        A message alone leaves the fraction as it was.
        """
        if fraction is not None and not (isinstance(fraction, int | float) and math.isfinite(fraction)):
            raise ValueError(f"progress is a number from 0 to 1, not {fraction!r}")
        if fraction is not None:
            self._fraction = min(1.0, max(0.0, float(fraction)))
        moment = time.monotonic()
        if moment < self._next and fraction != 1:
            return
        self._next = moment + PROGRESS_INTERVAL
        words = None if message is None else str(message)[:200]
        self.send({"kind": "progress", "fraction": self._fraction, "message": words})


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def become(order: Order, output: int, frames_to: int, parent: int | None) -> None:
    """Turn this fresh process into the attempt's: own session, own descriptors, its identity written down."""
    with contextlib.suppress(OSError, AttributeError):  # a spawned child leads its session already; Windows has none
        os.setsid()
    if parent is not None:
        system.die_with_parent(parent)
    take_on(order, output, frames_to)


def take_on(order: Order, output: int, frames_to: int) -> None:
    """Make an attempt this process's own: its signals, identity, surroundings and descriptors.

    The entry file comes before anything of the job's can run: whoever finds the runner dead looks there for the
    process to end.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
    reach("identity")
    write_entry(order.entry)
    os.environ[MARKER] = order.marker
    if order.temp:
        os.environ.update(TMPDIR=order.temp, TEMP=order.temp, TMP=order.temp)
        tempfile.tempdir = None  # the runner's answer, which a fork inherits
    system.set_name(f"bgapp-job {order.job}")
    _redirect(output)
    os.set_inheritable(frames_to, False)


def write_entry(path: str) -> None:
    """Write this process's identity to the attempt's entry file."""
    identity = system.identify(os.getpid())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, f"{os.getpid()} {identity.ticks if identity else 0}\n".encode())
    os.close(descriptor)


def enter(path: str) -> None:
    """Write the one byte that says: from here on the method may have had effects."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"E")
    os.close(descriptor)


def _redirect(output: int) -> None:
    """Send descriptors 1 and 2 to the output pipe, so that C code and started programs are captured too."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (nothing, output):
        if descriptor > 2:
            os.close(descriptor)

    def stream(descriptor: int, mode: str) -> IO[str]:
        return open(descriptor, mode, buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)

    sys.stdin, sys.stdout, sys.stderr = stream(0, "r"), stream(1, "w"), stream(2, "w")
    faulthandler.enable(sys.stderr)  # a crash in compiled code leaves its Python stack in the attempt's log


def _log_to_output(app: Flask) -> None:
    """Have root logging, at INFO, and the application's logger write to the attempt's log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [old for old in root.handlers if not _is_console(old)] + [handler]
    if root.level in (logging.NOTSET, logging.WARNING):
        root.setLevel(logging.INFO)
    app.logger.handlers = [old for old in app.logger.handlers if not _is_console(old)]


def _is_console(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def run(app: Flask, order: Order, reporter: Reporter, *, limited: bool = False) -> dict[str, Any] | None:
    """Run the attempt and report its end; never raises, whatever the job does.

    Return what was reported, None where anything but the job itself went wrong. `limited` says that the process is
    held to the limits already.
    """
    try:
        if not limited:
            system.limit_process(order.limits, may_go_on=order.reuse > 1)
        with app.app_context():
            _log_to_output(app)
            frame = _attempt(app, order, reporter)
            reporter.send(frame)
            reach("reported")
    except BaseException:  # the application's own teardown failed: the result stands, its traceback is output
        traceback.print_exc()
        return None
    return frame


def _attempt(app: Flask, order: Order, reporter: Reporter) -> dict[str, Any]:
    told = signals.Attempt(order.job, order.attempt, order.retries, order.job_class, order.method)
    try:
        # Nothing here came from a request: the configuration's text names the class and its methods.
        call = invoke.prepare(of(app).allowlist, order.job_class, order.method, order.params)
    except ClassUnknown as error:
        signals.tell_failed(app, told, error.__cause__ or error)
        return _error_frame(error.__cause__ or error)
    except JobRejected as error:
        kind = "error" if error.kind == "bad_parameters" else "refused"
        return {"kind": kind, "error": f"{type(error).__name__}: {error}"}
    except BaseException as error:  # importing or instantiating the class runs its code, which may raise anything
        signals.tell_failed(app, told, error)
        return _error_frame(error)
    current_job.begin(order.job, order.attempt, order.retries, reporter.progress)
    reach("enter")
    enter(order.entry)
    reach("entered")
    try:
        with signals.around(app, told):
            value = call()
        reach("returned")
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a job are failures of the job
        return _error_frame(error)
    return _result_frame(value)


def _result_frame(value: object) -> dict[str, Any]:
    try:
        return {"kind": "result", "result": jsontext.encode(value, "result", limit=RESULT_LIMIT, tuples=True)}
    except (BgappError, MemoryError, RecursionError) as error:
        system.lift_memory_limit()
        _say(f"bgapp: the result was not kept: {error}\n")
        return {"kind": "result", "result": None, "note": str(error)}


def _say(text: str) -> None:
    """Write to the attempt's log, where the job has left its descriptor open."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)


def _error_frame(error: BaseException) -> dict[str, Any]:
    out_of_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if out_of_memory:
        system.lift_memory_limit()
    name = type(error).__name__
    try:
        text = f"{name}: {error}" if str(error) else name
    except BaseException as second:  # a job's own exception class may fail to say what it is
        text = f"{name} (its message cannot be shown: {type(second).__name__})"
    lines = traceback.format_exception(type(error), error, _without_own(error))
    trace = "".join(lines)
    if len(trace) > CUT:
        trace = f"{trace[: CUT // 2]}\n... {len(trace) - CUT} characters left out ...\n{trace[-CUT // 2 :]}"
    _say(trace)
    cause = {"cause": OUT_OF_MEMORY} if out_of_memory else {}
    return {"kind": "error", "error": text[:CUT], "traceback": trace, **cause}


def _without_own(error: BaseException) -> Any:
    """Return the traceback without the frames above the job's own."""
    trace = error.__traceback__
    own = (__file__, invoke.__file__, signals.__file__)
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename in own:
        trace = trace.tb_next
    return trace


def finish() -> NoReturn:
    """Leave as an interpreter would: wait for the job's threads, run its exit handlers, flush. Never returns."""
    try:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        logging.shutdown()
    finally:
        os._exit(0)
