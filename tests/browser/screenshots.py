"""Photographs every page, wide and narrow, light and dark: `python -m tests.browser.screenshots FOLDER [NAME ...]`.

The installation is a furnished one, made anew in a temporary folder, so that nothing has to run before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from bgapp import create_app
from bgapp.runtime import of
from bgapp.web.setup import setup_code
from tests.browser.conftest import DESKTOP, PHONE, Installation, paths, size
from tests.browser.furnished import ALLOWED, Furniture, furnish, lead
from tests.chromium import NONE_FOUND, executable

SCREENS = {"wide": DESKTOP, "narrow": PHONE}
THEMES = ("light", "dark")
SHARP = 2  # device pixels for each of the page's on a phone


class Silent(WSGIRequestHandler):
    """Writes no line for each request."""

    def log(self, type: str, message: str, *args: object) -> None:
        return


@contextmanager
def served(folder: Path, chromium: Browser, *, empty: bool) -> Iterator[Installation]:
    """Serve an installation, furnished or empty, as long as the block runs."""
    app = create_app({"BGAPP_INSTANCE": str(folder), "BGAPP_ALLOWED_JOBS": ALLOWED, "BGAPP_MAX_RUNNING": 4})
    runtime = of(app)
    runtime.ready()
    made = Furniture(runtime) if empty else furnish(runtime)
    kept = lead(runtime)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    found = Installation(app, f"http://127.0.0.1:{server.server_port}", made, chromium, kept=kept)
    try:
        yield found
    finally:
        for context in found.contexts:
            context.close()
        server.shutdown()
        thread.join()
        server.server_close()
        runtime.database.dispose()


def photograph(page: Page, path: str, file: Path) -> None:
    """Take a picture of a whole page, once its letters are there."""
    page.goto(path)
    page.evaluate("document.fonts.ready.then(() => 0)")
    page.screenshot(path=file, full_page=True, animations="disabled")


def main(words: Sequence[str] | None = None) -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description="Photograph every page.")
    parser.add_argument("folder", type=Path, help="where the pictures go, as NAME-wide-light.png and so on")
    parser.add_argument("names", nargs="*", help="which pages (default: all)")
    arguments = parser.parse_args(words)
    if executable() is None:
        print(NONE_FOUND, file=sys.stderr)
        return 1
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(prefix="bgapp-screenshots-") as temporary:
        chromium = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        count = _empty_one(Path(temporary) / "empty", chromium, arguments) + _full_one(
            Path(temporary) / "full", chromium, arguments
        )
        chromium.close()
    print(f"{count} pictures are in {arguments.folder}")
    return 0


def _empty_one(folder: Path, chromium: Browser, arguments: argparse.Namespace) -> int:
    """Photograph what a new installation shows, before and after its first admin."""
    with served(folder, chromium, empty=True) as site:
        setup_code(site.app)
        return _all(site, {"setup": "/setup"}, arguments, role=None) + _all(
            site, {"empty-overview": "/", "empty-jobs": "/jobs"}, arguments, role="admin"
        )


def _full_one(folder: Path, chromium: Browser, arguments: argparse.Namespace) -> int:
    with served(folder, chromium, empty=False) as site:
        count = _all(site, paths(site.made), arguments, role="admin")
        return count + _all(site, {"login": "/login"}, arguments, role=None)


def _all(site: Installation, pages: dict[str, str], arguments: argparse.Namespace, role: str | None) -> int:
    wanted = {name: path for name, path in pages.items() if not arguments.names or name in arguments.names}
    for screen, pixels in SCREENS.items():
        for theme in THEMES if wanted else ():
            page = site.page(
                role=role,
                viewport=size(pixels),
                color_scheme=theme,
                device_scale_factor=SHARP if screen == "narrow" else 1,
            )
            for name, path in wanted.items():
                photograph(page, path, arguments.folder / f"{name}-{screen}-{theme}.png")
    return len(wanted) * len(SCREENS) * len(THEMES)


if __name__ == "__main__":
    sys.exit(main())
