"""Where templates and static files are: beside the package in a checkout, inside it once installed."""

from __future__ import annotations

from pathlib import Path

from bgapp.errors import ConfigurationError

MARKER = Path("bgapp") / "base.html"
PACKAGE = Path(__file__).parent


def templates() -> str:
    """Return the templates folder. Raises ConfigurationError where the installation is incomplete."""
    return str(_home() / "templates")


def static() -> str:
    """Return the folder of style, script, fonts and icons."""
    return str(_home() / "static")


def _home() -> Path:
    for home in (PACKAGE, PACKAGE.parent):
        if (home / "templates" / MARKER).is_file():
            return home
    raise ConfigurationError(f"bgapp's templates are missing beside {PACKAGE}: install it again")
