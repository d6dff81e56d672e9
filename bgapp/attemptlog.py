"""The attempts' output files: where each is, what it holds, and how it is shown.

A file is at every moment what a job wrote so far, or its head, one line that says how many bytes are left out, and
its tail. Readers speak in offsets of the whole stream, so that one who follows it loses and repeats nothing when the
file is cut shorter under him.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bgapp import system
from bgapp.attemptwriter import BLOCK, LONGEST, AttemptLogWriter, marker, read_at
from bgapp.logline import UNSEEN

__all__ = ["AttemptLogWriter", "Chunk", "path", "read", "remove", "tail", "visible"]

FOLDER = "attempts"
JOBS_A_FOLDER = 1000
MIB = 1024 * 1024

# As `attemptwriter.marker_in_file` writes it. Its newline is only looked at: the true marker may follow a false one.
_MARKER = re.compile(rb"\n--- ([0-9]{1,20}) bytes left out here --- \[([0-9]{1,20}) ([0-9]{1,40})\](?=\n)")
_MARKER_WORDS = b" bytes left out here --- ["
_LONGEST_MARKER = 128

_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f{UNSEEN}]")
_UNFINISHED = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")


@dataclass(frozen=True)
class Chunk:
    """A piece of an attempt's output. All offsets count bytes of the whole stream, kept or not.

    `data` has a line `--- N bytes left out here ---` where bytes are missing; that line counts as no bytes.
    """

    data: bytes
    offset: int  # where `data` begins
    next_offset: int  # where the next chunk begins
    end: int  # where the stream ends for now


@dataclass(frozen=True)
class Shape:
    """What a file holds: `head` bytes of the stream; and where there is a gap, from `tail_at` in the file the rest."""

    head: int
    gap: int = 0
    tail_at: int = 0


def path(log_dir: Path, job_id: int, attempt: int) -> Path:
    """Return where the output of this attempt is; from numbers alone, so that no request's text gets into it."""
    return _folder(log_dir, job_id) / f"{job_id:d}-{attempt:d}.log"


def read(path: Path, offset: int = 0, limit: int = MIB) -> Chunk:
    """Return up to `limit` bytes from `offset` on, and the marker; ask again from `next_offset` until it is `end`.

    A character that has not fully arrived is left for the next call, unless nothing else is there. A missing file
    gives an empty chunk, and so does a symbolic link. Raises OSError where the file cannot be read.
    """
    with _opened(path) as descriptor:
        if descriptor is None:
            return Chunk(b"", max(offset, 0), max(offset, 0), 0)  # a follower goes on where he was, if it comes back
        return _chunk(descriptor, _shape(descriptor), offset, limit)


def tail(path: Path, limit: int = MIB) -> Chunk:
    """Return the last `limit` bytes that are kept, as `read` does."""
    with _opened(path) as descriptor:
        if descriptor is None:
            return Chunk(b"", 0, 0, 0)
        shape = _shape(descriptor)
        kept = os.fstat(descriptor).st_size - (shape.tail_at - shape.head if shape.gap else 0)
        skipped = max(kept - max(limit, 0), 0)
        start = skipped if not shape.gap or skipped < shape.head else skipped + shape.gap
        return _chunk(descriptor, shape, start, limit)


def remove(log_dir: Path, job_id: int) -> int:
    """Remove the files of all attempts of a job and return how many there were. Raises OSError where one stays."""
    folder = _folder(log_dir, job_id)
    ours = re.compile(rf"{job_id:d}-[0-9]+\.log(\.new)?")
    try:
        names = [name for name in os.listdir(folder) if ours.fullmatch(name)]
    except FileNotFoundError:
        return 0
    for name in names:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # only an empty one goes
    return sum(name.endswith(".log") for name in names)


def visible(data: bytes) -> str:
    """Return output as text for terminals and pages: every control, bidi and zero-width character as an escape.

    Newlines and tabs stay, CR LF becomes a newline, and bytes that are no UTF-8 become the replacement character.
    """
    return _CONTROL.sub(_shown, data.replace(b"\r\n", b"\n").decode(errors="replace"))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code == 13:
        return "\\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _folder(log_dir: Path, job_id: int) -> Path:
    return log_dir / FOLDER / f"{job_id // JOBS_A_FOLDER:d}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """Open a file for reading, None where there is none or where something else took its place."""
    try:
        # Looked at first: opening a FIFO would wait for its writer.
        usual = stat.S_ISREG(os.lstat(path).st_mode)
        descriptor = system.open_private(path, os.O_RDONLY) if usual else None
    except FileNotFoundError:
        descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _shape(descriptor: int) -> Shape:
    """Return what the file holds, by the marker that its writer put into it."""
    found = os.fstat(descriptor)
    whole = Shape(found.st_size)
    if found.st_size > 3 * LONGEST + _LONGEST_MARKER:
        return whole  # no writer of ours leaves so large a file
    # The blocks overlap, so that one of them holds the marker whole.
    for start in range(0, min(found.st_size, LONGEST + 1), BLOCK - _LONGEST_MARKER):
        block = read_at(descriptor, start, BLOCK)
        if _MARKER_WORDS in block:
            for match in _MARKER.finditer(block):
                gap, place, inode = (int(number) for number in match.groups())
                if (place, inode) == (start + match.start(), found.st_ino):
                    return Shape(place, gap, start + match.end() + 1)  # after its newline
    return whole


def _chunk(descriptor: int, shape: Shape, offset: int, limit: int) -> Chunk:
    after_gap = shape.head + shape.gap  # in the stream
    shift = after_gap - shape.tail_at if shape.gap else 0  # from places in the file to places in the stream
    end = os.fstat(descriptor).st_size + shift
    offset = place = min(max(offset, 0), end)
    limit = max(limit, 0)
    before = b""
    if shape.gap and place < after_gap:
        before = read_at(descriptor, place, min(limit, shape.head - place))
        if len(before) == limit:
            before = _whole_characters(before, keep=True)
            return Chunk(before, offset, offset + len(before), end)
        limit -= len(before)
        before += marker(after_gap - max(place, shape.head))
        place = after_gap
    data = _whole_characters(read_at(descriptor, place - shift, limit), keep=not before)
    return Chunk(before + data, offset, place + len(data), end)


def _whole_characters(data: bytes, *, keep: bool) -> bytes:
    """Return `data` without an unfinished character at its end; with `keep`, never without anything."""
    match = _UNFINISHED.search(data, max(len(data) - 3, 0))
    if match is None or (keep and match.start() == 0):
        return data
    return data[: match.start()]
