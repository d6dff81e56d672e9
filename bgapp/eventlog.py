"""The two log files: a line for each status change of each job, and a line for each error, refusal and lost attempt.

Many processes append to the same files at once without a lock: each line is one `os.write` at the end of the file,
which the kernel never mixes with another. Nothing here raises into the caller: a job must not fail because of a log.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from bgapp import clock, folders, logline, system
from bgapp.errors import ConfigurationError
from bgapp.logline import Line

__all__ = ["ERRORS_NAME", "MAIN_NAME", "EventLog", "Line"]

MAIN_NAME = "background_jobs.log"
ERRORS_NAME = "background_jobs_errors.log"
LOOKS_AT_END = 50  # of a file that ends inside a line, before that line counts as left unfinished


class EventLog:
    """Both log files of one folder. Any thread of any process may write; the files are opened on first use."""

    def __init__(self, folder: Path, format: str, mask_words: tuple[str, ...] = ()) -> None:
        """`format` is "text" or "json"; `mask_words` mark a parameter's name as secret beside the built-in words."""
        self._render: Callable[[Line, tuple[str, ...]], str] = logline.as_json if format == "json" else logline.as_text
        self._render_dropped = logline.dropped_as_json if format == "json" else logline.dropped_as_text
        self._mask_words = mask_words
        self._main = _LogFile(folder / MAIN_NAME)
        self._errors = _LogFile(folder / ERRORS_NAME)

    def write(self, line: Line) -> None:
        """Append `line` to the main file, and an error to the errors file after it; a refusal only to the latter.

        A line that cannot be written is counted, and the count is written before the next line that can.
        """
        data = self._render(line, self._mask_words).encode() + b"\n"
        if line.title != "Job rejected":
            self._main.append(data, self._dropped_line)
        if line.is_error:
            self._errors.append(data, self._dropped_line)

    @property
    def dropped(self) -> int:
        """Lines that this process could not write and has not reported yet, both files together."""
        return self._main.dropped + self._errors.dropped

    def close(self) -> None:
        """Report lines dropped so far, if that works now, and close the files; a later write opens them again."""
        self._main.close(self._dropped_line)
        self._errors.close(self._dropped_line)

    def _dropped_line(self, count: int) -> bytes:
        return self._render_dropped(count, clock.now().astimezone(UTC)).encode() + b"\n"


class _Descriptor:
    """An open log file, closed when the last thread that uses it lets go; so no lock is needed to replace it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._identity = _identity(os.fstat(number))

    def is_ours(self) -> bool:
        """Return whether the number still means this file: code that closes every descriptor may have closed it."""
        try:
            return _identity(os.fstat(self.number)) == self._identity
        except OSError:
            return False

    def is_at(self, path: Path) -> bool:
        """Return whether `path` still names this file: a rotation renames it, a clean-up removes it."""
        try:
            return self.is_ours() and _identity(os.stat(path, follow_symlinks=False)) == self._identity
        except OSError:
            return False

    def __del__(self) -> None:
        if self.is_ours():
            os.close(self.number)


class _Drops:
    """The lines one process could not write. A fork starts its own: its parent reports the earlier ones."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.count = 0


class _LogFile:
    """One log file that can be renamed, removed or full at any moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: _Descriptor | None = None
        self._drops = _Drops()

    @property
    def dropped(self) -> int:
        return self._own_drops().count

    def append(self, data: bytes, dropped_line: Callable[[int], bytes]) -> None:
        """Write one line, after the count of those dropped before it; count it where that fails."""
        drops = self._own_drops()
        try:
            if drops.count:
                self._report(drops, dropped_line)
            self._write(data)
        except (OSError, ConfigurationError) as error:
            self._drop(drops, error)

    def close(self, dropped_line: Callable[[int], bytes]) -> None:
        drops = self._own_drops()
        if drops.count:
            with contextlib.suppress(OSError, ConfigurationError):
                self._report(drops, dropped_line)
        self._descriptor = None

    def _own_drops(self) -> _Drops:
        if self._drops.pid != os.getpid():
            self._drops = _Drops()
        return self._drops

    def _report(self, drops: _Drops, dropped_line: Callable[[int], bytes]) -> None:
        with drops.lock:
            if drops.count:
                self._write(dropped_line(drops.count))
                drops.count = 0

    def _drop(self, drops: _Drops, error: Exception) -> None:
        # Opened anew for the next line, which then also finds out whether the last one was left unfinished.
        self._descriptor = None
        with drops.lock:
            drops.count += 1
            first = drops.count == 1
        if first:
            _tell(f"bgapp: {self._path} cannot be written ({error}); its lines are counted and left out until it can")

    def _write(self, data: bytes) -> None:
        descriptor = self._descriptor
        if descriptor is None or not descriptor.is_at(self._path):
            opened = _Descriptor(_open(self._path))
            # Only a first line looks, also the first one after a failure: at a rotation nobody was interrupted.
            if descriptor is None and _ends_inside_a_line(opened.number):
                data = b"\n" + data
            self._descriptor = descriptor = opened
        written = os.write(descriptor.number, data)
        if written < len(data):
            _complete(descriptor.number, data[written:])


def _complete(number: int, rest: bytes) -> None:
    """Write what a short write left over; where that fails, end the line so that the next one stands alone."""
    try:
        while rest:
            written = os.write(number, rest)
            if not written:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            rest = rest[written:]
    except OSError:
        with contextlib.suppress(OSError):
            os.write(number, b"\n")
        raise


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    try:
        number = system.open_private(path, flags)
    except FileNotFoundError:
        folders.make_private(path.parent, "log folder", "set BGAPP_LOG_DIR to another folder")
        number = system.open_private(path, flags)
    try:
        _check(path, os.fstat(number))
    except BaseException:
        os.close(number)
        raise
    return number


def _check(path: Path, opened: os.stat_result) -> None:
    """Refuse what somebody else may have put in the place of the log file."""
    if not stat.S_ISREG(opened.st_mode) or os.path.islink(path):
        raise OSError("it is not a regular file")
    # The owner of the folder could exchange the file anyway; nobody else's file may take our lines.
    if hasattr(os, "geteuid") and opened.st_uid not in (os.geteuid(), os.stat(path.parent).st_uid):
        raise OSError(f"it belongs to another user (number {opened.st_uid})")


def _ends_inside_a_line(number: int) -> bool:
    if not os.fstat(number).st_size:
        return False
    for _ in range(LOOKS_AT_END):
        os.lseek(number, -1, os.SEEK_END)
        if os.read(number, 1) in (b"\n", b""):  # nothing: another line has come just after the end seen here
            return False
        time.sleep(0.001)  # a long line that another process is writing right now is seen growing
    return True


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _tell(message: str) -> None:
    """Say it once on standard error, the last resort, which may be closed, missing or full itself."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
