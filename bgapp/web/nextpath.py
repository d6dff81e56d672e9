"""Where to go after signing in: a path of this very application, or nowhere."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from flask import request

LONGEST = 2000  # characters


def here() -> str | None:
    """Return the path of this request, to come back to; None where it cannot be asked for again."""
    return request.script_root + request.full_path.removesuffix("?") if request.method in ("GET", "HEAD") else None


def own_path(text: str | None) -> str | None:
    """Return `text` if a browser that is sent there stays in this application, else None.

    Browsers take backslashes for slashes and drop tabs and line ends, so none of these may be in it, encoded or
    not; what begins with two slashes names a host.
    """
    if not text or len(text) > LONGEST or not text.isascii():
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    path = re.split("[?#]", text, maxsplit=1)[0]  # as it stands: urlsplit reads three slashes as one
    is_own = (
        path.startswith(request.script_root + "/")
        and not (parts.scheme or parts.netloc)
        and _is_plain(path)
        and _is_plain(unquote(path))
        and all(" " < one <= "~" and one != "\\" for one in text)
    )
    return text if is_own else None


def _is_plain(path: str) -> bool:
    return "//" not in path and "\\" not in path and "/../" not in f"{path}/" and path.isprintable()
