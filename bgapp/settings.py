"""The settings of a running bgapp: found in their places, checked, and frozen; every problem told at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bgapp import databaseurl, settingtable
from bgapp.backoff import Backoff
from bgapp.errors import ConfigurationError
from bgapp.settingfiles import PREFIX, Source, from_dotenv, from_mapping, from_python
from bgapp.settingtable import DEFAULT_APP, SETTINGS, Setting

__all__ = ["DEFAULT_APP", "PREFIX", "SETTINGS", "Backoff", "Setting", "Settings", "load"]

CONFIG_FILE = "config.py"
DEFAULT = "default"  # the source of a value that nobody gave

_BY_KEY = {setting.key: setting for setting in SETTINGS}
_INSTANCE = _BY_KEY["BGAPP_INSTANCE"]


@dataclass(frozen=True)
class Settings:
    """The checked value of every setting, named like it in lower case; see SETTINGS for their meaning.

    Durations are seconds. Folders and SQLite paths are absolute. `sources` names the place of each value by the
    setting's full name; `warnings` holds sentences for the log and the doctor command.
    """

    app: str
    database_url: str = field(repr=False)  # holds the password
    instance: Path
    log_dir: Path
    retry_attempts: int
    retry_backoff: Backoff
    max_running: int
    tick: float
    kill_grace: float
    timeout: float | None
    runner_idle: float
    lease: float
    version: str | None
    log_format: Literal["text", "json"]
    sqlite_sync: Literal["full", "normal", "off"]
    inline: bool
    read_only: bool
    allow_registration: bool
    max_queued: int | None
    start_method: Literal["auto", "fork", "spawn"]
    allowed_jobs: Any  # as given; the allow-list checks it
    secret_keys: tuple[str, ...]
    output_head_bytes: int
    output_tail_bytes: int
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def database_file(self) -> Path | None:
        """The path of the SQLite file; None with PostgreSQL."""
        return databaseurl.file_of(self.database_url)

    def as_rows(self) -> list[tuple[str, str, str]]:
        """Return (full name, value in words with secrets masked, source) of every setting."""
        return [
            (setting.key, setting.show(getattr(self, setting.attribute)), self.sources.get(setting.key, DEFAULT))
            for setting in SETTINGS
        ]


def load(
    instance: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> Settings:
    """Find, check and freeze the settings.

    `instance` is the folder to use unless BGAPP_INSTANCE names another. Places, the first that gives a value
    wins: `overrides` from the code, the environment (`environ`, by default the process's own), the file
    `dotenv`, `config.py` in the instance folder, `config` of the Flask application, the default. Mappings use
    full names (`BGAPP_TICK`); other keys in them are ignored. Nothing is created or written.

    Raises ConfigurationError that names every bad value with its place and what is allowed.
    """
    env_file = from_dotenv(dotenv)
    environment = from_mapping("environment", os.environ if environ is None else environ)
    outer = (from_mapping("overrides", overrides), _apart_from(env_file, environment), env_file)
    app_config = from_mapping("app.config", config)
    problems: list[str] = []
    folder, folder_source = _instance_folder(instance, (*outer, app_config), problems)
    config_py = from_python(folder / CONFIG_FILE)
    if _INSTANCE.key in config_py.values:
        problems.append(
            f"{config_py.place(_INSTANCE.key)}: {_INSTANCE.key} cannot stand in the instance folder's own file:"
            " set it in the environment or in .env"
        )
    places = (*outer, config_py, app_config)
    found: dict[str, Any] = {_INSTANCE.attribute: folder}
    sources = {_INSTANCE.key: folder_source}
    for setting in SETTINGS:
        if setting is not _INSTANCE:
            found[setting.attribute], sources[setting.key] = _find(setting, places, problems)
    if problems:
        raise ConfigurationError(_joined(problems))
    _compute(found)
    return Settings(**found, sources=sources, warnings=tuple(_warnings(places)))


def _instance_folder(given: Path, places: Sequence[Source], problems: list[str]) -> tuple[Path, str]:
    """Return the instance folder and its source: `given`, unless one of `places` names another."""
    default = Path(os.path.abspath(given))
    chosen, source = _find(_INSTANCE, places, problems)
    return (default if chosen is None else _absolute(default.parent, chosen)), source


def _find(setting: Setting, places: Sequence[Source], problems: list[str]) -> tuple[Any, str]:
    """Return the value of `setting` and its source; a bad value becomes a problem."""
    for source in places:
        if setting.key not in source.values:
            continue
        raw = source.values[setting.key]
        try:
            return setting.read(raw), source.name
        except ValueError as error:
            hint = f" ({error})" if str(error) else ""
            problems.append(
                f"{source.place(setting.key)}: {setting.key} is {setting.show_raw(raw)};"
                f" it must be {setting.allowed}{hint}"
            )
            break
    return setting.default, DEFAULT


def _compute(found: dict[str, Any]) -> None:
    """Fill the defaults that depend on the machine or on other settings, and make paths absolute."""
    instance: Path = found["instance"]
    url = found["database_url"]
    if url is None:
        found["database_url"] = databaseurl.of_file(instance / settingtable.DATABASE_FILE)
    else:
        found["database_url"] = databaseurl.within(instance, url)
    found["log_dir"] = _absolute(instance, found["log_dir"] or Path(settingtable.LOG_FOLDER))
    found["max_running"] = found["max_running"] or min(max(cores(), 2), 256)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _absolute(folder: Path, path: Path) -> Path:
    return Path(os.path.abspath(folder / path))


def _apart_from(env_file: Source, environment: Source) -> Source:
    """Return `environment` without what it shares with `.env`: `flask` loads that file into the environment.

    The file and its line then stand in messages, which is where the value has to be changed.
    """
    shared = {key for key, value in env_file.values.items() if environment.values.get(key) == value}
    return Source(environment.name, {key: value for key, value in environment.values.items() if key not in shared})


def _warnings(places: Iterable[Source]) -> Iterable[str]:
    for source in places:
        yield from source.warnings
        for key in source.values:
            if key not in _BY_KEY and _looks_meant(key):
                yield f"{source.place(key)}: {key} is no setting and has no effect{_nearest(key)}"


def _looks_meant(key: str) -> bool:
    # In a Python file, other lower-case names that start like ours are the file's own variables.
    return key.startswith(PREFIX) or key.upper() in _BY_KEY


def _nearest(key: str) -> str:
    names = [setting.name for setting in SETTINGS]
    close = difflib.get_close_matches(key.upper().removeprefix(PREFIX), names, n=1, cutoff=0.5)
    return f"; did you mean {PREFIX}{close[0]}?" if close else ""


def _joined(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{len(problems)} settings cannot be used:", *(f"- {problem}" for problem in problems)])
