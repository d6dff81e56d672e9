from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest

from bgapp import options
from bgapp import settings as settings_module
from bgapp.backoff import Backoff
from bgapp.errors import BadOption
from bgapp.options import JobOptions, MethodOptions, check
from bgapp.settings import Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = 86_400


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("instance")
    return settings_module.load(folder, environ={})


def checked(settings: Settings, defaults: MethodOptions | None = None, **given: Any) -> JobOptions:
    names = ("retries", "delay", "priority", "queue", "timeout", "backoff", "unique_key")
    options = dict.fromkeys(names) | given
    return check(**options, defaults=defaults or MethodOptions(), settings=settings, now=NOW)


def refusal(settings: Settings, **given: Any) -> str:
    with pytest.raises(BadOption) as caught:
        checked(settings, **given)
    name = next(iter(given))
    assert caught.value.argument == name
    assert str(caught.value).startswith(f"{name} is ")
    assert len(str(caught.value)) < 300
    return str(caught.value)


def test_what_is_not_given_comes_from_the_settings(settings: Settings) -> None:
    assert checked(settings) == JobOptions(
        retries=3,
        backoff=Backoff(15),
        timeout=None,
        queue="default",
        priority=0,
        run_at=NOW,
        delayed=False,
        unique_key=None,
    )


def test_the_call_wins_over_the_allow_list_and_that_over_the_settings(settings: Settings) -> None:
    settings = replace(settings, retry_attempts=7, retry_backoff=Backoff(1), timeout=70.0)
    defaults = MethodOptions(retries=5, backoff=Backoff(2), timeout=50.0, queue="slow", priority=10)
    from_settings = checked(settings)
    assert (from_settings.retries, from_settings.backoff, from_settings.timeout) == (7, Backoff(1), 70)
    from_list = checked(settings, defaults)
    assert (from_list.retries, from_list.backoff, from_list.timeout) == (5, Backoff(2), 50)
    assert (from_list.queue, from_list.priority) == ("slow", 10)
    from_call = checked(settings, defaults, retries=0, backoff=0, timeout=1, queue="q", priority=0)
    assert (from_call.retries, from_call.backoff, from_call.timeout) == (0, Backoff(0), 1)
    assert (from_call.queue, from_call.priority) == ("q", 0)


@pytest.mark.parametrize("retries", [0, 1, 100])
def test_retries(settings: Settings, retries: int) -> None:
    assert checked(settings, retries=retries).retries == retries


@pytest.mark.parametrize("retries", [-1, 101, 1.5, 1.0, "3", True, False, float("nan"), 2**63, [], 10**400])
def test_retries_out_of_range(settings: Settings, retries: Any) -> None:
    assert "a whole number from 0 to 100" in refusal(settings, retries=retries)


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (0, 0),
        (0.0, 0),
        (10, 10),
        (0.25, 0.25),
        (365 * DAY, 365 * DAY),
        (timedelta(minutes=2), 120),
        (timedelta(0), 0),
        (timedelta(days=365), 365 * DAY),
        (NOW + timedelta(hours=1), 3600),
        (NOW + timedelta(days=365), 365 * DAY),
        ((NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-5))), 3600),
        (NOW, 0),
        (NOW - timedelta(days=1000), 0),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), 0),
    ],
)
def test_delay(settings: Settings, delay: Any, seconds: float) -> None:
    options = checked(settings, delay=delay)
    assert options.run_at == NOW + timedelta(seconds=seconds)
    assert options.run_at.tzinfo is UTC
    assert options.delayed is (seconds > 0)


@pytest.mark.parametrize(
    "delay",
    [
        -1, -0.001, float("nan"), float("inf"), -float("inf"), 1e12, 365 * DAY + 1, 366 * DAY, 10**400, -(10**400),
        timedelta(seconds=-1), timedelta(days=365, seconds=1), timedelta.max, timedelta.min, NOW + timedelta(days=366),
        datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)  # fmt: skip
def test_delay_out_of_range(settings: Settings, delay: Any) -> None:
    assert "365 days" in refusal(settings, delay=delay)


@pytest.mark.parametrize("delay", ["5", "", True, False, [5], b"5", "2026-11-22T12:00:00+00:00"])
def test_delay_of_another_type(settings: Settings, delay: Any) -> None:
    assert "seconds, a timedelta or an aware datetime" in refusal(settings, delay=delay)


def test_naive_times_are_refused_with_advice(settings: Settings) -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, moment: datetime | None) -> None:
            return None

        def dst(self, moment: datetime | None) -> None:
            return None

        def tzname(self, moment: datetime | None) -> None:
            return None

    naive = datetime(2026, 11, 22, 13)  # noqa: DTZ001
    assert "time zone" in refusal(settings, delay=naive)
    assert "time zone" in refusal(settings, delay=naive.replace(tzinfo=Nowhere()))
    assert "time zone" in refusal(settings, delay=date(2026, 11, 23))


@pytest.mark.parametrize(
    ("priority", "number"),
    [(-100, -100), (100, 100), (0, 0), ("low", -10), ("normal", 0), ("high", 10), ("critical", 20)],
)
def test_priority(settings: Settings, priority: Any, number: int) -> None:
    assert checked(settings, priority=priority).priority == number


@pytest.mark.parametrize("priority", [-101, 101, 1.0, True, "5", "High", "", "urgent", float("nan"), 2**63, ["low"]])
def test_priority_out_of_range(settings: Settings, priority: Any) -> None:
    assert "low, normal, high, critical" in refusal(settings, priority=priority)


@pytest.mark.parametrize("queue", ["default", "a", "A.b_c-9", "x" * 64])
def test_queue(settings: Settings, queue: str) -> None:
    assert checked(settings, queue=queue).queue == queue


@pytest.mark.parametrize("queue", ["", "x" * 65, "a b", "a\n", "ä", "a/b", "\u0430", 5, True, b"a", "a\0", "٣"])
def test_queue_out_of_range(settings: Settings, queue: Any) -> None:
    assert "letters, digits" in refusal(settings, queue=queue)


@pytest.mark.parametrize("timeout", [0.001, 1, 600, 365 * DAY])
def test_timeout(settings: Settings, timeout: float) -> None:
    assert checked(settings, timeout=timeout).timeout == timeout


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 365 * DAY + 1, 10**400])
def test_timeout_out_of_range(settings: Settings, timeout: Any) -> None:
    assert "365 days" in refusal(settings, timeout=timeout)


@pytest.mark.parametrize("timeout", ["5", True, timedelta(1), []])
def test_timeout_of_another_type(settings: Settings, timeout: Any) -> None:
    assert "a number of seconds" in refusal(settings, timeout=timeout)


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [(5, Backoff(5)), ("5 fixed", Backoff(5, fixed=True)), (Backoff(9), Backoff(9)), (0, Backoff(0))],
)
def test_backoff(settings: Settings, backoff: Any, expected: Backoff) -> None:
    assert checked(settings, backoff=backoff).backoff == expected


@pytest.mark.parametrize("backoff", [-1, 3601, "soon", True, float("nan"), []])
def test_backoff_out_of_range(settings: Settings, backoff: Any) -> None:
    assert "seconds" in refusal(settings, backoff=backoff)


@pytest.mark.parametrize("key", ["a", "x" * 255, "report 2026-11", "zoë 😀", " "])
def test_unique_key(settings: Settings, key: str) -> None:
    assert checked(settings, unique_key=key).unique_key == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "a\0", "\x7f", "\x85", "\ud800", 5, True, b"a", ["a"]])
def test_unique_key_out_of_range(settings: Settings, key: Any) -> None:
    refusal(settings, unique_key=key)


def test_subclasses_of_text_and_numbers_are_stored_plain(settings: Settings) -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    options = checked(settings, queue=Text("q"), unique_key=Text("k"), retries=Number(2), priority=Number(3))
    assert {type(options.queue), type(options.unique_key)} == {str}
    assert {type(options.retries), type(options.priority)} == {int}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (20_000_000, 20_000_000),
        ("512 MiB", 512 * 2**20),
        ("2 GiB", 2 * 2**30),
        ("300 MB", 300_000_000),
        ("1.5gib", 1_610_612_736),
        (" 20000 kB ", 20_000_000),
        ("20000000 B", 20_000_000),
        ("16 TiB", 16 * 2**40),
    ],
)
def test_a_size_is_bytes_or_a_number_with_a_unit(text: object, count: int) -> None:
    assert options.check_memory(text) == count


@pytest.mark.parametrize(
    "value",
    [True, 1.5e9, -1, 0, "", "512", "MiB", "512 MiBs", "1 PiB", "-1 GiB", "1e3 MiB", "١ GiB", "15 MiB", "17 TiB", None],
)
def test_a_size_of_memory_that_makes_no_sense_is_refused_with_the_range(value: object) -> None:
    with pytest.raises(
        BadOption, match='it must be 16 MiB to 16 TiB, as a number of bytes or as text such as "512 MiB"'
    ):
        options.check_memory(value)


@pytest.mark.parametrize(
    ("name", "good", "bad", "allowed"),
    [
        ("cpu", (1, 3600), (0, -1, 1.5, "60", True, 10**9), "a whole number from 1 to 31536000"),
        ("open_files", (32, 1024), (31, 2**21, "64", 64.0), "a whole number from 32 to 1048576"),
        ("nice", (0, 19), (-1, 20, "5", False), "a whole number from 0 to 19"),
        ("output", (1024, "64 MiB"), (1023, "65 MiB", 1.5, "much"), "1 KiB to 64 MiB"),
    ],
)
def test_limits_have_ranges(name: str, good: tuple[object, ...], bad: tuple[object, ...], allowed: str) -> None:
    read = getattr(options, f"check_{name}")
    assert all(read(value) for value in good if value)
    for value in bad:
        with pytest.raises(BadOption, match=allowed):
            read(value)
