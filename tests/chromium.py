"""Find a Chromium for the browser tests, and skip those tests, saying so, where there is none.

Playwright's own browsers are a download of 150 MB that many machines cannot make; any Chromium of the system will do:
`playwright.chromium.launch(executable_path=executable())`.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge")
PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
NONE_FOUND = "no Chromium, Chrome or Edge found (Debian: apt-get install chromium; or set CHROMIUM to its path)"


@functools.cache
def executable() -> str | None:
    """Return the path of a browser: what CHROMIUM names, else the first that the system has, else None."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    found = (shutil.which(name) for name in NAMES)
    installed = (place for place in PLACES if Path(place).is_file())
    return next((path for path in (*found, *installed) if path), None)


def skip_without_browser(items: Iterable[pytest.Item]) -> None:
    """Skip every test that is marked `browser`, unless there is one; for the hook `pytest_collection_modifyitems`."""
    if executable() is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason=NONE_FOUND))
