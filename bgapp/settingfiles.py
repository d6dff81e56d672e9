"""The places that give settings: mappings, the `.env` file and `instance/config.py`, read without guessing.

A file that cannot be read as what it should be stops the start with its path and line; it is never skipped.
"""

from __future__ import annotations

import ast
import io
import stat
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from bgapp import folders
from bgapp.errors import ConfigurationError, shown

PREFIX = "BGAPP_"
LONGEST_FILE = 1024 * 1024  # bytes
LONGEST_MESSAGE = 200  # characters of an error that the file itself raised


@dataclass(frozen=True)
class Source:
    """One place that may give settings: its name, the values with the prefix, their line numbers, its warnings."""

    name: str
    values: Mapping[str, object] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def place(self, key: str) -> str:
        """Return where exactly `key` was given, for a message."""
        return f"{self.name}, line {self.lines[key]}" if key in self.lines else self.name


def from_mapping(name: str, values: Mapping[str, object] | None) -> Source:
    """Return the settings among `values`; keys without the prefix, in any case, belong to others."""
    return Source(name, {key: value for key, value in (values or {}).items() if _is_ours(key)})


def from_dotenv(path: Path | None) -> Source:
    """Read a `.env` file; none there is an empty source.

    Raises ConfigurationError for a folder, a binary file, a line of ours that cannot be read or a setting that
    is given twice.
    """
    content = None if path is None else _content(path)
    if path is None or content is None:
        return Source(str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}, line {line}: this is not UTF-8 text: save the file as UTF-8") from None
    if "\0" in text:
        raise ConfigurationError(f"{path}: this is a binary file, not lines of NAME=value")
    from dotenv import dotenv_values  # here, as most starts have no such file and its import takes time

    lines = _dotenv_lines(path, text)
    values = dotenv_values(stream=io.StringIO(text))
    return Source(str(path), {key: value for key, value in values.items() if _is_ours(key)}, lines)


def _dotenv_lines(path: Path, text: str) -> dict[str, int]:
    """Return the line of each of our names. python-dotenv itself skips what it cannot read and keeps the last."""
    from dotenv.parser import parse_stream

    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        blank = original[: len(original) - len(original.lstrip())]  # blank lines count to the line that follows
        line = binding.original.line + blank.count("\n")
        if binding.error and PREFIX.rstrip("_") in original.upper():
            raise ConfigurationError(f"{path}, line {line}: this cannot be read: write NAME=value, quotes closed")
        if binding.key is None or not _is_ours(binding.key):
            continue
        if binding.key in lines:
            raise ConfigurationError(f"{path}, line {line}: {binding.key} was given in line {lines[binding.key]} too")
        lines[binding.key] = line
    return lines


def from_python(path: Path) -> Source:
    """Run a Python file as Flask's `from_pyfile` does and return its settings; none there is an empty source.

    Raises ConfigurationError for a folder, a file that is not Python or one that raises, with the line.
    """
    content = _content(path)
    if content is None:
        return Source(str(path))
    try:
        tree = ast.parse(content, str(path))
        code = compile(tree, str(path), "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigurationError(f"{_at(path, error)}: this is not Python: {_brief(error)}") from None
    module = ModuleType("config")
    module.__file__ = str(path)
    try:
        exec(code, module.__dict__)  # noqa: S102 # a person's own configuration, run as Flask runs one
    # The file may run anything, so anything may come out of it; only Ctrl-C goes on its way.
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{_at(path, error)}: the file raised {_brief(error)}") from error
    values = {key: value for key, value in vars(module).items() if _is_ours(key)}
    return Source(str(path), values, _assignments(tree), _exposed(path))


def _assignments(tree: ast.Module) -> dict[str, int]:
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return {name.id: name.lineno for name in sorted(names, key=lambda name: name.lineno)}


def _at(path: Path, error: BaseException) -> str:
    """Return the path and the line in that file where `error` came from."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    return f"{path}, line {line}" if line else str(path)


def _brief(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()[:LONGEST_MESSAGE]


def _exposed(path: Path) -> tuple[str, ...]:
    if not folders.is_open_to_all(path):
        return ()
    return (f"{path}: every user of this machine may change this file, and bgapp runs it: chmod o-w {path}",)


def _content(path: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"{path}: this must be a file")
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise ConfigurationError(f"{shown(str(path))}: this file cannot be read: {error}") from error
    if len(content) > LONGEST_FILE:
        raise ConfigurationError(f"{path}: this file has more than {LONGEST_FILE} bytes, too many for settings")
    return content


def _is_ours(key: object) -> bool:
    return isinstance(key, str) and key.upper().startswith(PREFIX)
