"""Which code is today's: a short text that changes when the settings or the project's source change."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice

from bgapp.allowlist import AllowList
from bgapp.settings import Settings

MOST_FILES = 5000  # of one package that are looked at


def generation(settings: Settings, allowlist: AllowList) -> str:
    """Return `VERSION` where it is set, else a hash of settings, allow-list and the project's newest source."""
    if settings.version is not None:
        return settings.version[:64]
    newest = max((_changed(file) for file in {*_loaded(), *_beside_job_classes(allowlist)}), default=0)
    shown = [(name, value) for name, value, _source in settings.as_rows()]
    facts = repr((shown, settings.database_url, allowlist.text(), newest))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _changed(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:  # deleted since it was found
        return 1


def _loaded() -> Iterator[str]:
    """Yield the project's source files that this process has loaded; what is installed changes by a new install."""
    installed = tuple(
        os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
    )
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and not os.path.realpath(file).startswith(installed):
            yield file


def _beside_job_classes(allowlist: AllowList) -> Iterator[str]:
    """Yield the source of every package that a job class is in: the application itself may not have loaded it."""
    for top in {key.partition(".")[0] for key in list(allowlist.keys())}:
        spec = find_spec(top)
        if spec is None:
            continue
        for folder in spec.submodule_search_locations or ():
            yield from islice(_sources(folder), MOST_FILES)
        if spec.origin is not None and spec.origin.endswith(".py"):
            yield spec.origin


def _sources(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        yield from (os.path.join(place, name) for name in files if name.endswith(".py"))
