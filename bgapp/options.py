"""Checks the options of a job (retries, delay, priority and the like) and fills in what was not given."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NoReturn, TypeVar

from bgapp.backoff import Backoff
from bgapp.errors import BadOption, ConfigurationError, shown
from bgapp.limits import GIB, KIB, MIB, Limits
from bgapp.settings import Settings

MOST_RETRIES = 100
FURTHEST = timedelta(days=365)  # the latest a job may be due, and the longest it may run
HIGHEST_PRIORITY = 100
PRIORITIES = {"low": -10, "normal": 0, "high": 10, "critical": 20}
DEFAULT_PRIORITY = 0
DEFAULT_QUEUE = "default"
LONGEST_KEY = 255
MOST_REUSE = 100_000
MOST_CPU = 365 * 24 * 3600
LEAST_MEMORY, MOST_MEMORY = 16 * MIB, 16 * 1024 * GIB  # below it hardly any Python code runs to its end
LEAST_OPEN_FILES, MOST_OPEN_FILES = 32, 1_048_576  # a child begins with about ten, and imports and pipes need some
LEAST_OUTPUT, MOST_OUTPUT = KIB, 64 * MIB
HIGHEST_NICE = 19

_QUEUE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]?)(I?)B", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_FURTHEST_SECONDS = FURTHEST.total_seconds()
_BEYOND = 10**12

Value = TypeVar("Value")


@dataclass(frozen=True)
class MethodOptions:
    """What the allow-list says of one method; None where it says nothing.

    `timeout` is in seconds. `reuse` is how many jobs one child may run before it is replaced. From `cpu` on stand
    the limits of each attempt, in the units of `Limits`.
    """

    retries: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    queue: str | None = None
    priority: int | None = None
    reuse: int = 1
    cpu: int | None = None
    memory: int | None = None
    open_files: int | None = None
    output: int | None = None
    nice: int = 0

    @property
    def limits(self) -> Limits:
        """What an attempt may use."""
        return Limits(self.cpu, self.memory, self.open_files, self.output, self.nice)


@dataclass(frozen=True)
class JobOptions:
    """The checked options of one job, complete.

    `run_at` is aware UTC and is now for a job without a delay; `delayed` says that it is later. `timeout` is in
    seconds, None for no limit.
    """

    retries: int
    backoff: Backoff
    timeout: float | None
    queue: str
    priority: int
    run_at: datetime
    delayed: bool
    unique_key: str | None


def check(
    *,
    retries: object,
    delay: object,
    priority: object,
    queue: object,
    timeout: object,
    backoff: object,
    unique_key: object,
    defaults: MethodOptions,
    settings: Settings,
    now: datetime,
) -> JobOptions:
    """Return the options of a job asked for at `now`.

    None stands for "not given": then the allow-list's `defaults` decide, then `settings`, then bgapp.
    Raises BadOption, whose `argument` is the option's name.
    """
    run_at = check_delay(delay, now)
    return JobOptions(
        retries=_either(retries, check_retries, defaults.retries, settings.retry_attempts),
        backoff=_either(backoff, check_backoff, defaults.backoff, settings.retry_backoff),
        timeout=_either(timeout, check_timeout, defaults.timeout, settings.timeout),
        queue=_either(queue, check_queue, defaults.queue, DEFAULT_QUEUE),
        priority=_either(priority, check_priority, defaults.priority, DEFAULT_PRIORITY),
        run_at=run_at,
        delayed=run_at > now,
        unique_key=None if unique_key is None else check_unique_key(unique_key),
    )


def check_retries(value: object) -> int:
    """Return how many further tries `value` means."""
    return _whole("retries", value, 0, MOST_RETRIES)


def check_reuse(value: object) -> int:
    """Return how many jobs one child may run."""
    return _whole("reuse", value, 1, MOST_REUSE)


def check_cpu(value: object) -> int:
    """Return the seconds of processor time that an attempt may use."""
    return _whole("cpu", value, 1, MOST_CPU, " (seconds of processor time)")


def check_memory(value: object) -> int:
    """Return the bytes of memory that an attempt may add."""
    return _size("memory", value, LEAST_MEMORY, MOST_MEMORY, "16 MiB to 16 TiB")


def check_open_files(value: object) -> int:
    """Return how many files an attempt may have open."""
    return _whole("open_files", value, LEAST_OPEN_FILES, MOST_OPEN_FILES)


def check_output(value: object) -> int:
    """Return the bytes of an attempt's output that are kept."""
    return _size("output", value, LEAST_OUTPUT, MOST_OUTPUT, "1 KiB to 64 MiB")


def check_nice(value: object) -> int:
    """Return how much is added to an attempt's niceness."""
    return _whole("nice", value, 0, HIGHEST_NICE)


def check_priority(value: object) -> int:
    """Return the number of a priority, given as a number or as one of four words."""
    if isinstance(value, str):
        if value in PRIORITIES:
            return PRIORITIES[value]
        _refuse("priority", value, f"one of the words {', '.join(PRIORITIES)}, or a whole number")
    return _whole("priority", value, -HIGHEST_PRIORITY, HIGHEST_PRIORITY, f" or one of {', '.join(PRIORITIES)}")


def check_queue(value: object) -> str:
    """Return a queue's name."""
    if isinstance(value, str) and _QUEUE.fullmatch(value):
        return str.__str__(value)
    _refuse("queue", value, "1 to 64 letters, digits, '_', '.' or '-'")


def check_timeout(value: object) -> float:
    """Return the time limit in seconds."""
    seconds = _seconds("timeout", value)
    if not 0 < seconds <= _FURTHEST_SECONDS:
        _refuse("timeout", value, f"more than 0 seconds and at most {_FURTHEST_SECONDS:.0f} (365 days)")
    return seconds


def check_backoff(value: object) -> Backoff:
    """Return the wait before a retry."""
    try:
        return Backoff.parse(value)
    except ConfigurationError as error:
        reason = str(error)
    raise BadOption(reason, "backoff")


def check_unique_key(value: object) -> str:
    """Return a unique key."""
    if not isinstance(value, str):
        _refuse("unique_key", value, "text")
    key = str.__str__(value)
    if not 1 <= len(key) <= LONGEST_KEY:
        _refuse("unique_key", key, f"1 to {LONGEST_KEY} characters long, and has {len(key):,}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
        _refuse("unique_key", key, "without control characters and lone surrogates")
    return key


def check_delay(value: object, now: datetime) -> datetime:
    """Return the moment, in UTC and not before `now`, from which on the job may run.

    `value` is seconds, a timedelta or an aware datetime; None means now.
    """
    if value is None:
        return now
    if isinstance(value, date):
        return max(now, _moment(value, now))
    if isinstance(value, timedelta):
        wait = value
        if not timedelta(0) <= wait <= FURTHEST:
            _refuse("delay", value, "a timedelta from 0 to 365 days")
    else:
        seconds = _seconds("delay", value, ", a timedelta or an aware datetime")
        if not 0 <= seconds <= _FURTHEST_SECONDS:
            _refuse("delay", value, f"from 0 to {_FURTHEST_SECONDS:.0f} seconds (365 days)")
        wait = timedelta(seconds=seconds)
    return now + wait


def _moment(value: date, now: datetime) -> datetime:
    if not isinstance(value, datetime):
        _refuse("delay", value, "a moment, not a day: give a datetime with a time zone")
    if value.utcoffset() is None:
        _refuse("delay", value, "an aware datetime: give it a time zone, such as tzinfo=UTC, or use .astimezone()")
    if value - now > FURTHEST:
        _refuse("delay", value, "at most 365 days ahead")
    return now if value <= now else value.astimezone(UTC)  # the past may not be expressible in UTC (year 1)


def _either(value: object, read: Callable[[object], Value], default: Value | None, last: Value) -> Value:
    if value is not None:
        return read(value)
    return last if default is None else default


def _whole(name: str, value: object, low: int, high: int, also: str = "") -> int:
    # bool is an int to Python; a job retried True times is a slip all the same.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _refuse(name, value, f"a whole number from {low} to {high}{also}")
    return int(value)


def _size(name: str, value: object, low: int, high: int, allowed: str) -> int:
    count = -1
    if isinstance(value, str) and (written := _SIZE.fullmatch(value.strip())):
        number, power, binary = written.groups()
        count = round(float(number) * (1024 if binary else 1000) ** _POWERS[power.upper()])
    elif isinstance(value, int) and not isinstance(value, bool):
        count = int(value)
    if not low <= count <= high:
        _refuse(name, value, f'{allowed}, as a number of bytes or as text such as "512 MiB"')
    return count


def _seconds(name: str, value: object, also: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(name, value, f"a number of seconds{also}")
    return float(max(min(value, _BEYOND), -_BEYOND))  # a huge integer does not fit a float; NaN stays NaN


def _refuse(name: str, value: object, allowed: str) -> NoReturn:
    raise BadOption(f"{name} is {shown(value)}; it must be {allowed}", name)
