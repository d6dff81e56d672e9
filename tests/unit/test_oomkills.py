"""A kill is blamed on the kernel only by its own count, and only by one that is of this attempt's time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bgapp import clock, system
from bgapp.runner.oomkills import OomKills


class World:
    """A count and a clock to turn by hand."""

    def __init__(self) -> None:
        self.count: int | None = 5
        self.at = 100.0
        self.readings = 0

    def read(self) -> int | None:
        self.readings += 1
        return self.count


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    monkeypatch.setattr(system, "oom_kills", found.read)
    monkeypatch.setattr(clock, "monotonic", lambda: found.at)
    return found


def test_a_count_that_rose_while_the_attempt_ran_is_its_own_once(world: World) -> None:
    kills = OomKills()
    kills.look()
    world.count = 6
    assert kills.rose() is True
    assert kills.rose() is False


def test_a_count_that_was_read_between_the_kill_and_the_news_of_it_counts(world: World) -> None:
    kills = OomKills()
    world.at, world.count = 101.0, 6
    kills.look()
    assert kills.rose() is True


def test_what_was_counted_while_no_job_ran_here_was_anothers(world: World) -> None:
    kills = OomKills()
    world.at, world.count = 200.0, 9
    kills.look()
    assert kills.rose() is False


def test_where_nobody_counts_nothing_is_claimed(world: World) -> None:
    world.count = None
    assert OomKills().rose() is None


def test_many_short_attempts_cost_one_reading_a_second(world: World) -> None:
    kills = OomKills()
    for _ in range(100):
        kills.look()
    assert world.readings == 1


linux = pytest.mark.skipif(not Path("/proc/vmstat").exists(), reason="needs Linux's files of counts")


@linux
@pytest.mark.parametrize(
    ("membership", "file", "text"),
    [
        ("0::/app.slice", "app.slice/memory.events", "low 0\noom 3\noom_kill 7\n"),
        ("0::/of/the/host", "memory.events", "oom_kill 7\n"),
        ("1:cpu:/x\n4:memory:/docker/a", "memory/docker/a/memory.oom_control", "under_oom 0\noom_kill 7\n"),
        ("4:memory:/docker/a", "memory/memory.oom_control", "oom_kill 7\n"),
        ("4:memory,hugetlb:/\n0::/", "memory/memory.oom_control", "oom_kill 7\n"),
    ],
)
def test_the_nearest_count_is_found_in_either_version_of_control_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, membership: str, file: str, text: str
) -> None:
    from bgapp.system import posixlimits

    monkeypatch.setattr(posixlimits, "CGROUPS", tmp_path)
    read: Callable[[Path], str] = Path.read_text

    def read_text(path: Path) -> str:
        return membership if str(path) == "/proc/self/cgroup" else read(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert posixlimits.oom_kills() == 7


@linux
def test_this_machine_counts() -> None:
    assert (system.oom_kills() or 0) >= 0
