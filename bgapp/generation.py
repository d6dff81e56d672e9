"""Which code is today's: a short text that changes when the settings or the project's source change."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator

from bgapp.allowlist import AllowList
from bgapp.settings import Settings


def generation(settings: Settings, allowlist: AllowList) -> str:
    """Return `VERSION` where it is set, else a hash of settings, allow-list and the newest source that is loaded."""
    if settings.version is not None:
        return settings.version[:64]
    newest = max(_changed(), default=0)
    shown = [(name, value) for name, value, _source in settings.as_rows()]
    facts = repr((shown, settings.database_url, allowlist.text(), newest))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _changed() -> Iterator[int]:
    """Yield when each loaded source file of the project changed; installed packages change only with a new install."""
    installed = tuple(
        os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
    )
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and not os.path.realpath(file).startswith(installed):
            try:
                yield os.stat(file).st_mtime_ns
            except OSError:  # deleted since it was loaded
                yield 1
