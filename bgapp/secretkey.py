"""The stand-alone application's secret key: made on first use, kept in a private file of the instance folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bgapp import system
from bgapp.errors import ConfigurationError

FILE = "secret_key"
SHORTEST = 32  # characters
FEWEST_DIFFERENT = 8  # characters; a random key, even a hexadecimal one, has more
# Parts of keys that stand in examples and tutorials, in lower case.
SAMPLES = ("changeme", "change-me", "change_me", "secret", "password", "example", "default", "insecure", "your-")


def path(instance: Path) -> Path:
    """Return the file of the key."""
    return instance / FILE


def load_or_make(instance: Path) -> str:
    """Return the key, made now if there is none, by one of several processes at once. Raises ConfigurationError."""
    found = load(instance)
    if found is not None:
        return found
    lock = system.FileLock(instance / f"{FILE}.lock")
    try:
        lock.wait_exclusive()
        try:
            return load(instance) or _make(instance)
        finally:
            lock.release()
    except OSError as error:
        raise ConfigurationError(f"the secret key {path(instance)} cannot be made: {error.strerror}") from error


def load(instance: Path) -> str | None:
    """Return the key of the file, None where there is no file. Raises ConfigurationError."""
    file = path(instance)
    try:
        descriptor = system.open_private(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"the secret key {file} cannot be read: {error.strerror}") from error
    with open(descriptor, encoding="utf-8", errors="replace") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        key = opened.read(4096).strip()
    if hasattr(os, "geteuid") and mode & 0o077:  # Windows has no such modes
        raise ConfigurationError(
            f"others can read the secret key {file}: run chmod 600 on it, or delete it for a new one"
        )
    return key


def _make(instance: Path) -> str:
    key = secrets.token_urlsafe(32)
    fresh = instance / f"{FILE}.new"
    fresh.unlink(missing_ok=True)  # left by a process that was killed here; the lock is ours
    descriptor = system.open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with open(descriptor, "w", encoding="utf-8") as opened:
        opened.write(key + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(path(instance))
    return key


def refuse_weak(key: str | bytes, place: str) -> None:
    """Raise ConfigurationError for a key that can be guessed: too short, too simple, or out of an example."""
    text = key.decode("latin-1") if isinstance(key, bytes) else key
    if len(text) < SHORTEST:
        why = f"is shorter than {SHORTEST} characters"
    elif len(set(text)) < FEWEST_DIFFERENT:
        why = "repeats a few characters"
    elif any(sample in text.lower() for sample in SAMPLES):
        why = "looks like one from an example"
    else:
        return
    raise ConfigurationError(
        f"the secret key of {place} {why}: give a random one, as python -c 'import secrets;"
        " print(secrets.token_urlsafe(32))' prints, or remove it, and bgapp makes its own"
    )
