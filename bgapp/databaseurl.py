"""The database's address: checked, brought to one form, and shown without its password."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bgapp import settingvalues

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SQLITE = ("sqlite", "sqlite+pysqlite")
POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
THREE_SLASHES = "a SQLite address has three slashes before a relative path, four before an absolute one"

_CREDENTIALS = re.compile(r"://([^:@]*):.*@", re.DOTALL)
_OPTION = re.compile(r"([?&])([^=&]*)=([^&]*)")
_SECRET_OPTION = re.compile(r"pass|secret|token|key", re.IGNORECASE)


def read(value: object) -> str:
    """Return the address in the one form that engines get; raise ValueError with a hint, never with the value.

    SQLAlchemy is imported here and not at the top, so that whatever only needs the settings' names stays fast.
    """
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if not isinstance(value, URL):
        settingvalues.text(value)
    try:
        url = make_url(value)  # type: ignore[arg-type] # text or URL, as just checked
    except (ArgumentError, ValueError):
        raise ValueError("it cannot be read: percent-encode special characters of the password") from None
    driver = url.drivername.lower()
    if driver in SQLITE:
        return _sqlite(url)
    if driver in POSTGRESQL:
        return _postgresql(url)
    raise ValueError("bgapp works with SQLite and with PostgreSQL through psycopg (version 3)")


def _sqlite(url: URL) -> str:
    if url.host or url.username or url.port:
        raise ValueError(THREE_SLASHES)
    if not url.database or url.database == ":memory:":
        raise ValueError("every job runs in a process of its own, so the database must be a file, not in memory")
    if url.query or url.database.startswith("file:"):
        raise ValueError("a SQLite address takes a path and no options")
    return of_file(settingvalues.path(url.database))


def _postgresql(url: URL) -> str:
    if url.host is not None and "@" in url.host:
        raise ValueError("write an @ within the user name or password as %40")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise ValueError("the port is out of range")
    return _render(url.set(drivername="postgresql+psycopg"))


def _render(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def of_file(path: Path) -> str:
    """Return the address of the SQLite file at `path`."""
    from sqlalchemy.engine import URL

    return _render(URL.create("sqlite", database=str(path)))


def file_of(url: str) -> Path | None:
    """Return the path of the SQLite file that `url` names; None for PostgreSQL."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    return Path(parsed.database) if parsed.drivername == "sqlite" and parsed.database else None


def within(folder: Path, url: str) -> str:
    """Return `url` with a relative SQLite path made absolute in `folder`; other addresses stay as they are."""
    path = file_of(url)
    return url if path is None else of_file(Path(os.path.abspath(folder / path)))


def displayed(url: str) -> str:
    """Return a checked address as people read it: a SQLite path plain, a password masked."""
    path = file_of(url)
    return masked(url) if path is None else f"sqlite:///{path}"


def masked(text: str) -> str:
    """Return `text` with whatever in it may be a password replaced by `***`, readable as an address or not."""
    text = _CREDENTIALS.sub(r"://\1:***@", text)
    return _OPTION.sub(lambda match: f"{match[1]}{match[2]}=***" if _is_secret(match[2]) else match[0], text)


def _is_secret(option: str) -> bool:
    return _SECRET_OPTION.search(unquote(option)) is not None
