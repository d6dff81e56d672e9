"""Writes an attempt's output file: the first and the last bytes of a stream, with one marker line for the gap.

The file grows until it holds the head and twice the tail; then it is written anew, shorter, under another name that
takes its place at once. So each byte is written about twice however long the stream is, and a reader always finds a
whole file. What cannot be written for now is held in memory, at most twice the tail of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bgapp import folders, system
from bgapp.errors import ConfigurationError

BLOCK = 64 * 1024  # bytes read at once
LONGEST = 64 * 1024 * 1024  # bytes, of a head and of a tail; readers look no further for the marker
GONE = frozenset({errno.ENOENT, errno.ESTALE, errno.ELOOP})


def marker(count: int) -> bytes:
    """Return the line that tells a reader of `count` missing bytes."""
    return b"\n--- %d bytes left out here ---\n" % count


def marker_in_file(count: int, place: int, inode: int) -> bytes:
    """Return that line as it stands in the file, where it also names its own place and the file's inode.

    A job can print such a line, as one that shows another job's output does; but then it names another file, and
    readers take it for the output that it is.
    """
    return marker(count)[:-1] + b" [%d %d]\n" % (place, inode)


class AttemptLogWriter:
    """The one writer of one attempt's output file; not for several threads.

    `head` and `tail` are bytes. No file is made before the first byte; one that a former database's job of the same
    number left behind is removed.
    """

    def __init__(self, path: Path, head: int, tail: int) -> None:
        if not 0 <= head <= LONGEST or not 0 <= tail <= LONGEST:
            raise ValueError(f"head and tail must be 0 to {LONGEST} bytes, not {head} and {tail}")
        self._path = path
        self._head = head
        self._tail = tail
        self._total = 0
        self._held = bytearray()  # the stream's newest bytes, which are not in the file yet
        self._closed = False
        self._forget_file()
        with contextlib.suppress(OSError):
            path.unlink()

    @property
    def total(self) -> int:
        """Bytes of the whole stream so far."""
        return self._total

    @property
    def dropped(self) -> int:
        """Bytes of the stream that the file does not hold; while the disk is full they may still come back."""
        return self._total - self._first - self._last

    def write(self, data: bytes) -> None:
        """Take the stream's next bytes. A full disk or a removed folder is no error: the next call tries again."""
        if self._closed:
            raise ValueError(f"{self._path} is closed")
        if data:
            self._total += len(data)
            self._held += data
            self._settle()

    def close(self) -> None:
        """Cut the file down to head and tail, and close it. What still cannot be written stays dropped."""
        if self._closed:
            return
        self._closed = True
        if self._held:
            self._settle()
        if self._first + self._last > self._head + self._tail:
            with contextlib.suppress(OSError, ConfigurationError):
                self._rewrite(self._tail)
        self._held.clear()
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget_file(self) -> None:
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None  # of the file that holds what follows
        self._first = 0  # bytes from the stream's start
        self._gap = 0  # bytes that the marker after them stands for
        self._last = 0  # bytes after the marker
        self._last_at = 0  # where in the file these begin

    def _settle(self) -> None:
        try:
            if self._fits():
                self._append()
            else:
                self._rewrite(2 * self._tail)
        except (OSError, ConfigurationError):
            if len(self._held) > 2 * self._tail:
                del self._held[: len(self._held) - self._tail]

    def _fits(self) -> bool:
        """Return whether what is held may simply follow what is in the file."""
        in_file = self._first + self._last
        if in_file + len(self._held) > self._head + 2 * self._tail:
            return False
        return self._first + self._gap + self._last + len(self._held) == self._total and self._is_in_place()

    def _is_in_place(self) -> bool:
        """Return whether the path still names the file, just as it was left."""
        try:
            found = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity and found.st_size == self._size

    @property
    def _size(self) -> int:
        return self._last_at + self._last if self._gap else self._first

    def _append(self) -> None:
        descriptor = self._opened()
        while self._held:
            written = _write(descriptor, self._held)
            del self._held[:written]
            if self._gap:
                self._last += written
            else:
                self._first += written

    def _opened(self) -> int:
        """Return the descriptor of the file. Raises OSError where it is gone or cut."""
        if self._descriptor is None:
            self._descriptor = system.open_private(self._path, os.O_RDWR | os.O_APPEND)
        found = os.fstat(self._descriptor)
        if (found.st_dev, found.st_ino) != self._identity or found.st_size < self._size:
            self._let_go()
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return self._descriptor

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _rewrite(self, longest_tail: int) -> None:
        """Put a new file in the old one's place: all of the stream where it fits, else head, marker and tail."""
        try:
            self._opened()
        except OSError as error:
            if error.errno not in GONE:
                raise
            self._forget_file()  # never made, or removed by somebody: what it held is left out like the rest
        first, last = self._kept(longest_tail)
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            identity, last_at = self._write_new(new, first, last)
            self._let_go()  # Windows replaces no open file; the next write opens the new one
            os.replace(new, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._identity = identity
        self._first, self._gap, self._last, self._last_at = first, last - first, self._total - last, last_at
        self._held.clear()

    def _kept(self, longest_tail: int) -> tuple[int, int]:
        """Return the end of the stream's kept start and the beginning of its kept end; equal where no byte misses."""
        held_at = self._total - len(self._held)
        lost = held_at > self._first + self._gap + self._last
        if not self._gap and not lost and self._total <= self._head + longest_tail:
            return self._total, self._total
        start_known_to = self._first if self._gap or lost else self._total
        end_known_from = held_at if lost else self._first + self._gap if self._gap else 0
        first = min(start_known_to, self._head)
        return first, max(first, end_known_from, self._total - self._tail)

    def _write_new(self, new: Path, first: int, last: int) -> tuple[tuple[int, int], int]:
        descriptor = _create(new)
        try:
            found = os.fstat(descriptor)
            for block in self._stream(0, first):
                _write_all(descriptor, block)
            line = marker_in_file(last - first, first, found.st_ino) if last > first else b""
            _write_all(descriptor, line)
            for block in self._stream(last, self._total):
                _write_all(descriptor, block)
        finally:
            os.close(descriptor)
        return (found.st_dev, found.st_ino), first + len(line)

    def _stream(self, start: int, end: int) -> Iterator[bytes | bytearray]:
        """Yield the stream's bytes from `start` to `end`, from the old file and from memory."""
        after_gap = self._first + self._gap
        for begin, stop, at in ((0, self._first, 0), (after_gap, after_gap + self._last, self._last_at)):
            for place in range(max(start, begin), min(end, stop), BLOCK):
                yield self._read(at + place - begin, min(BLOCK, min(end, stop) - place))
        held_at = self._total - len(self._held)
        if max(start, held_at) < end:
            yield self._held[max(start, held_at) - held_at : end - held_at]

    def _read(self, place: int, count: int) -> bytes:
        data = b"" if self._descriptor is None else read_at(self._descriptor, place, count)
        if len(data) < count:
            raise OSError(errno.ESTALE, "the output file was cut while it was read")
        return data


def read_at(descriptor: int, place: int, count: int) -> bytes:
    """Return up to `count` bytes at `place` of an open file, fewer only at its end."""
    os.lseek(descriptor, place, os.SEEK_SET)
    pieces = []
    while count > 0 and (piece := os.read(descriptor, count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return system.open_private(path, flags)
    except FileNotFoundError:
        folders.make_private(path.parent, "output folder", "set BGAPP_LOG_DIR to another folder")
    except FileExistsError:
        path.unlink()  # an earlier writer was killed over it
    return system.open_private(path, flags)


def _write(descriptor: int, data: bytes | bytearray) -> int:
    written = os.write(descriptor, data)
    if not written:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return written


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    while data:
        data = data[_write(descriptor, data) :]
