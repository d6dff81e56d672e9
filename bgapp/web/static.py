"""Style, script, fonts and icons: kept by browsers for a year under an address that names the file's content."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import request, send_from_directory
from flask.wrappers import Response
from werkzeug.security import safe_join

from bgapp import assets

ENDPOINT = "bgapp.static"
YEAR = 365 * 86400  # seconds
HOUR = 3600  # for an address without a version, such as a font's in the style sheet


def serve(filename: str) -> Response:
    """Send a static file; unknown ones are 404."""
    named = request.args.get("v")
    response = send_from_directory(assets.static(), filename, max_age=HOUR)
    if named is not None and named == version(filename):
        response.cache_control.max_age = YEAR
        response.cache_control.immutable = True
    response.cache_control.public = True
    response.cache_control.no_cache = None
    return response


def add_version(endpoint: str, values: dict[str, Any]) -> None:
    """Add the version to what `url_for("bgapp.static", filename=...)` returns."""
    if endpoint == ENDPOINT and "v" not in values:
        found = version(str(values.get("filename")))
        if found is not None:
            values["v"] = found


def version(filename: str) -> str | None:
    """Return a short name of a static file's content, None where there is no such file."""
    path = safe_join(assets.static(), filename)
    try:
        facts = Path(path or "").stat()
    except (OSError, ValueError):
        return None
    return _digest(str(path), facts.st_mtime_ns, facts.st_size) if path is not None else None


@lru_cache(maxsize=256)
def _digest(path: str, _changed: int, _size: int) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:10]
    except OSError:  # a folder, or gone meanwhile
        return None
