"""The table of settings: every one once, with its default, help, range and check.

A new setting is one entry here, in the order of the documentation, and one field of `bgapp.settings.Settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bgapp import databaseurl
from bgapp import settingvalues as values
from bgapp.backoff import ALLOWED as BACKOFF_ALLOWED
from bgapp.backoff import Backoff
from bgapp.errors import shown
from bgapp.settingfiles import PREFIX

DEFAULT_APP = "wsgi:app"
DATABASE_FILE = "bgapp.sqlite"
LOG_FOLDER = "logs"
YEAR = 365 * 86400  # seconds


@dataclass(frozen=True)
class Setting:
    """One setting: `name` without the prefix, its default, one line of help, what is allowed, and its reader.

    A default of None or of an empty tuple means that the setting may be given empty. `computed` says in words
    what a None default becomes. The value of a `secret` setting is never shown whole.
    """

    name: str
    default: Any
    help: str
    allowed: str
    parse: values.Reader
    computed: str = ""
    secret: bool = False

    @property
    def key(self) -> str:
        """The name as people write it, with the prefix."""
        return PREFIX + self.name

    @property
    def attribute(self) -> str:
        """The name of the field of Settings."""
        return self.name.lower()

    @property
    def default_text(self) -> str:
        """The default as pages and examples show it."""
        return self.computed or self.show(self.default)

    def read(self, raw: object) -> Any:
        """Return the checked value of `raw`. Raises ValueError, its text a hint or empty."""
        raw = raw.strip() if isinstance(raw, str) else raw
        if raw is None or (isinstance(raw, str) and not raw):
            if self.default in (None, ()):
                return self.default
            raise ValueError("give a value, or remove the line for the default")
        return self.parse(raw)

    def show(self, value: object) -> str:
        """Return a checked value in words, a secret one masked."""
        if self.secret and value is not None:
            return databaseurl.displayed(str(value))
        if value is None or value == ():
            return "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:.9f}".rstrip("0").rstrip(".")
        if isinstance(value, tuple) and all(isinstance(part, str) for part in value):
            return ", ".join(value)
        return shown(value) if isinstance(value, Mapping | list | tuple) else str(value)

    def show_raw(self, raw: object) -> str:
        """Return a refused value as a message may show it: short, without secrets."""
        if self.secret and not (isinstance(raw, str) and "://" in raw):
            return "(hidden)"
        return shown(databaseurl.masked(raw) if isinstance(raw, str) else raw)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "APP",
        DEFAULT_APP,
        "The Flask application that runners import; it must be set when bgapp is mounted in another application.",
        "module:app, module:factory() or a module",
        values.application,
    ),
    Setting(
        "DATABASE_URL",
        None,
        "The database; a relative SQLite path stands in the instance folder.",
        "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
        databaseurl.read,
        computed=f"the SQLite file {DATABASE_FILE} in the instance folder",
        secret=True,
    ),
    Setting(
        "INSTANCE",
        None,
        "The folder of config.py, the SQLite file, logs and keys; a relative path starts beside the default one.",
        "a folder",
        values.path,
        computed="the application's instance folder",
    ),
    Setting(
        "LOG_DIR",
        None,
        "The folder of the log files; a relative path starts in the instance folder.",
        "a folder",
        values.path,
        computed=f"{LOG_FOLDER} in the instance folder",
    ),
    Setting(
        "RETRY_ATTEMPTS",
        3,
        "Further tries after the first, for a job that does not say.",
        "a whole number from 0 to 100",
        values.whole(0, 100),
    ),
    Setting(
        "RETRY_BACKOFF",
        Backoff(15),
        "The wait before a retry: doubling each time up to an hour, 25 % more or less; or always the same.",
        BACKOFF_ALLOWED,
        values.backoff,
    ),
    Setting(
        "MAX_RUNNING",
        None,
        "How many jobs may run at once on this node.",
        "a whole number from 1 to 256",
        values.whole(1, 256),
        computed="the number of CPU cores, at least 2",
    ),
    Setting(
        "TICK",
        1.0,
        "How often the application looks for due jobs, should a wake be missed.",
        "seconds from 0.1 to 60",
        values.seconds(0.1, 60),
    ),
    Setting(
        "KILL_GRACE",
        10.0,
        "How long a job that is asked to stop may take before it is killed.",
        "seconds from 0 to 3600",
        values.seconds(0, 3600),
    ),
    Setting(
        "TIMEOUT",
        None,
        "The time limit of one attempt, for a job that does not say.",
        f"seconds above 0, up to {YEAR} (365 days), or none",
        values.or_none(values.seconds(0, YEAR, above=True)),
    ),
    Setting(
        "RUNNER_IDLE",
        60.0,
        "How long a runner with nothing to do stays ready.",
        "seconds from 1 to 86400",
        values.seconds(1, 86400),
    ),
    Setting(
        "LEASE",
        30.0,
        "On PostgreSQL: after how long without the database a job is ended and may run on another node.",
        "seconds from 6 to 86400",
        values.seconds(6, 86400),
    ),
    Setting(
        "VERSION",
        None,
        "The version of your code; runners of another version leave. Without it, the newest source file decides.",
        "text",
        values.text,
    ),
    Setting(
        "LOG_FORMAT",
        "text",
        "The form of the lines in the two log files.",
        "text or json",
        values.choice("text", "json"),
    ),
    Setting(
        "SQLITE_SYNC",
        "full",
        "How surely SQLite writes: full survives a power cut, normal may lose the last moments, off risks the file.",
        "full, normal or off",
        values.choice("full", "normal", "off"),
    ),
    Setting(
        "INLINE",
        False,
        "Run a job at once inside the call that asks for it; for tests.",
        "yes or no",
        values.switch,
    ),
    Setting(
        "READ_ONLY",
        False,
        "Show the dashboard without any button that changes something.",
        "yes or no",
        values.switch,
    ),
    Setting(
        "ALLOW_REGISTRATION",
        False,
        "Let anyone who reaches the dashboard make an account.",
        "yes or no",
        values.switch,
    ),
    Setting(
        "MAX_QUEUED",
        None,
        "How many jobs may wait; a further one is refused with QueueFull.",
        "a whole number from 1 to 1000000000, or none",
        values.or_none(values.whole(1, 1_000_000_000)),
    ),
    Setting(
        "START_METHOD",
        "auto",
        "How a job's process is made; auto forks where that is safe.",
        "auto, fork or spawn",
        values.choice("auto", "fork", "spawn"),
    ),
    Setting(
        "ALLOWED_JOBS",
        (),
        "The classes and methods that may run.",
        "a mapping of classes to methods, or a list of classes; as text, JSON",
        values.jobs,
    ),
    Setting(
        "SECRET_KEYS",
        (),
        "Further words that mark a parameter as secret, beside password, token and the like.",
        "words of 2 to 64 letters, digits, _ and -, comma separated or in a list",
        values.words,
    ),
    Setting(
        "OUTPUT_HEAD_BYTES",
        65536,
        "How much of the start of an attempt's output is kept.",
        "bytes from 1024 to 67108864, as a whole number",
        values.whole(1024, 67108864),
    ),
    Setting(
        "OUTPUT_TAIL_BYTES",
        1048576,
        "How much of the end of an attempt's output is kept.",
        "bytes from 1024 to 67108864, as a whole number",
        values.whole(1024, 67108864),
    ),
)
