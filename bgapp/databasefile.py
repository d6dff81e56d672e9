"""The SQLite file behind a database: whether it is still there, still the same one, and how long its log has grown.

An open connection keeps its file whatever becomes of the name. Without a look at the name, a process would go on
acknowledging jobs into a file that was deleted.
"""

from __future__ import annotations

import os
from pathlib import Path

from bgapp import system
from bgapp.errors import DatabaseUnavailable

KEPT_LOG = 16 * 1024 * 1024  # bytes: to this the write-ahead log is cut once its content stands in the database
LARGE_LOG = 64 * 1024 * 1024  # bytes: so much only gathers where somebody reads without an end


class DatabaseFile:
    """One SQLite file, by the identity that it had when this process, or its parent by fork, first opened it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Path(f"{path}-wal")
        self._opened: tuple[int, int] | None = None
        self._opened_log: tuple[int, int] | None = None

    def make(self) -> None:
        """Create the file, empty and for its owner alone, where it was never there; SQLite gives its log that mode.

        Raises DatabaseUnavailable.
        """
        if self._opened is not None or self.path.exists():
            return
        try:
            os.close(system.open_private(self.path, os.O_RDWR | os.O_CREAT))
        except OSError as error:
            raise self._cannot_be_opened(error) from error

    def is_exchanged(self) -> bool:
        """Return whether another file stands in the place of the one that was opened.

        Raises DatabaseUnavailable where none stands there, or one that lost its content.
        """
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            raise self._missing() from None
        except OSError as error:
            raise self._cannot_be_opened(error) from error
        # SQLite takes an empty file for a new database, and throws the log of the old one away.
        if not found.st_size and (self._opened is not None or _size(self.log)):
            raise DatabaseUnavailable(f"the database file {self.path} was emptied: put a backup in its place")
        return self._opened is not None and _identity(found) != self._opened

    def note_opened(self) -> None:
        """Remember which file a connection has just opened. Raises DatabaseUnavailable where it is another by now."""
        found = _identity(os.stat(self.path))
        if self._opened is None:
            self._opened = found
        elif found != self._opened:
            raise self._replaced("try again")

    def note_log(self) -> None:
        """Remember the write-ahead log that stands beside the file, once SQLite has opened it."""
        if self._opened_log is None:
            self._opened_log = _identity_at(self.log)

    def require_same(self) -> None:
        """Raise DatabaseUnavailable where what was just written may have gone into a file that nobody will find."""
        if self.is_exchanged():
            raise self._replaced("what was written last may not be in it")

    def refuse_old_log(self) -> None:
        """Raise DatabaseUnavailable where the log of the replaced file lies beside the new one.

        SQLite would read the new file through it and take pages of the old one for the newest.
        """
        if self._opened_log is not None and _identity_at(self.log) == self._opened_log:
            raise self._replaced(
                f"the log {self.log.name} beside it is still that of the old one, and would spoil it. Stop every "
                f"process of the application, delete {self.log.name} and {self.path.name}-shm, put the file there again"
            )

    def not_taken(self, why: str) -> DatabaseUnavailable:
        """Return the error for another file that cannot be used."""
        return self._replaced(f"it is not used, because {why}")

    def log_size(self) -> int:
        """Return the size of the write-ahead log, in bytes."""
        return _size(self.log)

    def _missing(self) -> DatabaseUnavailable:
        if self._opened is None:
            return DatabaseUnavailable(f"there is no database file {self.path}: start the application, which makes one")
        return DatabaseUnavailable(
            f"the database file {self.path} is gone; bgapp does not make a new one while it runs: "
            "put it back, or restart"
        )

    def _replaced(self, then: str) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"the database file {self.path} was replaced by another: {then}")

    def _cannot_be_opened(self, error: OSError) -> DatabaseUnavailable:
        return DatabaseUnavailable(
            f"the database file cannot be opened for writing ({self.path}: {error.strerror}): "
            "check its path, its owner and its mode"
        )


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _identity_at(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
