"""Reads a command's words: options anywhere among them, negative numbers, numbers, ids; UTF-8 or nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import click

from bgapp.errors import shown

LARGEST_ID = 2**63 - 1  # what the databases can hold

_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,15}", re.ASCII)
_DECIMAL = re.compile(r"-?(\d{1,15}\.\d{0,15}|\.\d{1,15})", re.ASCII)
_NATURAL = re.compile(r"\d{1,40}", re.ASCII)


def decoded(args: Sequence[str]) -> list[str]:
    """Return the words as the UTF-8 that they are, whatever the locale made of them. Raises click.UsageError."""
    return [_decoded(word) for word in args]


def _decoded(word: str) -> str:
    if word.isascii() or not any("\ud800" <= character <= "\udfff" for character in word):
        return word
    try:
        return os.fsencode(word).decode()
    except UnicodeError:
        raise click.UsageError(f"the word {shown(word)} is not UTF-8 text") from None


def arranged(params: Sequence[click.Parameter], args: Sequence[str]) -> list[str]:
    """Return the words with all options first, then `--`, then the others, as click can read them.

    A negative number is no option, unless it stands after an option that takes a value and is that value.
    """
    with_value = {
        name
        for one in params
        if isinstance(one, click.Option) and not one.is_flag
        for name in (*one.opts, *one.secondary_opts)
    }
    options: list[str] = []
    others: list[str] = []
    left = iter(args)
    for word in left:
        if word == "--":
            others += left
        elif word in with_value:
            value = next(left, None)
            if value is None:
                return [*options, word]  # click says what is missing
            options += [word, value]
        elif word.startswith("-") and word != "-" and not _NEGATIVE.fullmatch(word):
            options.append(word)
        else:
            others.append(word)
    return [*options, "--", *others]


def number(text: str) -> int | float | str:
    """Return the number that decimal digits mean; all other text as it is, for the one who checks it to refuse."""
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def natural(text: str) -> int:
    """Return the number of a job or an attempt, however large. Raises click.BadParameter."""
    if not _NATURAL.fullmatch(text):
        raise click.BadParameter(f"{shown(text)} must be a number, in digits alone")
    return int(text)
