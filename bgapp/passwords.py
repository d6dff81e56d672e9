"""Passwords: which are good enough, and their slow hashes."""

from __future__ import annotations

import functools
import os
import re
import secrets
import threading
import unicodedata
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from bgapp.accountmodels import AccountRefused

SHORTEST = 12  # bytes, as typed
LONGEST = 1024
METHOD = "scrypt:32768:8:3"  # 32 MiB and about a fifth of a second
HASHES_AT_ONCE = 2  # so that a flood of tries cannot take all memory and all processors
COMMON = Path(__file__).with_name("commonpasswords.txt")

MOST_ADDED = 8  # characters before and after a common word, such as a year, that do not make it a good password
SHORTEST_UNIT = 8  # characters; what repeats less is no good password

_SIGNS = "!?.,;:*#+-_$@&%/="
_LOOKS_LIKE = str.maketrans("013457@$!", "oieastasi")
_ADDED_BEFORE, _ADDED_AFTER = re.compile(r"\A[\W\d_]+"), re.compile(r"[\W\d_]+\Z")
_RUNS = tuple(
    run[::step]
    for run in ("0123456789" * 3, "12345678900987654321", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")
    for step in (1, -1)
)
_hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)


def check(password: str, name: str | None = None) -> None:
    """Raise AccountRefused (password) unless it is good enough for a new password; `name` is whose it will be."""
    refusal = refused(password, name)
    if refusal is not None:
        raise AccountRefused(refusal, "password")


def refused(password: str, name: str | None = None) -> str | None:
    """Return in words why a new password is not good enough, None where it is."""
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        return "the password holds characters that are no text"
    if size < SHORTEST:
        return (
            f"the password is too short: it needs at least {SHORTEST} characters; a few unrelated words make a good one"
        )
    if size > LONGEST:
        return f"the password is too long: it may have at most {LONGEST} bytes"
    if name and _is_made_of(password, frozenset({_folded(name)})):
        return "the password is too easy to guess: it is made of the user's name"
    if _is_pattern(_folded(password)) or _is_made_of(password, common()):
        return "the password is too easy to guess: it is a pattern, or a word that very many people use"
    return None


def hashed(password: str) -> str:
    """Return a password's hash to store, as typed; takes a fraction of a second."""
    with _hashing:
        return generate_password_hash(password, METHOD)


def matches(stored: str | None, password: str) -> bool:
    """Return whether a password is the one that was hashed; takes as long where nothing is stored."""
    try:
        usable = stored is not None and stored.startswith("scrypt:") and len(password.encode()) <= LONGEST
    except UnicodeEncodeError:
        usable = False
    if not usable or stored is None:
        dummy_check()
        return False
    try:
        with _hashing:
            return check_password_hash(stored, password)
    except ValueError:  # the row was edited by hand
        return False


def dummy_check() -> None:
    """Take as long as looking at a password, where there is none to look at: nobody may learn so which names exist."""
    with _hashing:
        check_password_hash(_dummy(), "no password")


@functools.cache
def _dummy() -> str:
    # In the form of a hash, but of no password. Making a real one would make the first unknown name take twice as long.
    return f"{METHOD}${secrets.token_hex(8)}${secrets.token_hex(64)}"


def needs_rehash(stored: str) -> bool:
    """Return whether a hash was made at another cost than today's."""
    return not stored.startswith(METHOD + "$")


@functools.cache
def common() -> frozenset[str]:
    """Return the passwords that very many people use, folded to lower case."""
    return frozenset(COMMON.read_text(encoding="utf-8").split("\n")) - {""}


def _folded(text: str) -> str:
    """Return a text without what people vary: case, spaces, forms of the same letter."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _is_made_of(password: str, words: frozenset[str]) -> bool:
    """Return whether a password is one of these words: repeated, with signs around it, or letters swapped."""
    text = _folded(password)
    ended = _ADDED_AFTER.sub("", text)
    cores = ended, _ADDED_BEFORE.sub("", ended), text.rstrip(_SIGNS)
    forms = {text, *(core for core in cores if len(text) - len(core) <= MOST_ADDED)}
    forms |= {form.translate(_LOOKS_LIKE) for form in forms}
    return any(form in words or _unit(form) in words for form in forms)


def _is_pattern(text: str) -> bool:
    """Return whether a text is a run along the keyboard, the alphabet or the numbers, or a short piece repeated."""
    unit = _unit(text)
    return (unit != text and len(unit) < SHORTEST_UNIT) or any(unit in run for run in _RUNS)


def _unit(text: str) -> str:
    """Return the shortest piece whose repetition, the last one perhaps cut, makes the text; else the text itself."""
    for length in range(1, len(text) * 2 // 3 + 1):
        if text[length:] == text[:-length]:
            return text[:length]
    return text


if hasattr(os, "register_at_fork"):  # another thread of the parent may be hashing, and would never let go here

    def _renew() -> None:
        global _hashing
        _hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)

    os.register_at_fork(after_in_child=_renew)
